"""Surfaces from depth maps of a room, against its walls and its box."""

from __future__ import annotations

import numpy as np
import pytest
from room_world import BOX_LOWER, BOX_UPPER, CAMERA, LOWER, UPPER, depth_map, distance, views

from ros_matching.datatypes import DepthMap, Mesh
from ros_matching.errors import GeometryError
from ros_matching.mapping.surface_nets import surface_net
from ros_matching.mapping.tsdf import TsdfVolume

BITS = 20


def colored() -> np.ndarray:
    return np.full((CAMERA.height, CAMERA.width, 3), (200, 100, 50), np.uint8)


@pytest.fixture(scope="module")
def volume() -> TsdfVolume:
    volume = TsdfVolume(0.08)
    for pose in views():
        volume.integrate(depth_map(pose), colored(), pose)
    return volume


def normals_of(mesh: Mesh) -> tuple[np.ndarray, np.ndarray]:
    """Centres and normals (M, 3) of the triangles, as long as their areas."""
    a, b, c = (mesh.vertices[mesh.triangles[:, corner]] for corner in range(3))
    return (a + b + c) / 3, np.cross(b - a, c - a) / 2


def test_the_mesh_is_on_the_surfaces(volume: TsdfVolume) -> None:
    mesh = volume.mesh()
    errors = np.abs(distance(mesh.vertices))
    assert np.median(errors) < 0.01
    assert np.quantile(errors, 0.95) < 0.06
    assert (mesh.colors == (200, 100, 50)).all()


def test_the_mesh_covers_the_floor_and_faces_the_room(volume: TsdfVolume) -> None:
    centers, normals = normals_of(volume.mesh())
    floor = (np.abs(centers[:, 2]) < 0.03) & (centers[:, 0] > -1.5) & (centers[:, 0] < 0.5)
    floor &= (centers[:, 1] > -1) & (centers[:, 1] < 1)
    areas = np.linalg.norm(normals, axis=1)
    assert areas[floor].sum() == pytest.approx(2 * 2, rel=0.06)
    assert (normals[floor][:, 2] > 0).mean() > 0.99  # up: seen from the room


def test_a_sphere_is_closed_with_its_area_and_volume() -> None:
    radius, center = 6.3, np.array([20.2, 21.1, 19.7])
    grid = np.stack(np.meshgrid(*[np.arange(40)] * 3, indexing="ij"), axis=-1).reshape(-1, 3)
    numbers = (grid[:, 2] << 2 * BITS) | (grid[:, 1] << BITS) | grid[:, 0]
    order = np.argsort(numbers)
    distances = np.linalg.norm(grid - center, axis=1) - radius
    colors = np.repeat(grid[:, :1], 3, axis=1).astype(float)
    vertices, vertex_colors, triangles = surface_net(numbers[order], distances[order], colors[order], BITS)
    mesh = Mesh(vertices - center, np.zeros(vertices.shape, np.uint8), triangles)
    np.testing.assert_allclose(np.linalg.norm(mesh.vertices, axis=1), radius, atol=0.15)
    np.testing.assert_allclose(vertex_colors[:, 0], vertices[:, 0], atol=0.6)
    centers, normals = normals_of(mesh)
    assert np.linalg.norm(normals, axis=1).sum() == pytest.approx(4 * np.pi * radius**2, rel=0.03)
    assert np.einsum("ij,ij->", centers, normals) / 3 == pytest.approx(4 / 3 * np.pi * radius**3, rel=0.03)
    edges = np.sort(np.concatenate([triangles[:, [0, 1]], triangles[:, [1, 2]], triangles[:, [2, 0]]]), axis=1)
    assert (np.unique(edges, axis=0, return_counts=True)[1] == 2).all()


def test_noise_is_averaged_over_views() -> None:
    rng = np.random.default_rng(0)
    pose = views()[0]
    exact = depth_map(pose)
    single, several = TsdfVolume(0.08), TsdfVolume(0.08)
    for number in range(8):
        noisy = (exact.depth + rng.normal(0, 0.03, exact.depth.shape)).astype(np.float32)
        for volume in (several, single) if number == 0 else (several,):
            volume.integrate(DepthMap(noisy, exact.confidence, CAMERA), colored(), pose)
    errors = [np.abs(distance(volume.mesh().vertices)).mean() for volume in (single, several)]
    assert errors[1] < 0.75 * errors[0]


def test_unknown_depth_gives_no_surface() -> None:
    volume = TsdfVolume(0.05)
    unknown = np.full((CAMERA.height, CAMERA.width), np.nan, np.float32)
    volume.integrate(DepthMap(unknown, np.zeros_like(unknown), CAMERA), colored(), np.eye(4))
    mesh = volume.mesh()
    assert (len(volume), len(mesh.vertices), len(mesh.triangles)) == (0, 0, 0)


def test_an_impossible_voxel_size_is_refused() -> None:
    with pytest.raises(GeometryError, match="positive voxel size"):
        TsdfVolume(0.0)


def test_the_box_stands_in_the_mesh(volume: TsdfVolume) -> None:
    centers, normals = normals_of(volume.mesh())
    inner = ((centers > BOX_LOWER - 0.02) & (centers < BOX_UPPER + np.array([0, 0, 0.05]))).all(axis=1)
    top = inner & (np.abs(centers[:, 2] - BOX_UPPER[2]) < 0.04)
    assert normals[top][:, 2].sum() == pytest.approx(np.prod((BOX_UPPER - BOX_LOWER)[:2]), rel=0.2)
    assert (centers.min(axis=0) > LOWER - 0.1).all()
    assert (centers.max(axis=0) < UPPER + 0.1).all()
