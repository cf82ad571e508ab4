"""The scale from wheel odometry: how far the robot drove between two keyframes."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable

import numpy as np

from ros_matching.atlas.keyframes import MapKeyframe
from ros_matching.atlas.local_map import LocalMap
from ros_matching.errors import TrackingError
from ros_matching.geometry.se3 import invert
from ros_matching.scale.config import ScaleConfig
from ros_matching.scale.scale_measurement import LocalizedView, NoMeasurement, ScaleMeasurement
from ros_matching.succession import Step, Succession

_MIN_MOTION = 0.05  # of the camera, as a share of the depth of the scene, for its length to be well known
# Error of the camera's motion: a share of its length, and a share of the depth of the scene.
_VISUAL_SIGMA, _VISUAL_NOISE = 0.01, 0.003
_MAX_SIGMA = 0.05  # of a length: the robot drives on until it is known so well
_MAX_GAP_NS = 500_000_000  # positions farther apart in time are not interpolated
_MAX_SPEED_M_S = 50.0  # what moves faster was set elsewhere


class WheelOdometry:
    """Positions of the robot by its wheels, by time; ``add`` and ``at`` may be called from different threads.

    The newest ``capacity`` are kept. A position that jumps, or whose stamp is far ahead or before the last one's, is
    left out; several in a row that follow on each other begin a new record, or go on with it after a gap.
    """

    def __init__(self, capacity: int = 20_000) -> None:
        self._lock = threading.Lock()
        self._stamps: deque[int] = deque(maxlen=capacity)
        self._positions: deque[np.ndarray] = deque(maxlen=capacity)
        self._series: Succession[tuple[int, np.ndarray]] = Succession(_continues)

    def add(self, stamp_ns: int, position: np.ndarray) -> bool:
        """Take the position (3,) of the robot in its odometry's frame, in metres; False where it is left out.

        Raises ``TrackingError`` if it is not finite.
        """
        position = np.asarray(position, dtype=np.float64)
        if position.shape != (3,) or not np.isfinite(position).all():
            raise TrackingError(f"wheel odometry needs a finite position x y z, got {position.tolist()}")
        with self._lock:
            last, run = self._series.last, [*self._series.odd, (stamp_ns, position)]
            if last is not None and stamp_ns == last[0]:
                return True
            step = self._series.offer(run[-1])
            if step is Step.ODD:
                return False
            if step is Step.NEXT:
                run = run[-1:]
            elif not _is_reachable(last, run[0]):
                self._stamps.clear()
                self._positions.clear()
            for stamp, reached in run:
                self._stamps.append(stamp)
                self._positions.append(reached)
        return True

    def at(self, stamps_ns: list[int]) -> np.ndarray:
        """Interpolated positions (N, 3) at times, NaN where the record has a gap or does not reach."""
        with self._lock:
            stamps, positions = np.array(self._stamps, dtype=np.int64), np.array(self._positions)
        wanted = np.array(stamps_ns, dtype=np.int64)
        found = np.full((len(wanted), 3), np.nan)
        if len(stamps) < 2:
            return found
        after = np.clip(np.searchsorted(stamps, wanted), 1, len(stamps) - 1)
        before = after - 1
        share = (wanted - stamps[before]) / (stamps[after] - stamps[before])
        good = (share >= 0) & (share <= 1) & (stamps[after] - stamps[before] <= _MAX_GAP_NS)
        found[good] = (positions[before] + share[:, None] * (positions[after] - positions[before]))[good]
        return found


def _is_reachable(last: tuple[int, np.ndarray], new: tuple[int, np.ndarray]) -> bool:
    """True if the robot can have driven from one stamped position to the other."""
    seconds = (new[0] - last[0]) * 1e-9
    return seconds > 0 and bool(np.linalg.norm(new[1] - last[1]) <= _MAX_SPEED_M_S * seconds)


def _continues(last: tuple[int, np.ndarray], new: tuple[int, np.ndarray]) -> bool:
    return new[0] - last[0] <= _MAX_GAP_NS and _is_reachable(last, new)


class WheelScaleSource:
    """Compares the camera's motion with the robot's, from one keyframe to a later one, and on from there."""

    name = "wheel"

    def __init__(
        self, config: ScaleConfig, odometry: WheelOdometry, base_from_camera: Callable[[], np.ndarray | None]
    ) -> None:
        """``base_from_camera`` gives the mounting (4, 4), in metres, of the camera, or ``None`` while it is unknown."""
        self._config = config
        self._odometry = odometry
        self._base_from_camera = base_from_camera
        self.shared_sigma = config.wheel_sigma
        self.reset()

    def reset(self) -> None:
        """Begin to measure anew."""
        self._since_id: int | None = None

    def measure(self, local_map: LocalMap, view: LocalizedView) -> ScaleMeasurement | NoMeasurement:
        """The ratio of the two motions since the last measurement, once both are long enough.

        The odometry may lag behind the images: the newest keyframe that it has reached counts.
        """
        mounting = self._base_from_camera()
        if mounting is None:
            return NoMeasurement("it is not known how the camera sits on the robot", pending=True)
        positions = self._odometry.at([keyframe.frame.stamp_ns for keyframe in local_map.keyframes])
        reached = [k for k, position in zip(local_map.keyframes, positions, strict=True) if np.isfinite(position[0])]
        if len(reached) < 2:
            return NoMeasurement("no wheel odometry has come for the times of the images", pending=True)
        since = next((k for k in reached if k.id == self._since_id), None)
        if since is None:
            since = reached[0] if self._since_id is None else reached[-1]
            self._since_id = since.id
        start = local_map.keyframes.index(since)
        newest = local_map.keyframes.index(reached[-1])
        driven = float(np.linalg.norm(positions[newest] - positions[start]))
        measured = self._ratio(local_map, mounting, since, reached[-1], driven)
        if isinstance(measured, ScaleMeasurement) or not measured.pending:
            self._since_id = reached[-1].id
        return measured

    def _ratio(
        self, local_map: LocalMap, base_from_camera: np.ndarray, first: MapKeyframe, last: MapKeyframe, driven: float
    ) -> ScaleMeasurement | NoMeasurement:
        """|s u + v| = driven, where s u is the camera's motion and v what turning adds to the robot's."""
        motion = first.camera_from_world @ invert(last.camera_from_world)
        rotation, arm = base_from_camera[:3, :3], base_from_camera[:3, 3]
        u = rotation @ motion[:3, 3]
        v = arm - rotation @ motion[:3, :3] @ rotation.T @ arm
        length = float(np.linalg.norm(u))
        moved = length > _MIN_MOTION * local_map.typical_depth
        noise = np.hypot(self._config.wheel_noise_m, self._config.wheel_sigma * driven)
        if moved and driven + np.linalg.norm(v) < 4 * self._config.wheel_noise_m:
            return NoMeasurement("the camera moves while the wheel odometry stands still")
        half = u @ v / length**2 if length > 0 else 0.0
        discriminant = half**2 - (v @ v - driven**2) / length**2 if length > 0 else -1.0
        if not moved or discriminant <= 0 or half >= np.sqrt(discriminant):
            return NoMeasurement("the robot has not driven far enough", pending=True)
        scale = np.sqrt(discriminant) - half
        by_wheels = noise * driven / (length**2 * np.sqrt(discriminant) * scale)
        sigma = float(np.linalg.norm([by_wheels, _VISUAL_SIGMA, _VISUAL_NOISE * local_map.typical_depth / length]))
        if sigma > _MAX_SIGMA:
            return NoMeasurement("the robot has not driven far enough", pending=True)
        return ScaleMeasurement(float(np.log(scale)), sigma)
