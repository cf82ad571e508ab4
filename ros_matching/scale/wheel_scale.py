"""Map scale from wheel odometry: the distance that the robot drove between two keyframes."""

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

_MIN_MOTION = 0.05  # shortest motion of the camera to measure, as a fraction of the typical depth
# Error of the camera motion: as a fraction of its length, and as a fraction of the typical depth
_VISUAL_STD, _VISUAL_NOISE = 0.01, 0.003
_MAX_STD = 0.05  # relative, of a measurement: the robot drives on until it is that small
_MAX_GAP_NS = 500_000_000  # positions farther apart in time are not interpolated
_MAX_SPEED_M_S = 50.0  # a faster motion is a reset of the odometry


class WheelOdometry:
    """Stamped positions of the robot from wheel odometry; ``add`` and ``at`` may be called from different threads.

    The newest ``capacity`` are kept. A position that jumps, or whose stamp is far after or before the last one, is
    rejected; several consecutive ones that are consistent start a new record, or continue the record after a gap.
    """

    def __init__(self, capacity: int = 20_000) -> None:
        self._lock = threading.Lock()
        self._stamps: deque[int] = deque(maxlen=capacity)
        self._positions: deque[np.ndarray] = deque(maxlen=capacity)
        self._series: Succession[tuple[int, np.ndarray]] = Succession(_continues)

    def add(self, stamp_ns: int, position: np.ndarray) -> bool:
        """Add a position (3,) of the robot in the odometry frame, in metres; returns False if it is rejected.

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
            for stamp, position in run:
                self._stamps.append(stamp)
                self._positions.append(position)
        return True

    def at(self, stamps_ns: list[int]) -> np.ndarray:
        """Interpolate positions (N, 3) at times; NaN in gaps and outside the record."""
        with self._lock:
            stamps, positions = np.array(self._stamps, dtype=np.int64), np.array(self._positions)
        times = np.array(stamps_ns, dtype=np.int64)
        found = np.full((len(times), 3), np.nan)
        if len(stamps) < 2:
            return found
        after = np.clip(np.searchsorted(stamps, times), 1, len(stamps) - 1)
        before = after - 1
        fraction = (times - stamps[before]) / (stamps[after] - stamps[before])
        good = (fraction >= 0) & (fraction <= 1) & (stamps[after] - stamps[before] <= _MAX_GAP_NS)
        found[good] = (positions[before] + fraction[:, None] * (positions[after] - positions[before]))[good]
        return found


def _is_reachable(last: tuple[int, np.ndarray], new: tuple[int, np.ndarray]) -> bool:
    """Return True if the robot can have driven from one stamped position to the other."""
    seconds = (new[0] - last[0]) * 1e-9
    return seconds > 0 and bool(np.linalg.norm(new[1] - last[1]) <= _MAX_SPEED_M_S * seconds)


def _continues(last: tuple[int, np.ndarray], new: tuple[int, np.ndarray]) -> bool:
    return new[0] - last[0] <= _MAX_GAP_NS and _is_reachable(last, new)


class WheelScaleSource:
    """Compares the motion of the camera with that of the robot, over consecutive spans of keyframes."""

    name = "wheel"

    def __init__(
        self, config: ScaleConfig, odometry: WheelOdometry, base_from_camera: Callable[[], np.ndarray | None]
    ) -> None:
        """``base_from_camera`` returns the extrinsics (4, 4) of the camera, in metres; ``None`` while unknown."""
        self._config = config
        self._odometry = odometry
        self._base_from_camera = base_from_camera
        self.shared_std = config.wheel_sigma
        self.reset()

    def reset(self) -> None:
        """Start a new span at the next keyframe."""
        self._start_id: int | None = None

    def measure(self, local_map: LocalMap, view: LocalizedView) -> ScaleMeasurement | NoMeasurement:
        """Measure the scale from both motions since the last measurement, once they are long enough.

        The odometry may lag behind the images: the span ends at the newest keyframe with a wheel position.
        """
        base_from_camera = self._base_from_camera()
        if base_from_camera is None:
            return NoMeasurement("the extrinsics of the camera on the robot are unknown", pending=True)
        positions = self._odometry.at([keyframe.frame.stamp_ns for keyframe in local_map.keyframes])
        located = [k for k, position in zip(local_map.keyframes, positions, strict=True) if np.isfinite(position[0])]
        if len(located) < 2:
            return NoMeasurement("no wheel odometry for the stamps of the images", pending=True)
        first = next((k for k in located if k.id == self._start_id), None)
        if first is None:
            first = located[0] if self._start_id is None else located[-1]
            self._start_id = first.id
        start = local_map.keyframes.index(first)
        newest = local_map.keyframes.index(located[-1])
        driven = float(np.linalg.norm(positions[newest] - positions[start]))
        measured = self._ratio(local_map, base_from_camera, first, located[-1], driven)
        if isinstance(measured, ScaleMeasurement) or not measured.pending:
            self._start_id = located[-1].id
        return measured

    def _ratio(
        self, local_map: LocalMap, base_from_camera: np.ndarray, first: MapKeyframe, last: MapKeyframe, driven: float
    ) -> ScaleMeasurement | NoMeasurement:
        """Solve |s u + v| = driven for the scale s: u is the camera motion, v the lever arm term of the rotation."""
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
        log_std = float(np.linalg.norm([by_wheels, _VISUAL_STD, _VISUAL_NOISE * local_map.typical_depth / length]))
        if log_std > _MAX_STD:
            return NoMeasurement("the robot has not driven far enough", pending=True)
        return ScaleMeasurement(float(np.log(scale)), log_std)
