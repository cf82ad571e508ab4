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
from ros_matching.atlas.known_place import KnownPlace, KnownStart, OfferedPlace
from ros_matching.atlas.slam_map import SlamMap
from ros_matching.backend.frame_poses import FramePoses
from ros_matching.backend.keyframe_storage import OdometryState
from ros_matching.backend.map_localization import LocalizationBackEnd
from ros_matching.backend.scheduler import InlineScheduler, ThreadScheduler
from ros_matching.backend.slam_back_end import SlamBackEnd
from ros_matching.backend.slam_config import SlamConfig
from ros_matching.backend.slam_update import EventKind, SlamEvent, SlamUpdate
from ros_matching.datatypes import Frame, Keyframe, ScaleState
from ros_matching.errors import ConfigError, TrackingError
from ros_matching.geometry.checks import as_pose
from ros_matching.geometry.se3 import invert, orthonormalized
from ros_matching.geometry.sim3 import invert_similarity, rigid_part
from ros_matching.inertial.imu import Imu
from ros_matching.matching.pipeline import MatchingPipeline
from ros_matching.odometry.result import TrackingResult, TrackingStatus
from ros_matching.scale.scale_estimator import ScaleEstimator
from ros_matching.visual_odometry import VisualOdometry

_NICENESS = 12  # of the thread: later than the mapping of keyframes, which the odometry needs
MODES = ("slam", "localization")
_LOCALIZED_NS = 3 * 10**8  # after an image was localised in a thread, the next one
_LOST_NS = 5 * 10**8  # after a lost image was localised in the whole map, or not, the next one
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
        self._around = min(_AROUND, self._max_keyframes // 2)
        self._odometry = VisualOdometry(matcher, tracking_config, scale, threaded=threaded, imu=imu)
        self._imu = imu
        self._scheduler = ThreadScheduler(_NICENESS) if threaded else InlineScheduler()
        self._back_end: SlamBackEnd | LocalizationBackEnd
        if mode == "localization":
            self._back_end = LocalizationBackEnd(matcher, self._config, slam_map)
        else:
            self._back_end = SlamBackEnd(matcher, self._config, slam_map)
        self._is_localization = mode == "localization"
        self._start()

    def _start(self, world_from_camera: np.ndarray | None = None) -> None:
        """Start a new odometry, at its origin or at a pose (4, 4)."""
        self._frames = FramePoses()
        self._localized: list[tuple[int, np.ndarray]] = []  # of the mode localization, as they were
        self._maps: dict[int, np.ndarray] = {}  # map_from_odom similarities by odometry map
        self._is_due = self._is_tracking = False
        self._submitted_id = -1  # newest keyframe of the odometry that the back end has
        self._map_number = 0
        first_id, self._first_number = self._back_end.next_ids
        self._odometry.reset(first_id, world_from_camera)
        self._events: list[SlamEvent] = []
        # In a map made before, the place of the odometry is not known at first
        self._starts_in_map = self._back_end.keyframes > 0
        self._placed: frozenset[int] = frozenset()
        self._frame_pose: tuple[int, np.ndarray] | None = None  # stamp and map_from_camera of a localised image
        self._guessed: frozenset[int] = frozenset()  # odometry maps placed by single images
        self._asked: tuple[int, int, np.ndarray | None] | None = None  # stamp, map number and pose of an image
        self._last_pose, self._has_pose = np.eye(4) if world_from_camera is None else world_from_camera, False
        self._scale, self._scale_std = ScaleState.UP_TO_SCALE, float("inf")

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
        self._start()

    def start_at(self, world_from_camera: np.ndarray) -> None:
        """Let the odometry begin at a pose (4, 4) in place of its origin; before the first frame."""
        self._start(as_pose("the first pose", world_from_camera))

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
        if self._is_sought(result):
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
        return self._map_from_odom

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
        return self._frames.in_map(slam_map, self._placed if self._starts_in_map else None)

    @property
    def _map_from_odom(self) -> np.ndarray | None:
        return self._maps.get(self._map_number)

    @property
    def _is_placed(self) -> bool:
        return self._map_number in self._placed

    def _is_sought(self, result: TrackingResult) -> bool:
        """Return True if the image of a frame should be localised in the whole map."""
        if not self._is_placed and self._starts_in_map:
            return True
        is_lost = result.status in (TrackingStatus.LOST, TrackingStatus.BRIDGED)
        if not is_lost or not self._config.close_loops or not self._back_end.keyframes:
            return False
        return self._asked is None or not 0 <= result.stamp_ns - self._asked[0] < _LOST_NS

    def _submit_frame(self, frame: Frame, result: TrackingResult) -> None:
        """Localise the image of this frame if the back end is idle, in a thread not at once after another."""
        features = self._odometry.features
        if features is None or not self._scheduler.is_idle:
            return
        is_recent = self._frame_pose is not None and 0 <= result.stamp_ns - self._frame_pose[0] < _LOCALIZED_NS
        if is_recent and not self._scheduler.runs_in_frame:
            return
        self._asked = result.stamp_ns, self._map_number, result.world_from_camera
        self._scheduler.submit(lambda _: self._back_end.localize_frame(frame, features, self._around))
        if self._scheduler.runs_in_frame:
            self._apply(self._scheduler.take())

    def _submit_adjustment(self) -> None:
        """Continue the adjustment of the whole map if the back end has nothing else to do."""
        if self._scheduler.is_idle and not self._is_due and self._back_end.is_adjustable:
            self._scheduler.submit(lambda _: self._back_end.adjust())

    def _reported(self, result: TrackingResult) -> SlamResult:
        """Make the result of a frame."""
        events, self._events = tuple(self._events), []
        map_from_odom, is_guess = self._rigid(result), not self._is_placed
        map_from_camera = None
        if map_from_odom is not None and result.world_from_camera is not None:
            map_from_camera = map_from_odom @ result.world_from_camera
        if is_guess and self._frame_pose is not None and self._frame_pose[0] == result.stamp_ns:
            map_from_camera, is_guess = self._frame_pose[1], False
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
        """Follow the odometry into another map; a new one starts at the place that the odometry guesses."""
        if result.world_from_camera is None:
            return
        number = result.map_id + self._first_number
        start = self._odometry.known_start
        if number not in self._maps and start is not None and start.number == result.map_id:
            self._enter(number, start, result)
        elif number not in self._maps:
            self._maps[number] = self._maps.get(self._map_number, np.eye(4))
            if not self._starts_in_map and not self._placed:
                self._placed = frozenset({number})
        self._map_number = number

    def _follow_scale(self, result: TrackingResult) -> None:
        """Follow a change of the odometry's unit about the camera of this frame."""
        self._scale, self._scale_std = result.scale, result.scale_sigma
        # Between two known units the map keeps its scale: the change corrects the drift of the odometry
        if result.scale_change == 1.0 or result.scale is not ScaleState.UP_TO_SCALE:
            return
        center = result.world_from_camera[:3, 3]
        before_from_after = np.eye(4)
        before_from_after[:3, :3] /= result.scale_change
        before_from_after[:3, 3] = center - center / result.scale_change
        self._maps[self._map_number] = self._map_from_odom @ before_from_after

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
            self._map_number,
            self._map_from_odom,
            self._scale,
            self._scale_std,
            self._is_placed,
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
        self._placed |= update.placed
        if update.found is not None:
            self._place_by_frame(update.found)
        for number, new_from_old in update.corrections.items():
            if number in self._maps:
                self._maps[number] = new_from_old @ self._maps[number]

    def _place_by_frame(self, found: KnownPlace) -> None:
        """Use the place of a single image: the odometry continues there unless it is placed and tracks.

        Until it does, an odometry with poses is placed by the image; its unit remains unknown.
        """
        stamp_ns, number, world_from_camera = self._asked
        map_from_camera = invert(found.camera_from_world)
        self._frame_pose = stamp_ns, map_from_camera
        if self._map_number in self._placed and self._is_tracking:
            return
        odom_from_map = self._odom_from_map(found, world_from_camera)
        self._odometry.offer(OfferedPlace(found, odom_from_map, self._last_pose))
        if self._is_localization and world_from_camera is not None and number not in self._placed:
            similarity = self._maps[number]
            moved = map_from_camera @ invert(rigid_part(similarity @ world_from_camera))
            self._maps[number] = moved @ similarity
            self._guessed = self._guessed | {number}

    def _odom_from_map(self, found: KnownPlace, world_from_camera: np.ndarray | None) -> np.ndarray | None:
        """Return the similarity (4, 4) for an odometry that continues at a known place; ``None`` if it is undefined.

        An odometry that was placed before returns in its world. Else the image keeps its pose, if it has one, and the
        odometry takes the unit of the map.
        """
        if not self._placed.isdisjoint(self._maps):
            return invert_similarity(self._map_from_odom)
        return None if world_from_camera is None else world_from_camera @ found.camera_from_world

    def _enter(self, number: int, start: KnownStart, result: TrackingResult) -> None:
        """Follow the odometry to the known place where it has continued."""
        self._maps[number] = invert_similarity(start.world_from_map)
        self._placed |= {number}
        keyframe, inliers = self._odometry.keyframe_ids()[0], np.count_nonzero(start.place.landmark_ids != NO_LANDMARK)
        event = SlamEvent(EventKind.RELOCALIZED, result.stamp_ns, keyframe, start.place.place, int(inliers), 0.0)
        self._events.append(event)

    def _keep(self, result: TrackingResult) -> None:
        """Keep the pose of the frame relative to the newest keyframe."""
        if not self._config.keep_trajectory or self._is_localization:
            return
        if result.status is not TrackingStatus.TRACKING:
            return
        self._frames.add(result.stamp_ns, result.world_from_camera, self._odometry.newest_keyframe())

    def _rigid(self, result: TrackingResult) -> np.ndarray | None:
        """Return map_from_odom as a rigid transform, exact at the camera of the last frame that has a pose."""
        if result.world_from_camera is not None:
            self._last_pose, self._has_pose = result.world_from_camera, True
        if self._map_from_odom is None or not self._has_pose:
            return None
        if self._starts_in_map and not self._placed and self._map_number not in self._guessed:
            return None
        return orthonormalized(rigid_part(self._map_from_odom @ self._last_pose) @ invert(self._last_pose))
