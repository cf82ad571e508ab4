"""True correspondences, against rendered scenes whose depth and poses are exact."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.spatial.transform import Rotation

from ros_matching.datatypes import Camera
from ros_matching.scenes import Box, Rectangle, Renderer, Scene, Surface
from ros_matching.training.views import (
    overlap,
    pixel_grid,
    project_points,
    relative_pose,
    sample_depth,
    transform_points,
)

CAMERA = Camera(96, 72, 80.0, 82.0, 46.5, 36.0)


def pose(x=0.0, y=0.0, z=0.0, rotvec=(0.0, 0.0, 0.0)) -> np.ndarray:
    matrix = np.eye(4)
    matrix[:3, :3], matrix[:3, 3] = Rotation.from_rotvec(rotvec).as_matrix(), (x, y, z)
    return matrix


@pytest.fixture(scope="module")
def scene() -> Scene:
    """A slanted wall four metres away with a box before it."""
    plain = Surface(np.full((4, 4, 3), 128, np.uint8))
    wall = Rectangle(pose(z=4.0, rotvec=(0.2, 0.3, 0.0)), (50.0, 50.0), plain)
    return Scene([wall, Box(pose(0.1, 0.0, 2.0, (0.3, 0.4, 0.1)), (0.25, 0.3, 0.2), plain)])


@pytest.fixture(scope="module")
def views(scene) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    poses = np.stack([pose(), pose(0.8, -0.1, 0.2, (0.02, -0.2, 0.3)), pose(-1.0, 0.2, 0.0, (0.0, 0.25, 0.0))])
    depth = Renderer(scene, CAMERA, antialias=False).render(poses).depth
    return depth, torch.from_numpy(CAMERA.matrix).float().expand(3, 3, 3), torch.from_numpy(poses).float()


def test_points_lie_on_the_surface_of_the_scene(scene, views):
    """The point's distance in b is that of the surface seen there, or the surface seen there is nearer."""
    depth, k, poses = views
    points = pixel_grid(96, 72, 3)
    b_from_a = relative_pose(poses[:1], poses[1:2])
    points_b, valid = project_points(points[None], depth[:1], k[:1], k[1:2], b_from_a, depth[1:2])
    _, distance = transform_points(points[None], sample_depth(depth[:1], points[None]), k[:1], k[1:2], b_from_a)
    assert 0.3 < valid.float().mean() < 0.95
    seen = sample_depth(depth[1:2], points_b)
    torch.testing.assert_close(distance[valid], seen[valid], rtol=0.02, atol=0)
    assert (distance[valid] / seen[valid] - 1).abs().median() < 1e-4
    inside = seen.isfinite() & ~valid & (distance > 0)
    assert inside.any()
    assert ((distance[inside] / seen[inside] - 1).abs() > 0.02).all()


def test_there_and_back(views):
    depth, k, poses = views
    points = pixel_grid(96, 72, 2)[None]
    there, valid = project_points(points, depth[:1], k[:1], k[1:2], relative_pose(poses[:1], poses[1:2]), depth[1:2])
    back, again = project_points(there, depth[1:2], k[1:2], k[:1], relative_pose(poses[1:2], poses[:1]), depth[:1])
    both = valid & again
    error = (back - points)[both].norm(dim=-1)
    assert both.sum() > 500
    assert error.median() < 1e-3
    assert error.quantile(0.98) < 0.3


def test_hidden_points_count_only_without_the_other_depth(views):
    depth, k, poses = views
    points = pixel_grid(96, 72)[None]
    arguments = points, depth[:1], k[:1], k[1:2], relative_pose(poses[:1], poses[1:2])
    _, valid = project_points(*arguments)
    _, visible = project_points(*arguments, depth[1:2])
    assert (visible & ~valid).sum() == 0
    assert (valid & ~visible).sum() > 100


def test_moving_objects_are_left_out(views):
    depth, k, poses = views
    points = pixel_grid(96, 72, 4)[None]
    arguments = points, depth[:1], k[:1], k[1:2], relative_pose(poses[:1], poses[1:2]), depth[1:2]
    points_b, valid = project_points(*arguments)
    moving = torch.zeros(1, 72, 96, dtype=torch.bool)
    moving[:, :, 40:] = True
    _, left = project_points(*arguments, moving_a=moving)
    assert torch.equal(left, valid & (points[..., 0] < 40))
    _, right = project_points(*arguments, moving_b=moving)
    assert torch.equal(right, valid & (points_b[..., 0].round() < 40))


def test_unknown_depth_is_never_valid():
    depth = torch.full((2, 20, 30), torch.nan)
    k = torch.tensor([[30.0, 0, 15], [0, 30, 10], [0, 0, 1]]).expand(2, 3, 3)
    points = torch.tensor([[[3.0, 4.0], [-5.0, 2.0], [torch.nan, 1.0]]]).expand(2, -1, -1)
    _, valid = project_points(points, depth, k, k, torch.eye(4).expand(2, 4, 4))
    assert not valid.any()
    assert not overlap(depth, depth, k, k, torch.eye(4).expand(2, 4, 4)).any()


def test_depth_between_pixels_is_exact_on_a_plane(scene):
    plane = Scene(scene.primitives[:1])
    depth = Renderer(plane, CAMERA, antialias=False).render(pose()[None]).depth
    points = torch.from_numpy(np.random.default_rng(0).uniform([0, 0], [95, 71], (200, 2))).float()
    normal, origin = plane.primitives[0].world_from_local[:3, 2], plane.primitives[0].world_from_local[:3, 3]
    expected = normal @ origin / (CAMERA.unproject(points.double().numpy()) @ normal)
    np.testing.assert_allclose(sample_depth(depth, points[None])[0], expected, rtol=1e-4)


def test_overlap_is_the_fraction_of_common_surface(views):
    depth, k, poses = views
    every = overlap(depth, depth, k, k, relative_pose(poses, poses))
    torch.testing.assert_close(every, torch.ones(3))
    away = relative_pose(poses[:1], torch.from_numpy(pose(rotvec=(0.0, np.pi, 0.0))).float()[None])
    assert overlap(depth[:1], depth[:1], k[:1], k[:1], away) == 0
    arguments = depth[:1], depth[1:2], k[:1], k[1:2], relative_pose(poses[:1], poses[1:2])
    _, valid = project_points(pixel_grid(96, 72)[None], *arguments[:1], *arguments[2:], depth[1:2], tolerance=0.05)
    assert abs(overlap(*arguments, step=4) - valid.float().mean()) < 0.03


def test_digits_are_kept_under_autocast(views):
    depth, k, poses = views
    points = pixel_grid(96, 72, 4)[None]

    def moved() -> torch.Tensor:
        b_from_a = relative_pose(poses[:1], poses[1:2])
        return project_points(points, depth[:1], k[:1], k[1:2], b_from_a, depth[1:2])[0]

    exact = moved()
    with torch.autocast("cpu", torch.bfloat16):
        torch.testing.assert_close(moved(), exact, rtol=0, atol=0)
