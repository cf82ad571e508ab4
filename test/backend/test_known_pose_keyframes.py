from itertools import pairwise

import numpy as np
import pytest
from point_world import CAMERA, PointWorld, cloud, pure_rotation, walk

from ros_matching.backend.known_pose_keyframes import KnownPoseKeyframes
from ros_matching.datatypes import ScaleState
from ros_matching.errors import GeometryError
from ros_matching.geometry.se3 import invert, rotation_angle_deg, transform


def keyframes_of(world: PointWorld) -> list:
    keyframes = KnownPoseKeyframes(world)
    found = [keyframes.add(frame, frame.true_world_from_camera) for frame in world.frames()]
    return [keyframe for keyframe in [*found, keyframes.finish()] if keyframe is not None]


def test_keyframes_keep_their_poses_and_triangulate_points():
    world = PointWorld(cloud(), walk(60))
    keyframes = keyframes_of(world)
    assert 5 <= len(keyframes) <= 40
    assert [keyframe.id for keyframe in keyframes] == list(range(len(keyframes)))
    for keyframe in keyframes:
        np.testing.assert_allclose(keyframe.world_from_camera, world.poses[keyframe.frame.index], atol=1e-12)
        assert keyframe.scale is ScaleState.METRIC
        assert len(keyframe.sparse_depths) > 40
        in_camera = transform(invert(keyframe.world_from_camera), world.points)
        pixels = CAMERA.project(in_camera)
        distance = np.linalg.norm(pixels[None] - keyframe.sparse_points_px[:, None], axis=2)
        nearest = np.nanargmin(distance, axis=1)
        error = np.abs(keyframe.sparse_depths / in_camera[nearest, 2] - 1)
        assert np.median(error) < 0.03


def test_a_still_camera_makes_one_keyframe():
    world = PointWorld(cloud(), np.repeat(walk(1), 10, axis=0))
    assert len(keyframes_of(world)) == 1


def test_a_pure_rotation_makes_keyframes_by_angle_without_points():
    keyframes = keyframes_of(PointWorld(cloud(), pure_rotation(60, 90)))
    angles = [rotation_angle_deg(b.world_from_camera @ invert(a.world_from_camera)) for a, b in pairwise(keyframes)]
    assert min(angles) > 10
    assert max(angles) < 13
    assert all(len(keyframe.sparse_depths) == 0 for keyframe in keyframes)


def test_a_pose_of_nan_is_rejected():
    frame = next(PointWorld(cloud(), walk(1)).frames())
    with pytest.raises(GeometryError, match="world_from_camera"):
        KnownPoseKeyframes(PointWorld(cloud(), walk(1))).add(frame, np.full((4, 4), np.nan))


def test_there_is_no_keyframe_without_frames():
    assert KnownPoseKeyframes(PointWorld(cloud(), walk(1))).finish() is None
