"""A metric scale is carried through a fast turn by the IMU: the map after it has it, in the same frame."""

from __future__ import annotations

import numpy as np
import pytest
from inertial_turn import TurningWalk
from inertial_world import FIRST_STAMP_NS
from point_world import PointWorld, cloud
from test_inertial_tracking import SmoothWalk

from ros_matching.datatypes import ScaleState
from ros_matching.geometry.se3 import invert, local
from ros_matching.inertial.buffer import ImuBuffer
from ros_matching.inertial.config import ImuConfig
from ros_matching.inertial.imu import Imu
from ros_matching.matching import load_matcher
from ros_matching.odometry.result import TrackingResult, TrackingStatus
from ros_matching.scale import ScaleConfig, make_scale_estimator
from ros_matching.scenes.simulated_imu import IMU_FROM_CAMERA, IMU_GRADES, simulate_imu
from ros_matching.visual_odometry import VisualOdometry

pytest.importorskip("gtsam")

TURN_DEG, SECONDS = 150.0, 10.0
LOST = range(148, 170)  # the turn is from frame 150 to 165


def tracked(walk: SmoothWalk) -> list[TrackingResult]:
    """Results of a walk whose images are useless for some frames."""
    noise = IMU_GRADES["consumer"].noise
    config = ImuConfig(noise.gyroscope, noise.accelerometer, noise.gyroscope_walk, noise.accelerometer_walk)
    samples = simulate_imu(walk, walk.seconds, 200.0, "consumer", 0, FIRST_STAMP_NS)
    imu = Imu(config, ImuBuffer.of(samples), IMU_FROM_CAMERA)
    world = PointWorld(cloud(2500), walk.frames(), covered=tuple(LOST))
    scale = make_scale_estimator(ScaleConfig(source="imu"), world, imu=imu)
    odometry = VisualOdometry(world, scale=scale, imu=imu)
    return [odometry.track(frame) for frame in world.frames()]


def scale_of(results: list[TrackingResult], poses: np.ndarray) -> float:
    """Length of the tracked steps over the true one."""
    rows = [r.frame_index for r in results if r.previous_from_current is not None]
    length = sum(np.linalg.norm(r.previous_from_current[:3, 3]) for r in results if r.previous_from_current is not None)
    return float(length / sum(np.linalg.norm(poses[row, :3, 3] - poses[row - 1, :3, 3]) for row in rows))


def test_the_map_after_a_turn_has_the_scale_of_the_map_before_and_continues_its_frame() -> None:
    walk = SmoothWalk(SECONDS, TURN_DEG)
    results, poses = tracked(walk), walk.frames()
    before, after = results[LOST.start - 1], [r for r in results[LOST.stop :] if r.map_id > 1]
    assert before.scale is ScaleState.METRIC
    assert all(r.status is TrackingStatus.BRIDGED for r in results[LOST.start : LOST.stop])
    first = after[0]
    assert first.frame_index < LOST.stop + 12
    assert all(r.status is TrackingStatus.TRACKING and r.scale is not ScaleState.UP_TO_SCALE for r in after)
    assert before.scale_sigma < first.scale_sigma < 0.2
    assert all(r.scale is ScaleState.METRIC for r in after[25:])
    for part in after[1:13], after[25:]:
        assert scale_of(part, poses) == pytest.approx(1.0, abs=3 * part[0].scale_sigma)
    # The pose goes on in the frame of the map before, within its covariance
    true = before.world_from_camera @ invert(poses[before.frame_index]) @ poses[first.frame_index]
    error = local(first.world_from_camera, true)
    assert np.degrees(np.linalg.norm(error[3:])) < 0.3
    assert np.linalg.norm(error[:3]) < 4 * np.sqrt(np.trace(first.covariance[:3, :3])) < 0.8


@pytest.mark.slow
def test_a_rendered_blurred_turn_loses_no_track_and_no_scale() -> None:
    walk = TurningWalk(0, 20, before_s=5.0, after_s=1.5)
    matcher, imu = load_matcher("sift"), walk.imu()
    odometry = VisualOdometry(matcher, scale=make_scale_estimator(ScaleConfig(source="imu"), matcher, imu=imu), imu=imu)
    results = [odometry.track(frame) for frame in walk.frames()]
    turn = int(walk.before_s * walk.fps)
    assert all(r.world_from_camera is not None and r.scale is ScaleState.METRIC for r in results[turn - 2 :])
    poses = walk.poses(np.arange(walk.count) / walk.fps)
    assert scale_of([r for r in results[turn + 7 :] if not r.rotation_only], poses) == pytest.approx(1.0, abs=0.07)
    moved = invert(results[turn - 4].world_from_camera) @ results[-1].world_from_camera
    error = local(moved, invert(poses[turn - 4]) @ poses[-1])
    assert np.degrees(np.linalg.norm(error[3:])) < 0.7
    assert np.linalg.norm(error[:3]) < 0.06
