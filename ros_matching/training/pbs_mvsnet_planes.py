"""Scenes of textured rectangles and boxes in views with exact depth; fast to draw on a CPU.

Each rectangle is drawn by the homography of its plane, and the nearest one is visible. What full ray-cast worlds give
in realism these give in number and in variety of slants, occlusions and textures, weak ones on purpose.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import cv2
import numpy as np
from scipy.spatial.transform import Rotation

Texture = Callable[[np.random.Generator], np.ndarray]  # returns a photo (H, W, 3) uint8

_SIDE_PX = 256  # of the textures
_MAX_OBJECTS = 7


@dataclass(frozen=True)
class Facet:
    """A textured rectangle: world points ``center + a across + b down``, a and b from -1 to 1 or, if endless, any."""

    center: np.ndarray
    across: np.ndarray
    down: np.ndarray
    texture: np.ndarray
    endless: bool = False


def random_scene(textures: Texture, rng: np.random.Generator) -> list[Facet]:
    """Facets before the camera at the origin, which looks along z: a background, and some rectangles and boxes."""
    far = rng.uniform(2.5, 8.0)
    facets = [_background(textures, rng, far)]
    if rng.random() < 0.7:
        facets.append(_floor(textures, rng, rng.uniform(0.5, 1.6)))
    for _ in range(rng.integers(1, _MAX_OBJECTS + 1)):
        depth = 1 / rng.uniform(1 / (0.95 * far), 1 / (0.2 * far))
        center = depth * np.array([rng.uniform(-0.6, 0.6), rng.uniform(-0.45, 0.45), 1.0])
        size = depth * np.exp(rng.uniform(np.log(0.06), np.log(0.5), 3))
        rotation = Rotation.from_rotvec(rng.normal(0, 0.7, 3)).as_matrix()
        if rng.random() < 0.5:
            facets += _box(textures, rng, center, rotation, size)
        else:
            facets.append(Facet(center, size[0] * rotation[:, 0], size[1] * rotation[:, 1], _texture(textures, rng)))
    return facets


def draw(
    facets: list[Facet], intrinsics: np.ndarray, camera_from_world: np.ndarray, width: int, height: int
) -> tuple[np.ndarray, np.ndarray]:
    """The image (H, W, 3) uint8 and the exact depth (H, W) float32, NaN where there is nothing."""
    image = np.zeros((height, width, 3), np.uint8)
    nearest = np.zeros((height, width), np.float32)  # inverse depth
    for facet in facets:
        _draw(facet, intrinsics, camera_from_world, image, nearest)
    depth = np.full_like(nearest, np.nan)
    np.divide(1, nearest, out=depth, where=nearest > 0)
    return image, depth


def _draw(
    facet: Facet, intrinsics: np.ndarray, camera_from_world: np.ndarray, image: np.ndarray, nearest: np.ndarray
) -> None:
    """Draw one facet where it is nearest so far."""
    rotation, translation = camera_from_world[:3, :3], camera_from_world[:3, 3]
    plane = np.column_stack([rotation @ facet.across, rotation @ facet.down, rotation @ facet.center + translation])
    if abs(np.linalg.det(plane)) < 1e-6:  # edge-on
        return
    image_from_plane = intrinsics @ plane  # of (a, b, 1); the third entry is the depth
    left, top, right, bottom = (0, 0, *image.shape[1::-1]) if facet.endless else _window(image_from_plane, image)
    if left >= right or top >= bottom:
        return
    image, nearest = image[top:bottom, left:right], nearest[top:bottom, left:right]
    plane_from_image = np.linalg.inv(image_from_plane)  # of (u, v, 1): (a, b, 1) / depth
    u, v = np.arange(left, right, dtype=np.float32), np.arange(top, bottom, dtype=np.float32)[:, None]
    a, b, inverse_depth = ((row[0] * u + (row[1] * v + row[2])).astype(np.float32) for row in plane_from_image)
    visible = inverse_depth > nearest
    if not facet.endless:
        visible &= (np.abs(a) <= inverse_depth) & (np.abs(b) <= inverse_depth)
    if not visible.any():
        return
    texture = _shrunk(facet, image_from_plane)
    side = texture.shape[0]
    texture_from_plane = np.array([[side / 2, 0, (side - 1) / 2], [0, side / 2, (side - 1) / 2], [0, 0, 1]])
    moved = np.array([[1, 0, left], [0, 1, top], [0, 0, 1]])
    colors = cv2.warpPerspective(
        texture,
        texture_from_plane @ plane_from_image @ moved,
        (right - left, bottom - top),
        flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP,
        borderMode=cv2.BORDER_REFLECT if facet.endless else cv2.BORDER_REPLICATE,
    )
    np.copyto(image, colors, where=visible[..., None])
    np.copyto(nearest, inverse_depth, where=visible)


def _window(image_from_plane: np.ndarray, image: np.ndarray) -> tuple[int, int, int, int]:
    """Left, top, right and bottom of the pixels that a facet may cover: all, where it reaches behind the camera."""
    corners = image_from_plane @ np.array([[-1, 1, 1, -1], [-1, -1, 1, 1], [1, 1, 1, 1]])
    height, width = image.shape[:2]
    if corners[2].max() <= 0:
        return 0, 0, 0, 0
    if corners[2].min() <= 1e-3:
        return 0, 0, width, height
    u, v = corners[:2] / corners[2]
    left, right = np.clip([np.floor(u.min()), np.ceil(u.max()) + 1], 0, width).astype(int)
    top, bottom = np.clip([np.floor(v.min()), np.ceil(v.max()) + 1], 0, height).astype(int)
    return left, top, right, bottom


def _shrunk(facet: Facet, image_from_plane: np.ndarray) -> np.ndarray:
    """The texture with about as many pixels as it gets in the image at its middle: sampling then does not alias."""
    depth = max(image_from_plane[2, 2], 1e-3)
    across = np.linalg.norm(image_from_plane[:2, 0] - image_from_plane[2, 0] * image_from_plane[:2, 2] / depth)
    down = np.linalg.norm(image_from_plane[:2, 1] - image_from_plane[2, 1] * image_from_plane[:2, 2] / depth)
    side = int(np.clip(2 * max(across, down) / depth, 8, _SIDE_PX))
    if side >= _SIDE_PX * 0.8:
        return facet.texture
    return cv2.resize(facet.texture, (side, side), interpolation=cv2.INTER_AREA)


def _background(textures: Texture, rng: np.random.Generator, depth: float) -> Facet:
    rotation = Rotation.from_rotvec(rng.normal(0, 0.35, 3)).as_matrix()
    size = depth * rng.uniform(0.5, 1.5)
    return Facet(
        np.array([0, 0, depth]), size * rotation[:, 0], size * rotation[:, 1], _texture(textures, rng), endless=True
    )


def _floor(textures: Texture, rng: np.random.Generator, below: float) -> Facet:
    rotation = Rotation.from_euler("zx", [rng.normal(0, 0.2), np.pi / 2 + rng.normal(0, 0.15)]).as_matrix()
    size = rng.uniform(0.7, 2.5)
    center = np.array([0, below, rng.uniform(1, 3)])
    return Facet(center, size * rotation[:, 0], size * rotation[:, 1], _texture(textures, rng), endless=True)


def _box(
    textures: Texture, rng: np.random.Generator, center: np.ndarray, rotation: np.ndarray, size: np.ndarray
) -> list[Facet]:
    texture = _texture(textures, rng)
    x, y, z = (rotation * size).T
    faces = [(z, x, y), (x, y, z), (y, z, x)]
    return [Facet(center + sign * n, a, b, texture) for n, a, b in faces for sign in (-1, 1)]


def _texture(textures: Texture, rng: np.random.Generator) -> np.ndarray:
    """A square of a photo, often with less contrast, seldom nearly none."""
    photo = textures(rng)
    side = int(min(photo.shape[:2]) * rng.uniform(0.4, 1.0))
    top, left = rng.integers(photo.shape[0] - side + 1), rng.integers(photo.shape[1] - side + 1)
    square = photo[top : top + side, left : left + side]
    area = cv2.INTER_AREA if side > _SIDE_PX else cv2.INTER_LINEAR
    square = cv2.resize(square, (_SIDE_PX, _SIDE_PX), interpolation=area)
    if rng.random() < 0.5:
        return square
    mean = square.mean(axis=(0, 1))
    contrast = np.exp(rng.uniform(np.log(0.04), 0))
    return np.clip(mean + contrast * (square - mean), 0, 255).astype(np.uint8)
