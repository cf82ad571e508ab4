"""Monocular visual odometry: ``VisualOdometry(matcher).track(frame)`` for consecutive frames."""

from __future__ import annotations

import numpy as np

from ros_matching.atlas.config import TrackingConfig
from ros_matching.atlas.keyframes import MapKeyframe
from ros_matching.atlas.known_place import KnownStart, OfferedPlace
from ros_matching.atlas.local_map import LocalMapState
from ros_matching.backend.back_end import BackEnd
from ros_matching.backend.local_mapping import LocalMapper
from ros_matching.backend.scheduler import InlineScheduler, ThreadScheduler
from ros_matching.datatypes import Features, Frame, Keyframe
from ros_matching.inertial.imu import Imu
from ros_matching.matching.pipeline import MatchingPipeline
from ros_matching.odometry.localization import Localizer
from ros_matching.odometry.relocalization import Relocalizer
from ros_matching.odometry.result import TrackingResult
from ros_matching.odometry.tracker import Tracker
from ros_matching.scale.scale_estimator import ScaleEstimator
from ros_matching.stages import StageTimer

_TRIED_INACTIVE = 2  # keyframes of an inactive map that a new keyframe is matched with


class VisualOdometry:
    """Tracks one camera, in metres or up to scale.

    The world is the camera frame of the first image. The unit of length is the metre once ``scale`` has measured it
    (see ``ros_matching.scale``); before, or without a scale source, it is the median depth of the first landmarks. A
    frame without a reliable pose has status INITIALIZING or LOST. Memory is constant: the map is bounded. All calls
    come from one thread. If ``threaded``, keyframes are mapped in a separate thread: only frames with few landmarks
    wait for it, results depend on timing, and ``close`` ends the thread. Else they are mapped within ``track``:
    deterministic.
    """

    def __init__(
        self,
        matcher: MatchingPipeline,
        config: TrackingConfig | None = None,
        scale: ScaleEstimator | None = None,
        *,
        threaded: bool = False,
        imu: Imu | None = None,
        first_keyframe_id: int = 0,
    ) -> None:
        """``imu`` predicts the rotation between images; give it to the scale too to measure metres by it.

        Keyframe ids start at ``first_keyframe_id``.
        """
        config, stages = config or TrackingConfig(), StageTimer()
        self._back_end = _back_end(matcher, config, threaded)
        adjuster = LocalMapper(matcher, config, stages)
        scale = scale or ScaleEstimator()
        self._tracker = Tracker(matcher, config, scale, self._back_end, adjuster, stages, imu, first_keyframe_id)

    def reset(self, first_keyframe_id: int = 0, world_from_camera: np.ndarray | None = None) -> None:
        """Start a new odometry with the next frame: at the origin, or at a pose (4, 4).

        Keyframe ids start at the given one.
        """
        self._tracker.reset(first_keyframe_id, world_from_camera)

    def track(self, frame: Frame) -> TrackingResult:
        """Process the next frame of one camera, in the order of time.

        Raises ``TrackingError`` if the camera changed or the stamp does not increase without a ``reset``.
        """
        return self._tracker.track(frame)

    def offer(self, offered: OfferedPlace) -> None:
        """Continue at a known place if the next frame is localised there; ``known_start`` is then that start."""
        self._tracker.offer(offered)

    @property
    def known_start(self) -> KnownStart | None:
        """The last start of a map at a known place."""
        return self._tracker.known_start

    def finish(self) -> tuple[Keyframe, ...]:
        """Wait for the keyframes that are being mapped, and return them."""
        return self._tracker.finish()

    def close(self) -> None:
        """End the thread of the back end; work in progress is discarded."""
        self._back_end.close()

    def keyframe_poses(self) -> dict[int, np.ndarray]:
        """Return the adjusted ``world_from_camera`` of the keyframes in the active map, by id."""
        return self._tracker.keyframe_poses()

    def map_state(self) -> LocalMapState | None:
        """Return a copy of the active map for reading; ``None`` before the first."""
        return self._tracker.map_state()

    @property
    def features(self) -> Features | None:
        """The features of the last frame."""
        return self._tracker.features

    def keyframe_ids(self) -> list[int]:
        """Return the ids of the keyframes in the active map, in the order of time."""
        return self._tracker.keyframe_ids()

    def newest_keyframe(self) -> MapKeyframe | None:
        """Return the newest keyframe of the active map, which the caller must not change; ``None`` before the first."""
        return self._tracker.newest_keyframe()

    def current_keyframes(self) -> tuple[Keyframe, ...]:
        """Return the current state of the keyframes in the active map: it changes after they were delivered."""
        return self._tracker.current_keyframes()


def _back_end(matcher: MatchingPipeline, config: TrackingConfig, threaded: bool) -> BackEnd:
    """Make a back end with separate parts: threads must not share their stage timer."""
    stages = StageTimer()
    relocalizer = Relocalizer(matcher, Localizer(matcher, config, stages), config, stages)
    return BackEnd(
        LocalMapper(matcher, config, stages),
        lambda local_map, features: relocalizer.relocalize(local_map, features, tried=_TRIED_INACTIVE),
        stages,
        ThreadScheduler() if threaded else InlineScheduler(),
    )
