"""Monocular visual odometry: ``VisualOdometry(matcher).track(frame)`` for one frame after the other."""

from __future__ import annotations

import numpy as np

from ros_matching.atlas.config import TrackingConfig
from ros_matching.backend.back_end import BackEnd
from ros_matching.backend.local_mapping import LocalMapper
from ros_matching.backend.scheduler import InlineScheduler, ThreadScheduler
from ros_matching.datatypes import Frame, Keyframe
from ros_matching.matching.pipeline import MatchingPipeline
from ros_matching.odometry.localization import Localizer
from ros_matching.odometry.relocalization import Relocalizer
from ros_matching.odometry.result import TrackingResult
from ros_matching.odometry.tracker import Tracker
from ros_matching.scale.scale_estimator import ScaleEstimator
from ros_matching.stages import StageTimer

_TRIED_INACTIVE = 2  # keyframes of an inactive map that a new keyframe is matched with


class VisualOdometry:
    """Tracks one camera through its images, in metres or up to scale.

    The world is the camera frame of the first image. The unit of length is the metre once ``scale`` has found it (see
    ``scale``); until then, or without it, the median depth of the first landmarks. A frame without a trustworthy pose
    has status INITIALIZING or LOST and no pose. Constant memory: the map is bounded. One frame at a time, from one
    thread. With ``threaded`` keyframes are mapped in a thread of their own while ``track`` goes on: no frame waits for
    it, results depend on timing, and ``close`` ends the thread. Else they are mapped within ``track``: deterministic.
    """

    def __init__(
        self,
        matcher: MatchingPipeline,
        config: TrackingConfig | None = None,
        scale: ScaleEstimator | None = None,
        *,
        threaded: bool = False,
    ) -> None:
        config, stages = config or TrackingConfig(), StageTimer()
        self._back_end = _back_end(matcher, config, threaded)
        adjuster = LocalMapper(matcher, config, stages)
        self._tracker = Tracker(matcher, config, scale or ScaleEstimator(), self._back_end, adjuster, stages)

    def reset(self) -> None:
        """Forget everything; the next frame starts a new world."""
        self._tracker.reset()

    def track(self, frame: Frame) -> TrackingResult:
        """Process the next frame; frames come in the order of time, from one camera.

        Raises ``TrackingError`` where the camera changed or the stamp does not increase without a ``reset``.
        """
        return self._tracker.track(frame)

    def finish(self) -> tuple[Keyframe, ...]:
        """Wait for the keyframes that are still being mapped, and return them."""
        return self._tracker.finish()

    def close(self) -> None:
        """End the thread of the back end; work in progress is discarded."""
        self._back_end.close()

    def keyframe_poses(self) -> dict[int, np.ndarray]:
        """``world_from_camera`` of the keyframes in the active map, by id: adjusted since they were delivered."""
        return self._tracker.keyframe_poses()

    def current_keyframes(self) -> tuple[Keyframe, ...]:
        """The keyframes in the active map as they are now: poses and landmarks change after they were delivered."""
        return self._tracker.current_keyframes()


def _back_end(matcher: MatchingPipeline, config: TrackingConfig, threaded: bool) -> BackEnd:
    """A back end with parts of its own: their stage timer is not shared between threads."""
    stages = StageTimer()
    relocalizer = Relocalizer(matcher, Localizer(matcher, config, stages), config, stages)
    return BackEnd(
        LocalMapper(matcher, config, stages),
        lambda local_map, features: relocalizer.relocalize(local_map, features, tried=_TRIED_INACTIVE),
        stages,
        ThreadScheduler() if threaded else InlineScheduler(),
    )
