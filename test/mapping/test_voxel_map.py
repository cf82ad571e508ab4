import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ros_matching.datatypes import PointCloud
from ros_matching.geometry.se3 import exp_so3, pose_from, transform
from ros_matching.geometry.sim3 import similarity_from
from ros_matching.mapping.voxel_map import VoxelMap

POSE = pose_from(exp_so3(np.array([0.3, -0.5, 0.1])), np.array([1.0, -2.0, 0.5]))


def cloud(points, color=100, confidence=0.9) -> PointCloud:
    points = np.atleast_2d(np.asarray(points, np.float64))
    count = len(points)
    confidence = np.broadcast_to(np.float32(confidence), count).copy()
    return PointCloud(points, np.full((count, 3), color, np.uint8), confidence)


def test_points_come_back_in_the_world():
    local = np.random.default_rng(0).uniform((-1, -1, 2), (1, 1, 4), (50, 3))
    voxels = VoxelMap(1e-3, 1000)
    new = voxels.insert(7, POSE, cloud(local))
    expected = transform(POSE, local)
    for found in (new, voxels.cloud()):
        assert len(found) == 50
        distance = np.linalg.norm(found.points[:, None] - expected, axis=2)
        assert (distance.min(axis=1) < 1e-6).all()
        assert len(np.unique(distance.argmin(axis=1))) == 50


def test_a_keyframe_keeps_the_most_confident_point_of_a_voxel():
    voxels = VoxelMap(1.0, 100)
    points = np.array([[0.1, 0.1, 0.1], [0.5, 0.5, 0.5], [0.9, 0.9, 0.9], [1.5, 0.5, 0.5]])
    seen = PointCloud(points, np.zeros((4, 3), np.uint8), np.array([0.2, 0.9, 0.3, 0.1], np.float32))
    voxels.insert(0, np.eye(4), seen)
    np.testing.assert_allclose(sorted(voxels.cloud().points.tolist()), [[0.5, 0.5, 0.5], [1.5, 0.5, 0.5]])


def test_sightings_of_a_voxel_are_averaged():
    voxels = VoxelMap(1.0, 100)
    for keyframe, (x, color) in enumerate([(0.2, 10), (0.4, 20), (0.6, 30)]):
        pose = pose_from(np.eye(3), np.array([0.0, 0.0, -keyframe]))
        new = voxels.insert(keyframe, pose, cloud([x, 0.5, 0.5 + keyframe], color, 0.5 + 0.1 * keyframe))
        assert len(new) == (keyframe == 0)
    found = voxels.cloud()
    np.testing.assert_allclose(found.points, [[0.4, 0.5, 0.5]], atol=1e-6)
    np.testing.assert_array_equal(found.colors, [[20, 20, 20]])
    np.testing.assert_allclose(found.confidence, [0.7])
    assert len(voxels.cloud(min_count=3)) == 1
    assert len(voxels.cloud(min_count=4)) == 0


def test_points_move_with_their_keyframe_only():
    voxels = VoxelMap(0.01, 1000)
    voxels.insert(1, np.eye(4), cloud([[0.0, 0, 1], [0.1, 0, 1]]))
    voxels.insert(2, np.eye(4), cloud([[0.0, 0, 2]]))
    voxels.move({1: pose_from(np.eye(3), np.array([0, 5.0, 0])), 99: np.eye(4)})
    np.testing.assert_allclose(sorted(voxels.cloud().points.tolist()), [[0, 0, 2], [0, 5, 1], [0.1, 5, 1]], atol=1e-6)
    voxels.insert(3, np.eye(4), cloud([[0.0, 5, 1]]))  # the moved points are found where they are now
    assert len(voxels) == 3


def test_points_that_move_into_one_voxel_become_one():
    voxels = VoxelMap(0.5, 1000)
    voxels.insert(1, np.eye(4), cloud([[0.1, 0.1, 0.1]]))
    voxels.insert(2, np.eye(4), cloud([[3.1, 0.1, 0.1]]))
    voxels.insert(4, np.eye(4), cloud([[3.2, 0.1, 0.1]]))
    voxels.move({2: pose_from(np.eye(3), np.array([-3.0, 0, 0]))})
    assert len(voxels) == 1
    assert len(voxels.cloud(min_count=2)) == 1  # the one that was seen more often stayed


def test_points_of_two_maps_do_not_become_one():
    voxels = VoxelMap(1.0, 100)
    voxels.insert(1, np.eye(4), cloud([[0.2, 0.5, 0.5]]), map_id=1)
    assert len(voxels.insert(2, np.eye(4), cloud([[0.4, 0.5, 0.5]]), map_id=2)) == 1
    assert len(voxels.insert(3, np.eye(4), cloud([[0.6, 0.5, 0.5]]), map_id=1)) == 0
    np.testing.assert_allclose(sorted(voxels.cloud().points[:, 0]), [0.4, 0.4], atol=1e-6)
    voxels.move({1: POSE})
    assert len(voxels) == 2


@given(seed=st.integers(0, 2**32 - 1))
@settings(deadline=None, max_examples=25)
def test_moving_some_keyframes_is_as_if_they_had_been_there(seed):
    """But for which of two points that meet in a voxel stays. The new poses are similarities."""
    rng = np.random.default_rng(seed)
    poses = {keyframe: pose_from(exp_so3(rng.normal(0, 0.5, 3)), rng.normal(0, 1, 3)) for keyframe in range(6)}
    seen = {keyframe: cloud(rng.uniform((-1, -1, 1), (1, 1, 3), (40, 3))) for keyframe in poses}
    moved = {
        keyframe: similarity_from(
            pose_from(exp_so3(rng.normal(0, 0.5, 3)), rng.normal(0, 1, 3)), rng.choice([1.0, rng.uniform(0.5, 2.0)])
        )
        for keyframe in (1, 2, 4)
    }
    voxels, expected = VoxelMap(1e-4, 1000), VoxelMap(1e-4, 1000)
    for keyframe in poses:
        voxels.insert(keyframe, poses[keyframe], seen[keyframe])
        expected.insert(keyframe, (poses | moved)[keyframe], seen[keyframe])
    voxels.move(moved)
    by_place = [np.array(sorted(found.cloud().points.tolist())) for found in (voxels, expected)]
    np.testing.assert_allclose(*by_place, atol=1e-9)
    assert (np.diff(voxels._table["voxel"]) > 0).all()


def test_keyframes_without_points_are_removed():
    voxels = VoxelMap(0.1, 1000, radius=2.0)
    for step in range(200):
        voxels.insert(step, pose_from(np.eye(3), np.array([step, 0, 0])), cloud([[0, 0, 1.0], [0.5, 0, 1.0]]))
    assert len(voxels._keyframes) < 10


def test_the_least_recently_observed_points_are_removed_first():
    voxels = VoxelMap(0.5, 100)
    for step in range(30):
        voxels.insert(step, np.eye(4), cloud(np.column_stack([np.arange(10) + 0.1, np.full((10, 2), float(step))])))
        assert len(voxels) <= 100
    assert voxels.cloud().points[:, 1].min() >= 20
    assert voxels.nbytes < 100 * 64


def test_the_radius_is_about_the_newest_camera():
    voxels = VoxelMap(0.1, 1000, radius=2.0)
    voxels.insert(0, np.eye(4), cloud([[0, 0, 1.0], [0, 0, 1.9], [0, 0, 3.0]]))
    assert len(voxels) == 2
    voxels.insert(1, pose_from(np.eye(3), np.array([0, 0, 3.5])), cloud([[0, 0, 0.5]]))
    np.testing.assert_allclose(sorted(voxels.cloud().points[:, 2]), [1.9, 4.0], atol=1e-6)


def test_points_too_far_to_be_counted_are_left_out():
    voxels = VoxelMap(1e-3, 1000)
    voxels.insert(0, np.eye(4), cloud([[0, 0, 1.0], [1e5, 0, 1.0], [0, -1e5, 1.0]]))
    assert len(voxels) == 1


@pytest.mark.parametrize("count", [0, 1])
def test_few_points(count):
    voxels = VoxelMap(0.1, 1000)
    assert len(voxels.insert(0, POSE, cloud(np.zeros((count, 3))))) == count
    voxels.move({0: np.eye(4)})
    assert len(voxels.cloud()) == count
