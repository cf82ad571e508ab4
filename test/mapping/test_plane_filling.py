"""Holes in weakly textured planes: filled with the plane's depth, and only there."""

from __future__ import annotations

import numpy as np

from ros_matching.datatypes import Camera, DepthMap
from ros_matching.mapping.plane_filling import fill_planes

HEIGHT, WIDTH = 60, 80
CAMERA = Camera(WIDTH, HEIGHT, 70.0, 70.0, 40.0, 30.0)
MAX_ERROR = 0.015
WALL = (slice(10, 50), slice(10, 70))  # white, in a room full of texture


def plane(normal: tuple[float, float, float], distance: float) -> np.ndarray:
    """The depth (h, w) of the plane ``normal @ X = distance``."""
    v, u = np.mgrid[:HEIGHT, :WIDTH]
    rays = np.stack([(u - 40) / 70, (v - 30) / 70, np.ones(u.shape)], axis=-1)
    return (distance / (rays @ np.array(normal))).astype(np.float32)


SLANTED = plane((0.4, 0.1, 1.0), 3.0)


def image(seed: int = 0) -> np.ndarray:
    """Four times the size of the depth map; noise of two grey levels on the wall."""
    rng = np.random.default_rng(seed)
    rgb = np.repeat(np.kron(rng.integers(0, 255, (HEIGHT // 2, WIDTH // 2)), np.ones((8, 8)))[..., None], 3, axis=2)
    wall = tuple(slice(4 * part.start, 4 * part.stop) for part in WALL)
    rgb[wall] = 220 + rng.integers(-2, 3, (160, 240, 1))
    return rgb.astype(np.uint8)


def with_hole(depth: np.ndarray, hole: tuple[slice, slice]) -> DepthMap:
    known = depth.copy()
    known[hole] = np.nan
    return DepthMap(known, np.where(np.isfinite(known), 0.8, 0).astype(np.float32), CAMERA)


HOLE = (slice(26, 32), slice(30, 40))


def test_a_hole_in_a_white_wall_has_the_depth_of_the_wall() -> None:
    filled = fill_planes(with_hole(SLANTED, HOLE), image(), None, MAX_ERROR)
    np.testing.assert_allclose(filled.depth[HOLE], SLANTED[HOLE], rtol=1e-3)
    np.testing.assert_allclose(filled.confidence[HOLE], 0.4, rtol=1e-5)
    others = np.ones(SLANTED.shape, bool)
    others[HOLE] = False
    np.testing.assert_array_equal(filled.depth[others], SLANTED[others])


def test_noise_of_the_depths_is_averaged() -> None:
    noisy = SLANTED * (1 + 0.004 * np.random.default_rng(1).normal(size=SLANTED.shape)).astype(np.float32)
    filled = fill_planes(with_hole(noisy, HOLE), image(), None, MAX_ERROR)
    np.testing.assert_allclose(filled.depth[HOLE], SLANTED[HOLE], rtol=2e-3)


def test_the_middle_of_a_large_hole_stays_unknown() -> None:
    hole = (slice(14, 46), slice(16, 64))
    filled = fill_planes(with_hole(SLANTED, hole), image(), None, MAX_ERROR)
    assert np.isnan(filled.depth[26:34, 34:46]).all()
    known = np.isfinite(filled.depth[hole])
    np.testing.assert_allclose(filled.depth[hole][known], SLANTED[hole][known], rtol=1e-3)


def test_holes_in_texture_and_excluded_pixels_stay() -> None:
    textured = (slice(2, 7), slice(20, 30))
    filled = fill_planes(with_hole(SLANTED, textured), image(), None, MAX_ERROR)
    assert np.isnan(filled.depth[textured]).all()
    usable = np.ones(SLANTED.shape, bool)
    usable[HOLE] = False
    assert np.isnan(fill_planes(with_hole(SLANTED, HOLE), image(), usable, MAX_ERROR).depth[HOLE]).all()


def test_two_surfaces_of_one_colour_are_no_plane() -> None:
    """A white box before a white wall: nothing in the image separates them."""
    depth = plane((0.0, 0.0, 1.0), 3.0)
    depth[20:40, 25:45] = 2.0
    filled = fill_planes(with_hole(depth, (slice(36, 44), slice(30, 40))), image(), None, MAX_ERROR)
    assert np.isnan(filled.depth[36:44, 30:40]).all()


def test_a_curved_surface_is_no_plane() -> None:
    v, u = np.mgrid[:HEIGHT, :WIDTH]
    depth = (3.0 + 0.0004 * (u - 40.0) ** 2 + 0.0006 * (v - 30.0) ** 2).astype(np.float32)
    assert np.isnan(fill_planes(with_hole(depth, HOLE), image(), None, MAX_ERROR).depth[HOLE]).all()


def test_a_depth_map_without_depths_stays_empty() -> None:
    empty = DepthMap(np.full((HEIGHT, WIDTH), np.nan, np.float32), np.zeros((HEIGHT, WIDTH), np.float32), CAMERA)
    assert np.isnan(fill_planes(empty, image(), None, MAX_ERROR).depth).all()
