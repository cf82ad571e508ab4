"""A textured room, rendered fast by ray casting on axis-aligned walls: images with ground truth for the tracker.

A room of 12 x 6 x 12 units around the origin, with panels for relief; panels can change from frame to frame. Pixel
centres are at integers.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

import cv2
import numpy as np

from ros_matching.datatypes import Camera, Frame

CAMERA = Camera(width=240, height=180, fx=190, fy=190, cx=119.5, cy=89.5)
FRAME_NS = 33_333_333
_HALF = np.array([6.0, 3.0, 6.0], np.float32)
_TEXTURE_PX = 512
_PX_PER_UNIT = 32.0


@dataclass(frozen=True)
class Panel:
    """An axis-aligned rectangle: ``axis`` is its normal, ``at`` its position along it.

    ``shift`` moves its texture along the other two axes; equal to the shift of ``lower`` if the panel moves.
    """

    axis: int
    at: float
    lower: tuple[float, float]  # along the other two axes, in order
    upper: tuple[float, float]
    texture: int
    shift: tuple[float, float] = (0.0, 0.0)


class BoxWorld:
    """Renders views of the room; nearer ``panels`` occlude farther ones."""

    def __init__(self, panels: Iterable[Panel] = (), camera: Camera = CAMERA, seed: int = 0) -> None:
        self.camera = camera
        self.panels = tuple(panels)
        rng = np.random.default_rng(seed)
        self._textures = np.stack([_texture(rng) for _ in range(8)])
        u, v = np.meshgrid(np.arange(camera.width), np.arange(camera.height))
        rays = camera.unproject(np.column_stack([u.ravel(), v.ravel()]).astype(np.float64))
        self._rays = rays.astype(np.float32)

    def render(self, world_from_camera: np.ndarray, panels: Iterable[Panel] = ()) -> np.ndarray:
        """Render the image (H, W, 3) uint8 from a pose (4, 4), with additional panels."""
        center = world_from_camera[:3, 3].astype(np.float32)
        rays = self._rays @ world_from_camera[:3, :3].T.astype(np.float32)
        rays[rays == 0] = 1e-9
        to_walls = (np.copysign(_HALF, rays) - center) / rays
        axis = np.argmin(to_walls, axis=1)
        depth = np.take_along_axis(to_walls, axis[:, None], 1)[:, 0]
        texture = 2 * axis + (np.take_along_axis(rays, axis[:, None], 1)[:, 0] > 0)
        shift = np.zeros((len(rays), 2), np.float32)
        for panel in (*self.panels, *panels):
            others = [i for i in range(3) if i != panel.axis]
            distance = (panel.at - center[panel.axis]) / rays[:, panel.axis]
            hit = center[others] + distance[:, None] * rays[:, others]
            inside = ((hit > panel.lower) & (hit < panel.upper)).all(axis=1) & (distance > 0) & (distance < depth)
            depth[inside], axis[inside], texture[inside] = distance[inside], panel.axis, panel.texture
            shift[inside] = panel.shift
        return self._colour(center + depth[:, None] * rays, axis, texture, shift)

    def _colour(self, points: np.ndarray, axis: np.ndarray, texture: np.ndarray, shift: np.ndarray) -> np.ndarray:
        shape = self.camera.height, self.camera.width
        first, second = np.where(axis == 0, 1, 0), np.where(axis == 2, 1, 2)
        rows = np.arange(len(points))
        x = ((points[rows, first] - shift[:, 0]) * _PX_PER_UNIT) % (_TEXTURE_PX - 1)
        y = ((points[rows, second] - shift[:, 1]) * _PX_PER_UNIT) % (_TEXTURE_PX - 1) + texture * _TEXTURE_PX
        atlas = self._textures.reshape(-1, _TEXTURE_PX)
        grey = cv2.remap(atlas, x.reshape(shape), y.astype(np.float32).reshape(shape), cv2.INTER_LINEAR)
        return np.repeat(grey[..., None], 3, axis=2)


def furnished(seed: int = 0) -> BoxWorld:
    """The room with panels in front of its walls."""
    rng = np.random.default_rng(seed)
    panels = []
    for number in range(12):
        axis, side = (0, 2)[number % 2], (-1, 1)[number // 2 % 2]
        lower = rng.uniform((-2.5, -5.0) if axis == 0 else (-5.0, -2.5), (0.5, 3.0) if axis == 0 else (3.0, 0.5))
        size = rng.uniform(1.0, 2.5, 2)
        panels.append(Panel(axis, side * rng.uniform(3.5, 5.0), tuple(lower), tuple(lower + size), number % 8))
    return BoxWorld(panels, seed=seed)


def film(
    world: BoxWorld,
    poses: np.ndarray,
    frames: Iterable[int] | None = None,
    panels: Callable[[int], Iterable[Panel]] = lambda index: (),
    noise: float = 2.0,
) -> Iterator[Frame]:
    """Render frames along poses (N, 4, 4), or some of them, with grey level noise and ``panels`` by frame."""
    for index in range(len(poses)) if frames is None else frames:
        image = world.render(poses[index], panels(index))
        grain = np.random.default_rng((7, index)).normal(0, noise, image.shape[:2]).astype(np.float32)
        image = np.clip(image + grain[..., None], 0, 255).astype(np.uint8)
        yield Frame(index, 1_000_000_000 + index * FRAME_NS, image, world.camera, true_world_from_camera=poses[index])


def _texture(rng: np.random.Generator) -> np.ndarray:
    """Noise of several scales, (P, P) uint8 in full contrast."""
    shape = _TEXTURE_PX, _TEXTURE_PX
    image = np.zeros(shape, np.float32)
    for blur, weight in ((1.5, 1.0), (4.0, 1.2), (12.0, 1.0)):
        layer = cv2.GaussianBlur(rng.normal(size=shape).astype(np.float32), (0, 0), blur)
        image += weight * layer / layer.std()
    return np.clip(128 + 45 * image, 0, 255).astype(np.uint8)
