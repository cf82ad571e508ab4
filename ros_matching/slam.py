"""Simultaneous localisation and mapping: ``Slam(matcher).track(frame)`` for consecutive frames.

A layer above ``VisualOdometry``, as REP-105 has it: the odometry is continuous and bounded and its latency does not
change; a back end keeps its keyframes in a map, and gives the transform between both.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass

import numpy as np

from ros_matching.atlas.config import TrackingConfig
from ros_matching.atlas.keyframes import NO_LANDMARK
from ros_matching.atlas.slam_map import SlamMap
from ros_matching.backend.frame_poses import FramePoses
from ros_matching.backend.keyframe_storage import OdometryState
from ros_matching.backend.localization_back_end import LocalizationBackEnd
from ros_matching.backend.odometry_placement import OdometryPlacement
from ros_matching.backend.place_search import PlaceSearch
from ros_matching.backend.scheduler import InlineScheduler, ThreadScheduler
from ros_matching.backend.slam_back_end import SlamBackEnd
from ros_matching.backend.slam_config import SlamConfig
from ros_matching.backend.slam_update import EventKind, SlamEvent, SlamUpdate
from ros_matching.datatypes import Frame, Keyframe, ScaleState
from ros_matching.errors import ConfigError, TrackingError
from ros_matching.geometry.checks import as_pose
from ros_matching.inertial.imu import Imu
from ros_matching.matching.pipeline import MatchingPipeline
from ros_matching.odometry.result import TrackingResult, TrackingStatus
from ros_matching.scale.scale_estimator import ScaleEstimator
from ros_matching.visual_odometry import VisualOdometry

_NICENESS = 12  # of the thread: later than the mapping of keyframes, which the odometry needs
MODES = ("slam", "localization")
_AROUND = 10  # keyframes of the map from which the odometry continues


class SlamStatus(enum.Enum):
    """State of SLAM after a frame."""

    INITIALIZING = "initializing"  # no pose yet
    TRACKING = "tracking"  # the pose in the map is known
    UNLOCALIZED = "unlocalized"  # tracked since a loss or a restart: the place in the map is a guess, or unknown
    LOST = "lost"  # no pose in this frame


@dataclass(frozen=True)
class SlamResult:
    """Outcome of ``Slam.track(frame)``.

    ``tracking`` is that of the odometry. ``map_from_odom`` (4, 4) is rigid, ``map_from_camera`` (4, 4) the pose of the
    camera in the map. Both are ``None`` while unknown: before the first pose, and in a map made before until a place is
    recognised; then the image itself may have a pose before the odometry has one. ``events`` are what the back end
    found since the last frame.
    """

    tracking: TrackingResult
    status: SlamStatus
    map_from_odom: np.ndarray | None = None
    events: tuple[SlamEvent, ...] = ()
    keyframes: int = 0  # in the map
    map_from_camera: np.ndarray | None = None


class Slam:
    """Tracks one camera in a map that is kept.

    The map is in the frame of the first camera, or that of ``slam_map``, a map made before, to continue. Memory grows
    with the keyframes; the time of a frame does not. ``threaded`` as in ``VisualOdometry``: keyframes are mapped, and
    loops closed, in threads of their own, and no frame waits for them; else within ``track``, deterministic. All calls
    come from one thread, except ``snapshot``.
    """

    def __init__(
        self,
        matcher: MatchingPipeline,
        tracking_config: TrackingConfig | None = None,
        slam_config: SlamConfig | None = None,
        scale: ScaleEstimator | None = None,
        *,
        threaded: bool = False,
        slam_map: SlamMap | None = None,
        mode: str = "slam",
        imu: Imu | None = None,
    ) -> None:
        if mode not in MODES:
            raise ConfigError(f"the mode of Slam must be one of {', '.join(MODES)}, got {mode!r}")
        if mode == "localization" and (slam_map is None or not len(slam_map)):
            raise ConfigError("the mode localization needs a map with keyframes; give slam_map, or use the mode slam")
        self._config = slam_config or SlamConfig()
        self._max_keyframes = (tracking_config or TrackingConfig()).max_keyframes
        self._imu = imu
        self._is_localization = mode == "localization"
        self._back_end: SlamBackEnd | LocalizationBackEnd
        if self._is_localization:
            self._back_end = LocalizationBackEnd(matcher, self._config, slam_map)
        else:
            self._back_end = SlamBackEnd(matcher, self._config, slam_map)
        first_id, _ = self._back_end.next_ids
        self._odometry = VisualOdometry(
            matcher, tracking_config, scale, threaded=threaded, imu=imu, first_keyframe_id=first_id
        )
        self._scheduler = ThreadScheduler(_NICENESS) if threaded else InlineScheduler()
        self._begin()

    def _begin(self, world_from_camera: np.ndarray | None = None) -> None:
        """Make the state of a new odometry, which starts at its origin or at a pose (4, 4)."""
        self._frames = FramePoses()
        self._localized: list[tuple[int, np.ndarray]] = []  # of the mode localization, as they were
        self._events: list[SlamEvent] = []
        self._is_due = self._is_tracking = False
        self._submitted_id = -1  # newest keyframe of the odometry that the back end has
        self._scale, self._scale_std = ScaleState.UP_TO_SCALE, float("inf")
        _, first_number = self._back_end.next_ids
        self._placement = OdometryPlacement(
            first_number, starts_in_map=self._back_end.keyframes > 0, world_from_camera=world_from_camera
        )
        around = min(_AROUND, self._max_keyframes // 2)
        self._search = PlaceSearch(self._back_end, self._scheduler, self._placement, self._config, around)

    def _restart(self, world_from_camera: np.ndarray | None = None) -> None:
        """Start a new odometry, at its origin or at a pose (4, 4)."""
        first_id, _ = self._back_end.next_ids
        self._odometry.reset(first_id, world_from_camera)
        self._begin(world_from_camera)

    @property
    def slam_map(self) -> SlamMap | None:
        """The map, ``None`` before the first keyframe; with ``threaded`` use ``snapshot`` or call ``finish`` first."""
        return self._back_end.slam_map

    def snapshot(self) -> SlamMap | None:
        """Return a copy of the map, from any thread; ``None`` before the first keyframe."""
        return self._back_end.snapshot()

    def reset(self) -> None:
        """Start a new odometry and a new map with the next frame."""
        self._scheduler.close()  # a running job must not change the new map
        self._back_end.reset()
        self._restart()

    def start_at(self, world_from_camera: np.ndarray) -> None:
        """Let the odometry begin at a pose (4, 4) in place of its origin; before the first frame."""
        self._restart(as_pose("the first pose", world_from_camera))

    def track(self, frame: Frame) -> SlamResult:
        """Process the next frame of one camera, in the order of time; see ``VisualOdometry.track``."""
        # Apply what the back end found since the last frame
        self._apply(self._scheduler.take())
        # Track
        result = self._odometry.track(frame)
        self._is_tracking = result.status is TrackingStatus.TRACKING
        self._follow_map(result)
        self._follow_scale(result)
        self._keep(result)
        # Hand new keyframes to the back end; without a known place, localise the image itself
        self._is_due |= bool(result.new_keyframes)
        self._submit()
        is_lost = result.status in (TrackingStatus.LOST, TrackingStatus.BRIDGED)
        if self._search.is_due(result.stamp_ns, is_lost=is_lost):
            self._submit_frame(frame, result)
        elif not self._scheduler.runs_in_frame:
            self._submit_adjustment()
        # Report
        return self._reported(result)

    def finish(self, *, adjust: bool = True) -> tuple[Keyframe, ...]:
        """Wait for the keyframes that are being mapped and stored, and return those of the odometry.

        ``adjust`` finishes the bundle adjustment of the whole map, which may take long.
        """
        keyframes = self._odometry.finish()
        self._apply(self._scheduler.take(wait=True))
        self._is_due |= bool(keyframes)
        self._submit()
        self._apply(self._scheduler.take(wait=True))
        while adjust and self._back_end.is_adjustable and not self._is_due:
            self._submit_adjustment()
            self._apply(self._scheduler.take(wait=True))
        return keyframes

    def close(self) -> None:
        """End the threads; work in progress is discarded."""
        self._odometry.close()
        self._scheduler.close()

    @property
    def map_from_odom(self) -> np.ndarray | None:
        """The similarity (4, 4) of the map from the odometry's world; ``None`` if the place in the map is unknown."""
        return self._placement.map_from_odom

    def suggest_pose(self, map_from_camera: np.ndarray) -> None:
        """Search for the camera near a pose (4, 4) of the map first, while its place in a map made before is unknown.

        From any thread.
        """
        self._back_end.suggest(as_pose("the suggested pose", map_from_camera))

    def keyframe_poses(self) -> dict[int, np.ndarray]:
        """Return the adjusted ``world_from_camera`` of the keyframes in the odometry's active map, by its ids."""
        return self._odometry.keyframe_poses()

    def trajectory(self) -> list[tuple[int, np.ndarray]]:
        """Return stamps in nanoseconds and corrected poses ``map_from_camera`` (4, 4) of the tracked frames.

        The pose of a frame is that of its keyframe times its relative pose; in the mode localization that of its time.
        Frames whose place in a loaded map is unknown are left out. Call ``finish`` before.
        """
        if not self._config.keep_trajectory:
            raise TrackingError("the trajectory was not kept; set keep_trajectory of SlamConfig to true")
        slam_map = self._back_end.slam_map
        if self._is_localization or slam_map is None:
            return list(self._localized)
        return self._frames.in_map(slam_map, self._placement.placed if self._placement.starts_in_map else None)

    def _submit_frame(self, frame: Frame, result: TrackingResult) -> None:
        """Localise the image of this frame in the whole map."""
        is_submitted = self._search.submit(frame, self._odometry.features, result.world_from_camera)
        if is_submitted and self._scheduler.runs_in_frame:
            self._apply(self._scheduler.take())

    def _submit_adjustment(self) -> None:
        """Continue the adjustment of the whole map if the back end has nothing else to do."""
        if self._scheduler.is_idle and not self._is_due and self._back_end.is_adjustable:
            self._scheduler.submit(lambda _: self._back_end.adjust())

    def _reported(self, result: TrackingResult) -> SlamResult:
        """Make the result of a frame."""
        events, self._events = tuple(self._events), []
        map_from_odom, is_guess = self._placement.rigid(result.world_from_camera), not self._placement.is_placed
        map_from_camera = None
        if map_from_odom is not None and result.world_from_camera is not None:
            map_from_camera = map_from_odom @ result.world_from_camera
        by_image = self._search.pose_at(result.stamp_ns)
        if is_guess and by_image is not None:
            map_from_camera, is_guess = by_image, False
        status = SlamStatus.TRACKING
        if map_from_camera is None or is_guess or result.status is TrackingStatus.BRIDGED:
            status = {
                TrackingStatus.INITIALIZING: SlamStatus.INITIALIZING,
                TrackingStatus.LOST: SlamStatus.LOST,
                TrackingStatus.TRACKING: SlamStatus.UNLOCALIZED,
                TrackingStatus.BRIDGED: SlamStatus.LOST,
            }[result.status]
        if status is SlamStatus.TRACKING and self._is_localization and self._config.keep_trajectory:
            self._localized.append((result.stamp_ns, map_from_camera))
        return SlamResult(result, status, map_from_odom, events, self._back_end.keyframes, map_from_camera)

    def _follow_map(self, result: TrackingResult) -> None:
        """Follow the odometry into another map."""
        if result.world_from_camera is None:
            return
        start = self._odometry.known_start
        if self._placement.follow(result.map_id, start):
            keyframe, place = self._odometry.keyframe_ids()[0], start.place
            inliers = int(np.count_nonzero(place.landmark_ids != NO_LANDMARK))
            event = SlamEvent(EventKind.RELOCALIZED, result.stamp_ns, keyframe, place.place, inliers, 0.0)
            self._events.append(event)

    def _follow_scale(self, result: TrackingResult) -> None:
        """Follow a change of the odometry's unit about the camera of this frame."""
        self._scale, self._scale_std = result.scale, result.scale_sigma
        # Between two known units the map keeps its scale: the change corrects the drift of the odometry
        if result.scale_change != 1.0 and result.scale is ScaleState.UP_TO_SCALE:
            self._placement.rescale(result.scale_change, result.world_from_camera[:3, 3])

    def _submit(self) -> None:
        """Hand the local map to the back end if it has new keyframes and the back end is idle.

        The back end is waited for only if a keyframe would leave the local map before it is stored: when it is behind
        by as many keyframes as that holds.
        """
        if not self._is_due:
            return
        ids = self._odometry.keyframe_ids()
        if not self._scheduler.is_idle and len(ids) >= self._max_keyframes and ids[1] > self._submitted_id:
            self._apply(self._scheduler.take(wait=True))
        if not self._scheduler.is_idle:
            return
        state = self._odometry.map_state()
        if state is None:
            return
        self._is_due = False
        self._submitted_id = ids[-1]
        odometry = OdometryState(
            state,
            self._placement.number,
            self._placement.map_from_odom,
            self._scale,
            self._scale_std,
            self._placement.is_placed,
            *self._gravity,
        )
        self._scheduler.submit(lambda _: self._back_end.process(odometry))
        if self._scheduler.runs_in_frame:
            self._apply(self._scheduler.take())

    @property
    def _gravity(self) -> tuple[np.ndarray | None, float]:
        """Direction of gravity (3,) in the odometry's world, with its standard deviation in radians."""
        state = None if self._imu is None else self._imu.state
        if state is None:
            return None, float("inf")
        return state.down, float(np.sqrt(np.linalg.eigvalsh(state.covariance[9:, 9:])[-1]))

    def _apply(self, update: SlamUpdate | None) -> None:
        if update is None:
            return
        self._events += update.events
        self._placement.placed |= update.placed
        if update.found is not None:
            offered = self._search.offer(update.found, is_tracking=self._is_tracking, guesses=self._is_localization)
            if offered is not None:
                self._odometry.offer(offered)
        self._placement.apply(update)

    def _keep(self, result: TrackingResult) -> None:
        """Keep the pose of the frame relative to the newest keyframe."""
        if not self._config.keep_trajectory or self._is_localization:
            return
        if result.status is not TrackingStatus.TRACKING:
            return
        self._frames.add(result.stamp_ns, result.world_from_camera, self._odometry.newest_keyframe())
