"""The chain from base to camera, and the robot's motion out of the camera's."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("geometry_msgs", reason="needs the ROS 2 message packages")

from geometry_msgs.msg import TransformStamped

from ros_matching.errors import NodeError
from ros_matching.geometry.se3 import exp_so3, invert, local, pose_from, retract
from ros_matching.nodes.common.conversions import transform_to_msg
from ros_matching.nodes.common.extrinsics import IDENTITY, Extrinsics, StaticTransforms

pytestmark = pytest.mark.ros

BODY_FROM_MAST = pose_from(exp_so3([0.0, 0.0, 0.4]), np.array([0.3, 0.0, 1.2]))
MAST_FROM_HEAD = pose_from(exp_so3([0.1, -0.3, 0.0]), np.array([0.0, 0.05, 0.1]))
HEAD_FROM_CAMERA = pose_from(exp_so3([-1.2, 0.0, -1.5]), np.array([0.02, 0.0, 0.0]))
BODY_FROM_LASER = pose_from(exp_so3([0.0, 0.0, 3.0]), np.array([-0.2, 0.0, 0.4]))
BODY_FROM_CAMERA = BODY_FROM_MAST @ MAST_FROM_HEAD @ HEAD_FROM_CAMERA


def link(parent: str, child: str, parent_from_child: np.ndarray) -> TransformStamped:
    msg = TransformStamped(child_frame_id=child, transform=transform_to_msg(parent_from_child))
    msg.header.frame_id = parent
    return msg


@pytest.fixture
def robot() -> StaticTransforms:
    transforms = StaticTransforms()
    transforms.update([link("head", "camera", HEAD_FROM_CAMERA), link("/body", "laser", BODY_FROM_LASER)])
    transforms.update([link("body", "mast", BODY_FROM_MAST), link("mast", "head", MAST_FROM_HEAD)])
    return transforms


@pytest.mark.parametrize(
    ("target", "source", "expected"),
    [
        ("body", "camera", BODY_FROM_CAMERA),
        ("camera", "body", invert(BODY_FROM_CAMERA)),
        ("laser", "camera", invert(BODY_FROM_LASER) @ BODY_FROM_CAMERA),
        ("camera", "camera", np.eye(4)),
        ("/mast", "head", MAST_FROM_HEAD),
    ],
)
def test_a_chain_is_composed(robot, target, source, expected):
    np.testing.assert_allclose(robot.lookup(target, source), expected, atol=1e-12)


def test_frames_that_no_chain_joins_have_no_transform(robot):
    robot.update([link("map", "marker", np.eye(4))])
    assert robot.lookup("body", "marker") is None
    assert robot.lookup("body", "ghost") is None
    assert robot.frames == ["body", "camera", "head", "laser", "map", "marker", "mast"]


def test_a_loop_ends(robot):
    robot.update([link("camera", "body", np.eye(4))])
    assert robot.lookup("ghost", "camera") is None


def test_a_later_transform_replaces_an_earlier(robot):
    robot.update([link("body", "laser", np.eye(4))])
    np.testing.assert_array_equal(robot.lookup("body", "laser"), np.eye(4))


def test_a_transform_that_is_none_is_refused_whole(robot):
    bad = link("body", "bad", np.eye(4))
    bad.transform.translation.x = float("nan")
    with pytest.raises(NodeError):
        robot.update([link("body", "good", np.eye(4)), bad])
    assert "good" not in robot.frames


def test_identity_extrinsics_look_along_x_with_z_up():
    forward = pose_from(np.eye(3), np.array([0.0, 0.0, 2.0]))  # optical z
    np.testing.assert_allclose(IDENTITY.odom_from_base(forward)[:3, 3], [2, 0, 0], atol=1e-12)
    right_and_up = pose_from(np.eye(3), np.array([1.0, -3.0, 0.0]))
    np.testing.assert_allclose(IDENTITY.odom_from_base(right_and_up)[:3, 3], [0, -1, 3], atol=1e-12)
    turn_left = pose_from(exp_so3([0.0, -0.5, 0.0]), np.zeros(3))  # about optical -y, which is up
    np.testing.assert_allclose(IDENTITY.odom_from_base(turn_left)[:3, :3], exp_so3([0.0, 0.0, 0.5]), atol=1e-12)


def test_the_robot_starts_at_the_origin_and_moves_as_it_does():
    extrinsics = Extrinsics(BODY_FROM_CAMERA)
    np.testing.assert_allclose(extrinsics.odom_from_base(np.eye(4)), np.eye(4), atol=1e-12)
    odom_from_base = pose_from(exp_so3([0.0, 0.0, 0.7]), np.array([1.0, 2.0, 0.0]))
    world_from_camera = invert(BODY_FROM_CAMERA) @ odom_from_base @ BODY_FROM_CAMERA
    np.testing.assert_allclose(extrinsics.odom_from_base(world_from_camera), odom_from_base, atol=1e-12)
    np.testing.assert_allclose(extrinsics.odom_from_camera(world_from_camera), odom_from_base @ BODY_FROM_CAMERA)


def test_the_covariance_of_the_robot_is_that_of_samples():
    random = np.random.default_rng(3)
    extrinsics = Extrinsics(BODY_FROM_CAMERA)
    pose = pose_from(exp_so3([0.4, 0.1, -0.8]), np.array([0.5, -1.0, 2.0]))
    root = random.normal(size=(6, 6)) * 2e-3
    covariance = root @ root.T
    samples = retract(pose, random.multivariate_normal(np.zeros(6), covariance, size=20_000))
    moved = BODY_FROM_CAMERA @ samples @ invert(BODY_FROM_CAMERA)
    sampled = np.cov(local(extrinsics.odom_from_base(pose), moved).T)
    predicted = extrinsics.base_covariance(pose, covariance)
    assert np.abs(predicted - sampled).max() < 0.05 * np.abs(sampled).max()


def test_a_constant_twist_is_found_again():
    linear, angular, seconds = np.array([1.0, 0.2, -0.1]), np.array([0.1, -0.2, 0.6]), 0.1
    motion = np.eye(4)
    for _ in range(1000):  # the robot's own axes turn with it
        motion = motion @ pose_from(exp_so3(angular * seconds / 1000), linear * seconds / 1000)
    camera_motion = invert(BODY_FROM_CAMERA) @ motion @ BODY_FROM_CAMERA
    twist = Extrinsics(BODY_FROM_CAMERA).twist(camera_motion, np.eye(6) * 1e-6, seconds)
    np.testing.assert_allclose(twist.linear, linear, atol=1e-3)
    np.testing.assert_allclose(twist.angular, angular, atol=1e-6)
    assert (np.linalg.eigvalsh(twist.covariance) > 1e-6).all()
    assert Extrinsics(BODY_FROM_CAMERA).twist(camera_motion, None, seconds).covariance is None
