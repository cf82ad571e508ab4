"""The scale source ``imu``: measurements of a map of known scale, and the reasons where there is none."""

from __future__ import annotations

import time

import numpy as np
import pytest
from inertial_world import FIRST_STAMP_NS, Motion
from point_world import CAMERA
from scale_world import METRES, frame_of, view_of

from ros_matching.atlas.local_map import LocalMap
from ros_matching.datatypes import Features, ImuRecording, ImuSamples
from ros_matching.errors import ConfigError, ImuError
from ros_matching.geometry.se3 import invert, pose_from
from ros_matching.inertial.buffer import ImuBuffer
from ros_matching.inertial.config import ImuConfig
from ros_matching.inertial.imu import Imu
from ros_matching.scale import ScaleConfig, make_scale_estimator
from ros_matching.scale.imu_scale import ImuScaleSource
from ros_matching.scale.scale_measurement import NoMeasurement, ScaleMeasurement
from ros_matching.scenes.simulated_imu import IMU_FROM_CAMERA

pytest.importorskip("gtsam")


def map_of(motion: Motion, seconds: float, rate_hz: float = 3.0) -> LocalMap:
    """Keyframes along the motion, in map units, with landmarks at a depth of 3 m."""
    local_map, rng = LocalMap(CAMERA, 40), np.random.default_rng(0)
    stamps = motion.stamps_ns(rate_hz)
    stamps = stamps[stamps <= FIRST_STAMP_NS + seconds * 1e9]
    first = motion.poses(stamps[:1])[0]
    points = rng.uniform([-2, -2, 2.5], [2, 2, 3.5], (100, 3)) @ first[:3, :3].T + first[:3, 3]
    local_map.append_landmarks(points / METRES, np.zeros((100, 1)))
    for index, pose in enumerate(motion.poses(stamps)):
        camera_from_world = invert(pose_from(pose[:3, :3], pose[:3, 3] / METRES))
        features = Features(np.zeros((100, 2)), np.ones(100), np.zeros((100, 1)), "points")
        frame = frame_of(index, int(stamps[index]))
        local_map.add_keyframe(frame, features, camera_from_world, np.arange(100))
    local_map.remove_unsupported()
    return local_map


def imu_of_motion(motion: Motion, samples: ImuSamples | None = None) -> Imu:
    return Imu(ImuConfig(), ImuBuffer.of(motion.samples("consumer") if samples is None else samples), IMU_FROM_CAMERA)


def measured(imu: Imu, local_map: LocalMap) -> ScaleMeasurement | NoMeasurement:
    return ImuScaleSource(ScaleConfig(source="imu"), imu).measure(local_map, view_of(local_map))


@pytest.mark.parametrize("seed", range(3))
def test_the_scale_is_measured_and_the_imu_knows_its_state(seed: int) -> None:
    motion = Motion(seed=seed)
    imu, local_map = imu_of_motion(motion), map_of(motion, 9.0)
    found = measured(imu, local_map)
    assert found.log_factor == pytest.approx(np.log(METRES), abs=0.02)
    assert 0.003 < found.log_std < 0.03
    assert imu.state.stamp_ns == local_map.keyframes[-1].frame.stamp_ns
    assert imu.state.down @ [0, 0, -1] > np.cos(np.radians(1))


def test_the_estimator_becomes_metric_and_the_map_is_scaled() -> None:
    motion = Motion(seed=1)
    local_map = map_of(motion, 9.0)
    estimator = make_scale_estimator(ScaleConfig(source="imu"), None, imu=imu_of_motion(motion))
    for _ in range(3):
        factor = estimator.observe(local_map, view_of(local_map), is_keyframe=True)
        local_map.rescale(factor, np.zeros(3))
    assert estimator.report.state.value == "metric"
    assert estimator.report.source == "imu"
    distance = np.linalg.norm(local_map.keyframes[-1].center - local_map.keyframes[0].center)
    ends = motion.poses(np.array([local_map.keyframes[row].frame.stamp_ns for row in (0, -1)]))
    assert distance == pytest.approx(np.linalg.norm(ends[1, :3, 3] - ends[0, :3, 3]), rel=0.02)


def test_too_little_motion_or_constant_velocity_is_no_measurement() -> None:
    motion = Motion(seed=2)
    assert "keep moving" in measured(imu_of_motion(motion), map_of(motion, 1.0)).reason
    constant = Motion(metres=0.0, radians=0.05, velocity=(0.1, 0.2, 0.0))
    imu = imu_of_motion(constant)
    found = measured(imu, map_of(constant, 9.0))
    assert isinstance(found, NoMeasurement)
    assert "at constant velocity no IMU can measure it" in found.reason
    assert imu.state is None


def test_faults_of_the_imu_are_the_reason() -> None:
    motion = Motion(seed=3)
    samples, local_map = motion.samples("consumer"), map_of(motion, 9.0)
    in_g = ImuSamples(samples.stamps_ns, samples.gyroscope, samples.accelerometer / 9.80665)
    found = measured(imu_of_motion(motion, in_g), local_map)
    assert "multiply it by 9.80665" in found.reason
    other_clock = ImuSamples(samples.stamps_ns + 10**12, samples.gyroscope, samples.accelerometer)
    assert "stamps of one clock" in measured(imu_of_motion(motion, other_clock), local_map).reason
    unknown = Imu(ImuConfig(), ImuBuffer.of(samples), lambda: None)
    assert "extrinsics" in measured(unknown, local_map).reason


def test_an_imu_is_needed_with_its_extrinsics() -> None:
    with pytest.raises(ConfigError, match="needs an IMU"):
        make_scale_estimator(ScaleConfig(source="imu"), None)
    with pytest.raises(ImuError, match="--imu-extrinsics"):
        Imu.of(ImuRecording(Motion().samples(), "imu.csv"))


def test_vibration_widens_the_uncertainty() -> None:
    motion = Motion(seed=1)
    samples, rng, local_map = motion.samples("consumer"), np.random.default_rng(3), map_of(motion, 9.0)
    shaken = samples.accelerometer + 1.0 * rng.standard_normal(samples.accelerometer.shape)
    found = measured(imu_of_motion(motion, ImuSamples(samples.stamps_ns, samples.gyroscope, shaken)), local_map)
    quiet = measured(imu_of_motion(motion), local_map)
    assert found.log_std > 1.5 * quiet.log_std
    assert abs(found.log_factor - np.log(METRES)) < 3 * found.log_std


def test_in_a_thread_no_frame_waits_and_the_result_is_the_same() -> None:
    motion = Motion(seed=2)
    local_map = map_of(motion, 9.0)
    source = ImuScaleSource(ScaleConfig(source="imu"), imu_of_motion(motion), threaded=True)
    first = source.measure(local_map, view_of(local_map))
    assert isinstance(first, NoMeasurement)
    assert first.pending
    deadline = time.monotonic() + 60
    while isinstance(found := source.measure(local_map, view_of(local_map)), NoMeasurement):
        assert found.pending
        assert time.monotonic() < deadline
        time.sleep(0.01)
    assert found == measured(imu_of_motion(motion), local_map)
    source.measure(local_map, view_of(local_map))
    source.reset()  # a result for another map is dropped
    assert isinstance(source.measure(local_map, view_of(local_map)), NoMeasurement)
