"""Map scale from an IMU: the motion of the keyframes against the accelerometer (see ``inertial.alignment``)."""

from __future__ import annotations

import math
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import pairwise

import numpy as np

from ros_matching.atlas.keyframes import MapKeyframe
from ros_matching.atlas.local_map import LocalMap
from ros_matching.geometry.se3 import invert
from ros_matching.inertial.alignment import Alignment, align
from ros_matching.inertial.alignment_states import AlignmentInput
from ros_matching.inertial.imu import Imu
from ros_matching.inertial.motion_state import MotionState
from ros_matching.inertial.preintegration import Preintegration, preintegrate, require_gtsam
from ros_matching.inertial.rotation_agreement import agreeing
from ros_matching.scale.config import ScaleConfig
from ros_matching.scale.pose_history import PoseHistory
from ros_matching.scale.scale_measurement import LocalizedView, NoMeasurement, ScaleMeasurement

_MOST_POSES = 40  # keyframes, and frames between them
_FRAME_STEP_S = 0.3  # between keyframes farther apart than this, frames are used too
_MIN_POSES = 6
_MIN_SPAN_S = 2.0
# With a state of motion that is known before, as after a loss
_FRAME_STEP_KNOWN_S = 0.15
_MIN_POSES_KNOWN = 4
_MIN_SPAN_KNOWN_S = 0.4
_MAX_STEP_S = 5.0  # between two keyframes: longer, the noise of the IMU exceeds what it measures
_MAX_STD = 0.1  # relative, of a measurement; more is no evidence of a scale
# Factors on the noise of images: from the first the IMU is checked for faults, from the second both disagree
_SUSPICIOUS_NOISE, _MAX_NOISE = 3.0, 20.0
_STALE_BIAS = 0.02  # rad/s, change of the gyroscope's bias after which samples are integrated again

_StampedPose = tuple[int, np.ndarray]  # stamp in nanoseconds, camera_from_world (4, 4)


class ImuScaleSource:
    """Aligns the newest keyframes of the map, and frames between them, with the IMU.

    Its result is also the state of motion of the IMU.
    """

    name = "imu"

    def __init__(self, config: ScaleConfig, imu: Imu, *, threaded: bool = False) -> None:
        """``threaded`` aligns in a thread: no frame waits, and the measurement is that of a frame or two before.

        Raises ``MissingDependencyError`` without GTSAM.
        """
        require_gtsam()
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="imu-alignment") if threaded else None
        self._config = config
        self._imu = imu
        self.shared_std = config.imu_sigma
        self._bias = np.zeros(6)
        self._bias_std = self._first_bias_std()
        self.reset()

    def reset(self) -> None:
        """Start with a new map; the biases are those of the same IMU."""
        self._parts: dict[tuple[int, int], Preintegration] = {}
        self._history = PoseHistory()
        self._running: Future[Alignment | None] | None = None
        self._noise = 1.0
        self._last_reason = "the first measurement is being made"
        self._first: MotionState | None = None
        self._imu.state = None

    def continue_from(self, first: MotionState) -> None:
        """Continue with a known state of motion at the first keyframe of a new map, in its world."""
        self._first = self._imu.state = first
        self._bias = first.bias

    def follow(self, local_map: LocalMap, view: LocalizedView) -> None:
        """Keep the pose of a frame for later measurements."""
        self._history.add(local_map, view.frame.stamp_ns, view.camera_from_world)

    def measure(self, local_map: LocalMap, view: LocalizedView) -> ScaleMeasurement | NoMeasurement:
        """Measure the scale by the newest keyframes."""
        if self._running is not None:
            return self._finished()
        extrinsics = self._imu.imu_from_camera
        if extrinsics is None:
            return NoMeasurement("the extrinsics of camera and IMU are unknown", pending=True)
        if not local_map.typical_depth > 0:
            return NoMeasurement("the map has no landmarks", pending=True)
        is_known = self._knows_first(local_map)
        poses = self._connected(self._poses(local_map.keyframes, is_known=is_known))
        is_known = is_known and poses[0][0] == self._first.stamp_ns
        fewest, shortest_s = (_MIN_POSES_KNOWN, _MIN_SPAN_KNOWN_S) if is_known else (_MIN_POSES, _MIN_SPAN_S)
        if len(poses) < fewest or (poses[-1][0] - poses[0][0]) * 1e-9 < shortest_s:
            return NoMeasurement(self._too_few(local_map.keyframes, len(poses)), pending=is_known)
        first = self._first if is_known else None
        given = self._input(local_map, poses, extrinsics, first), self._imu.config, self._noise
        if self._thread is None:
            return self._measurement(align(*given))
        self._running = self._thread.submit(align, *given)
        return NoMeasurement(self._last_reason, pending=True)

    def _finished(self) -> ScaleMeasurement | NoMeasurement:
        """Return the measurement of the thread if it has ended."""
        if not self._running.done():
            return NoMeasurement(self._last_reason, pending=True)
        running, self._running = self._running, None
        return self._measurement(running.result())

    def _measurement(self, aligned: Alignment | None) -> ScaleMeasurement | NoMeasurement:
        """Return the measurement of an alignment, or the reason why it is none."""
        measured = self._accepted(aligned)
        self._last_reason = measured.reason if isinstance(measured, NoMeasurement) else "no measurement since"
        return measured

    def _accepted(self, aligned: Alignment | None) -> ScaleMeasurement | NoMeasurement:
        noise = math.inf if aligned is None else aligned.noise * max(aligned.fit, 1.0)
        findings = self._imu.findings() if noise > _SUSPICIOUS_NOISE else []
        if findings:
            return NoMeasurement(findings[0].message)
        if noise > _MAX_NOISE:
            return NoMeasurement(
                "images and IMU do not agree on any scale; check extrinsics, time offset and noise of the IMU"
            )
        state = aligned.state
        self._noise = aligned.noise
        if not state.log_scale_std < _MAX_STD:
            return NoMeasurement(
                "the motion so far does not show the scale (its uncertainty is "
                f"{min(state.log_scale_std, 9.99):.0%}); change speed and direction: at constant velocity no IMU can "
                "measure it"
            )
        self._imu.state = state
        self._bias = state.bias
        walk = np.repeat([self._imu.config.accelerometer_walk, self._imu.config.gyroscope_walk], 3)
        known = np.sqrt(np.diag(state.covariance)[3:9])
        # The next alignment shares most of its data with this one: the biases are known, but not twice
        self._bias_std = np.minimum(np.hypot(3 * known, 5 * walk), self._first_bias_std())
        log_std = float(np.hypot(state.log_scale_std, self._config.imu_sigma))
        self.shared_std = log_std  # the next measurement is no independent one
        return ScaleMeasurement(state.log_scale, log_std)

    def _knows_first(self, local_map: LocalMap) -> bool:
        """Return True if the state of motion at the first keyframe is known."""
        return self._first is not None and local_map.keyframes[0].frame.stamp_ns == self._first.stamp_ns

    def _poses(self, keyframes: list[MapKeyframe], *, is_known: bool) -> list[_StampedPose]:
        """Return the keyframes and frames between them, in the order of time, without those of a wrong rotation.

        If the state at the first one is known, they are few, and frames after the newest one count too.
        """
        step_s = _FRAME_STEP_KNOWN_S if is_known and len(keyframes) < _MOST_POSES // 3 else _FRAME_STEP_S
        poses: list[_StampedPose] = []
        for before, after in pairwise(keyframes):
            poses.append((before.frame.stamp_ns, before.camera_from_world))
            poses += self._history.between(before, after, step_s)
        poses.append((keyframes[-1].frame.stamp_ns, keyframes[-1].camera_from_world))
        if is_known:
            poses += self._history.after(keyframes[-1], step_s)
        poses = poses[-_MOST_POSES:]
        world_from_camera = np.stack([invert(pose) for _, pose in poses])
        kept = agreeing(self._imu, [stamp_ns for stamp_ns, _ in poses], world_from_camera)
        return [poses[row] for row in np.flatnonzero(kept)]

    def _connected(self, poses: list[_StampedPose]) -> list[_StampedPose]:
        """Return the newest poses with samples between all of them."""
        connected = poses[-1:]
        for pose in poses[-2::-1]:
            if self._part(pose[0], connected[0][0]) is None:
                break
            connected.insert(0, pose)
        used = {(a[0], b[0]) for a, b in pairwise(connected)}
        self._parts = {key: part for key, part in self._parts.items() if key in used}
        return connected

    def _part(self, start_ns: int, end_ns: int) -> Preintegration | None:
        """Return the samples between two stamps, integrated; ``None`` without them."""
        known = self._parts.get((start_ns, end_ns))
        if known is not None and np.abs(known.bias[3:] - self._imu.gyroscope_bias).max() < _STALE_BIAS:
            return known
        if not 0 < end_ns - start_ns <= _MAX_STEP_S * 1e9:
            return None
        samples = self._imu.between(start_ns, end_ns)
        if samples is None:
            return None
        bias = np.concatenate([self._bias[:3], self._imu.gyroscope_bias])
        part = preintegrate(samples, bias, self._imu.noise_at(start_ns, end_ns))
        self._parts[start_ns, end_ns] = part
        return part

    def _input(
        self, local_map: LocalMap, poses: list[_StampedPose], extrinsics: np.ndarray, first: MotionState | None
    ) -> AlignmentInput:
        world_from_camera = np.stack([invert(pose) for _, pose in poses])
        return AlignmentInput(
            [stamp_ns for stamp_ns, _ in poses],
            world_from_camera[:, :3, :3] @ extrinsics[:3, :3].T,
            world_from_camera[:, :3, 3],
            [self._part(a[0], b[0]) for a, b in pairwise(poses)],
            local_map.typical_depth,
            extrinsics[:3, 3],
            self._bias if first is None else first.bias,
            self._bias_std if first is None else self._first_bias_std(),
            first,
        )

    def _first_bias_std(self) -> np.ndarray:
        config = self._imu.config
        return np.repeat([config.accelerometer_bias, config.gyroscope_bias], 3)

    def _too_few(self, keyframes: list[MapKeyframe], connected: int) -> str:
        """Return the reason why there are too few poses with samples between them."""
        stamps = [keyframe.frame.stamp_ns for keyframe in keyframes[-2:]]
        if connected > 1 or len(stamps) < 2 or self._imu.between(*stamps) is not None:
            return f"the scale needs {_MIN_SPAN_S:g} s of motion with {_MIN_POSES} poses; keep moving"
        findings = self._imu.findings()
        if findings:
            return findings[0].message
        return "no samples of the IMU between the images; check that both have stamps of one clock"
