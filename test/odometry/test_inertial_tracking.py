"""The tracker with an IMU: fast rotation, images without use, and what stays as it is without one."""

from __future__ import annotations

import numpy as np
import pytest
from inertial_world import FIRST_STAMP_NS
from point_world import PointWorld, cloud
from scipy.interpolate import CubicSpline
from scipy.spatial.transform import Rotation

from ros_matching.datatypes import ImuSamples
from ros_matching.geometry.se3 import invert, rotation_angle_deg
from ros_matching.inertial.buffer import ImuBuffer
from ros_matching.inertial.config import ImuConfig
from ros_matching.inertial.imu import Imu
from ros_matching.odometry.result import TrackingStatus
from ros_matching.scenes.simulated_imu import IMU_FROM_CAMERA, simulate_imu
from ros_matching.visual_odometry import VisualOdometry

FPS, FRAME_NS = 30, 33_333_333


class SmoothWalk:
    """A smooth motion through the box of ``point_world.cloud`` with a fast turn in its middle."""

    def __init__(self, seconds: float, turn_deg: float = 0.0, turn_s: float = 0.5) -> None:
        self.seconds = seconds
        knots = np.arange(-1, seconds + 1.6, 0.5)
        middle = seconds / 2
        turned = np.radians(turn_deg) * np.clip((knots - middle) / turn_s, 0, 1)
        swing = [0.05 * np.sin(knots), turned + 0.2 * np.sin(knots / 1.5), 0.1 * np.sin(knots)]
        centers = [1.2 * np.sin(0.9 * knots), 0.3 * np.sin(1.7 * knots), 0.8 * np.cos(0.8 * knots)]
        self._spline = CubicSpline(knots, np.column_stack([*centers, *swing]))

    def __call__(self, times_s: np.ndarray) -> np.ndarray:
        states = self._spline(np.asarray(times_s))
        poses = np.tile(np.eye(4), (len(states), 1, 1))
        poses[:, :3, :3] = Rotation.from_euler("YXZ", states[:, [4, 3, 5]]).as_matrix()
        poses[:, :3, 3] = states[:, :3]
        return poses

    def frames(self) -> np.ndarray:
        return self(np.arange(int(self.seconds * FPS)) * FRAME_NS * 1e-9)

    def imu(self, **settings) -> Imu:
        samples = simulate_imu(self, self.seconds, 200.0, "consumer", 0, FIRST_STAMP_NS)
        return Imu(ImuConfig(**settings), ImuBuffer.of(samples), IMU_FROM_CAMERA)


def run(walk: SmoothWalk, imu: Imu | None, covered: tuple[int, ...] = ()) -> tuple[list, np.ndarray]:
    world = PointWorld(cloud(2500), walk.frames(), covered=covered)
    odometry = VisualOdometry(world, imu=imu)
    return [odometry.track(frame) for frame in world.frames()], world.poses


def test_the_prediction_follows_the_gyroscope() -> None:
    walk = SmoothWalk(4.0, turn_deg=60, turn_s=0.5)
    imu, poses = walk.imu(), walk.frames()
    for row in range(1, len(poses)):
        stamps = FIRST_STAMP_NS + FRAME_NS * (row - 1), FIRST_STAMP_NS + FRAME_NS * row
        measured = imu.camera_rotation(*stamps)
        if measured is not None:
            true = (invert(poses[row]) @ poses[row - 1])[:3, :3]
            assert rotation_angle_deg(measured.T @ true) < 0.1
    assert imu.camera_rotation(0, FIRST_STAMP_NS) is None


def test_an_imu_changes_no_good_track() -> None:
    walk = SmoothWalk(2.0)
    with_imu, without = run(walk, walk.imu())[0], run(walk, None)[0]
    assert [r.status for r in with_imu] == [r.status for r in without]
    for first, second in zip(with_imu, without, strict=True):
        if first.world_from_camera is not None:
            assert np.allclose(first.world_from_camera, second.world_from_camera, atol=0.01)


def test_covered_images_are_bridged_with_a_growing_covariance_and_the_map_is_found_again() -> None:
    walk = SmoothWalk(3.0, turn_deg=40, turn_s=1.0)
    covered = tuple(range(50, 70))
    imu = walk.imu()
    results, poses = run(walk, imu, covered)
    bridged = [results[row] for row in covered]
    assert all(r.status is TrackingStatus.BRIDGED for r in bridged)
    assert all("continued by the IMU" in r.reason for r in bridged)
    assert all(r.previous_from_current is None for r in bridged)
    widths = [np.trace(r.covariance) for r in bridged]
    assert all(np.diff(widths) > 0)
    # Rotation to a degree, after most of a second
    start, end = results[49].world_from_camera, bridged[-1].world_from_camera
    turned = (invert(start) @ end)[:3, :3]
    assert rotation_angle_deg(turned.T @ (invert(poses[49]) @ poses[69])[:3, :3]) < 1.5
    assert all(r.status is TrackingStatus.TRACKING for r in results[70:])
    assert {r.map_id for r in results[70:]} == {1}


def test_a_bridge_ends_after_its_longest_time() -> None:
    walk = SmoothWalk(2.5)
    covered = tuple(range(40, 75))
    results, _ = run(walk, walk.imu(bridge_s=0.5), covered)
    states = [results[row].status for row in covered]
    assert states[:14] == [TrackingStatus.BRIDGED] * 14
    assert states[17:] == [TrackingStatus.LOST] * len(states[17:])
    assert all(results[row].world_from_camera is None for row in covered[17:])
    results, _ = run(walk, walk.imu(bridge_s=0.0), covered)
    assert all(results[row].status is TrackingStatus.LOST for row in covered)


def test_without_samples_nothing_is_bridged() -> None:
    walk = SmoothWalk(2.5)
    imu = walk.imu()
    samples = imu.buffer.newest(100.0)
    early = samples.stamps_ns < FIRST_STAMP_NS + 40 * FRAME_NS
    short = Imu(ImuConfig(), ImuBuffer.of(samples[early]), IMU_FROM_CAMERA)
    results, _ = run(walk, short, tuple(range(50, 58)))
    assert all(results[row].status is TrackingStatus.LOST for row in range(50, 58))
    assert all(r.status is TrackingStatus.TRACKING for r in results[58:])


def test_a_pose_that_contradicts_the_gyroscope_is_no_pose() -> None:
    """All points turn about the camera: images alone follow them, a gyroscope at rest does not."""
    walk = SmoothWalk(2.6, turn_deg=120, turn_s=0.7)
    still = np.zeros((900, 3))
    stamps = FIRST_STAMP_NS - 10_000_000 + np.arange(900) * 5_000_000
    at_rest = ImuSamples(stamps.astype(np.int64), still, still + np.array([0.0, 0.0, 9.81]))
    liar = Imu(ImuConfig(), ImuBuffer.of(at_rest), IMU_FROM_CAMERA)
    turning = range(42, 58)
    seen, _ = run(walk, None)
    assert sum(seen[row].status is TrackingStatus.TRACKING for row in turning) == len(turning)
    contradicted, _ = run(walk, liar)
    assert any(contradicted[row].previous_from_current is None for row in turning)


@pytest.mark.parametrize("is_metric", [True, False])
def test_a_standing_camera_stays_while_it_sees_nothing(is_metric: bool) -> None:
    from ros_matching.inertial.bridging import LastPose, bridge

    stamps = FIRST_STAMP_NS + np.arange(600) * 5_000_000
    rng = np.random.default_rng(0)
    rates, forces = 0.005 * rng.standard_normal((600, 3)), [0.0, 0.0, 9.81] + 0.03 * rng.standard_normal((600, 3))
    imu = Imu(ImuConfig(), ImuBuffer.of(ImuSamples(stamps.astype(np.int64), rates, forces)), IMU_FROM_CAMERA)
    last = LastPose(FIRST_STAMP_NS, np.eye(4), 1e-6 * np.eye(6), np.array([0.001, 0.0, 0.0]), 2.0)
    pose = bridge(imu, last, FIRST_STAMP_NS + 1_900_000_000, is_metric)
    assert np.allclose(pose.world_from_camera, np.eye(4))
    assert np.sqrt(pose.covariance[0, 0]) < 0.01
    moving = LastPose(FIRST_STAMP_NS, np.eye(4), 1e-6 * np.eye(6), np.array([0.5, 0.0, 0.0]), 2.0)
    gone = bridge(imu, moving, FIRST_STAMP_NS + 1_900_000_000, is_metric)
    assert gone.world_from_camera[0, 3] > 0.1
    assert np.sqrt(gone.covariance[0, 0]) > 0.5


def test_a_look_alike_place_is_no_relocalisation_against_the_gyroscope() -> None:
    """The same points are seen again after half a turn, as in a corridor: only the gyroscope shows the difference."""
    walk = SmoothWalk(3.0)
    frames = walk.frames()
    turned = SmoothWalk(3.0, turn_deg=180, turn_s=0.6)
    world = PointWorld(cloud(2500), frames, covered=tuple(range(45, 60)))
    alone = VisualOdometry(world)
    without = [alone.track(frame) for frame in world.frames()]
    assert without[62].status is TrackingStatus.TRACKING  # the images alone continue in the map
    samples = simulate_imu(turned, 3.0, 200.0, "consumer", 0, FIRST_STAMP_NS)
    imu = Imu(ImuConfig(), ImuBuffer.of(samples), IMU_FROM_CAMERA)
    odometry = VisualOdometry(world, imu=imu)
    results = [odometry.track(frame) for frame in world.frames()]
    after = [r for r in results[60:] if r.status is TrackingStatus.TRACKING]
    assert all(r.map_id != 1 for r in after)
