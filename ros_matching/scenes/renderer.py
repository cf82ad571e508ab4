"""Colour and exact depth of a scene, ray-cast in torch for a batch of views."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from ros_matching.datatypes import Camera
from ros_matching.errors import SceneError
from ros_matching.scenes.mipmaps import MipMaps
from ros_matching.scenes.primitives import Box, Cylinder, HeightField, Primitive, Rectangle, Sphere, Surface
from ros_matching.scenes.scene import Scene
from ros_matching.scenes.shapes import Quadrics, Rectangles, Samples, SurfacePoints
from ros_matching.scenes.terrain import HeightFields
from ros_matching.scenes.tiles import TileGrid, nearest

_CENTER = ((0.0, 0.0),)
_CENTER_AND_ROTATED_GRID = ((0.0, 0.0), (0.125, 0.375), (-0.375, 0.125), (-0.125, -0.375), (0.375, -0.125))


@dataclass(frozen=True)
class Views:
    """Rendered images: ``rgb`` (B, H, W, 3) uint8, ``depth`` (B, H, W) float32 metres along z, NaN in the sky."""

    rgb: torch.Tensor
    depth: torch.Tensor


class Renderer:
    """One scene seen by one pinhole camera.

    With ``antialias`` edges are smoothed: pixels that see several surfaces average five samples, all others are
    coloured once. Depth is always that of the ray through the pixel's centre.
    """

    def __init__(
        self, scene: Scene, camera: Camera, device: str | torch.device = "cpu", *, antialias: bool = True
    ) -> None:
        if not camera.is_pinhole:
            raise SceneError(
                f"Renderer needs a pinhole camera, got one with {camera.distortion_model.value} distortion"
            )
        self.camera = camera
        self._device = torch.device(device)
        self._light = scene.light
        batches = _batches_by_type(scene.primitives)
        self._shapes = [kind(members, self._device) for kind, members in batches]
        self._counts = [len(members) for _, members in batches]
        surfaces = [member.surface for _, members in batches for member in members]
        self._paint = _Paint(surfaces, scene.sky, self._device)
        offsets = torch.tensor(_CENTER_AND_ROTATED_GRID if antialias else _CENTER, device=self._device)
        self._grid = TileGrid(camera.width, camera.height, offsets)
        self._offsets = offsets
        self._rays_from_pixels = torch.from_numpy(np.linalg.inv(camera.matrix)).to(self._device)

    @torch.inference_mode()
    def render(self, world_from_camera: np.ndarray | torch.Tensor) -> Views:
        """Images of the cameras at poses (B, 4, 4)."""
        poses = torch.as_tensor(world_from_camera, dtype=torch.float64).to(self._device)
        if poses.ndim != 3 or poses.shape[1:] != (4, 4):
            raise SceneError(f"Renderer.render expects poses (B, 4, 4), got {tuple(poses.shape)}")
        eyes, rays = poses[:, :3, 3], poses[:, :3, :3] @ self._rays_from_pixels
        shapes = [batch.seen_from(eyes, rays) for batch in self._shapes]
        inverse_depth, ids = nearest(self._grid, len(poses), shapes)
        rgb = self._colors(shapes, eyes.float(), rays.float(), inverse_depth, ids)
        center = inverse_depth[..., 0]
        depth = torch.where(center > 0, 1.0 / center, torch.nan)
        return Views(rgb, depth)

    def _colors(
        self,
        shapes: list,
        eyes: torch.Tensor,
        rays: torch.Tensor,
        inverse_depth: torch.Tensor,
        ids: torch.Tensor,
    ) -> torch.Tensor:
        """Shaded images (B, H, W, 3) uint8 of what the samples (B, H, W, S) see."""
        center = torch.ones_like(ids[..., 0], dtype=torch.bool)
        image = self._shade(shapes, eyes, rays, inverse_depth, ids, center.nonzero(), 0).view(*center.shape, 3)
        if len(self._offsets) > 1:
            mixed = (ids != ids[..., :1]).any(-1).nonzero()
            total = image[tuple(mixed.T)]
            for sample in range(1, len(self._offsets)):
                total += self._shade(shapes, eyes, rays, inverse_depth, ids, mixed, sample)
            image[tuple(mixed.T)] = total / len(self._offsets)
        return image.add_(0.5).clamp_(max=255.0).to(torch.uint8)

    def _shade(
        self,
        shapes: list,
        eyes: torch.Tensor,
        rays: torch.Tensor,
        inverse_depth: torch.Tensor,
        ids: torch.Tensor,
        places: torch.Tensor,
        sample: int,
    ) -> torch.Tensor:
        """Colours (N, 3) of one sample of the pixels at places (N, 3): view, row, column."""
        views, rows, columns = places.unbind(1)
        pixels = torch.stack([columns, rows], 1).float() + self._offsets[sample]
        here = ids[..., sample][views, rows, columns].long()
        functions = rays[views]
        directions = functions[..., 2].addcmul(functions[..., 0], pixels[:, :1])
        directions = directions.addcmul_(functions[..., 1], pixels[:, 1:])
        samples = Samples(views, pixels, directions, inverse_depth[..., sample][views, rows, columns])
        return self._paint_samples(shapes, eyes, rays, samples, here)

    def _paint_samples(
        self, shapes: list, eyes: torch.Tensor, rays: torch.Tensor, samples: Samples, ids: torch.Tensor
    ) -> torch.Tensor:
        uv = torch.empty(len(ids), 2, device=self._device)
        jacobian = torch.empty(len(ids), 4, device=self._device)
        brightness = torch.ones(len(ids), device=self._device)
        first = 0
        for shape, count in zip(shapes, self._counts, strict=True):
            mine = ((ids >= first) & (ids < first + count)).nonzero().squeeze(1)
            if len(mine):
                part = _select(samples, mine)
                points = shape.surface(part, ids[mine] - first)
                uv[mine], jacobian[mine] = points.uv, points.jacobian
                brightness[mine] = self._brightness(eyes[part.views], part, points)
            first += count
        mine = (ids < 0).nonzero().squeeze(1)
        if len(mine):
            uv[mine], jacobian[mine] = _sky_coordinates(samples.rays[mine], rays[samples.views[mine]])
        return self._paint.colors(ids, uv, jacobian) * brightness[:, None]

    def _brightness(self, eyes: torch.Tensor, samples: Samples, points: SurfacePoints) -> torch.Tensor:
        """Lambert's law (N,), for the side of the surface that the camera sees."""
        positions = torch.addcdiv(eyes, samples.rays, samples.inverse_depth[:, None])
        to_light = torch.tensor(self._light.position, dtype=torch.float32, device=self._device) - positions
        cosine = (to_light * points.normals).sum(1) / to_light.norm(dim=1)
        away = (samples.rays * points.normals).sum(1) > 0
        lambert = torch.where(away, -cosine, cosine).clamp_(min=0.0)
        return self._light.ambient + (1.0 - self._light.ambient) * lambert


def render(
    scene: Scene,
    camera: Camera,
    world_from_camera: np.ndarray | torch.Tensor,
    device: str | torch.device = "cpu",
    *,
    antialias: bool = True,
) -> Views:
    """Images of a scene from poses (B, 4, 4). To render a scene more than once keep a ``Renderer``."""
    return Renderer(scene, camera, device, antialias=antialias).render(world_from_camera)


class _Paint:
    """The textures of all primitives, by number; number -1 is the sky."""

    def __init__(self, surfaces: Sequence[Surface], sky: np.ndarray | None, device: torch.device) -> None:
        textures = {id(surface.texture): surface.texture for surface in surfaces}
        rank = {key: index for index, key in enumerate(textures)}
        black = np.zeros((2, 2, 3), np.uint8)
        self._mipmaps = MipMaps([*textures.values(), black if sky is None else sky], device)
        numbers = [rank[id(surface.texture)] for surface in surfaces]
        self._textures = torch.tensor([*numbers, len(textures)], device=device)
        sizes = np.array([*(surface.size_m for surface in surfaces), (1.0, 1.0)], np.float32)
        offsets = np.array([*(surface.offset for surface in surfaces), (-0.5, -0.5)], np.float32)
        self._scales = torch.from_numpy(1.0 / sizes).to(device)
        self._offsets = torch.from_numpy(offsets + 0.5).to(device)

    def colors(self, ids: torch.Tensor, uv: torch.Tensor, jacobian: torch.Tensor) -> torch.Tensor:
        """Filtered colours (N, 3) of primitives (N,) at uv (N, 2) in metres with footprints (N, 4)."""
        ids = torch.where(ids < 0, len(self._textures) - 1, ids)
        scales = self._scales[ids]
        uv = torch.addcmul(self._offsets[ids], uv, scales)
        return self._mipmaps.sample(self._textures[ids], uv, jacobian * scales.repeat_interleave(2, 1))


def _batches_by_type(primitives: Sequence[Primitive]) -> list[tuple[type, list]]:
    """The primitives by the class that intersects them; boxes become rectangles. Slow ones come last."""
    rectangles, spheres, cylinders, fields = [], [], [], []
    for primitive in primitives:
        match primitive:
            case Rectangle():
                rectangles.append(primitive)
            case Box():
                rectangles.extend(primitive.faces())
            case Sphere():
                spheres.append(primitive)
            case Cylinder():
                cylinders.append(primitive)
            case HeightField():
                fields.append(primitive)
            case _:
                raise SceneError(f"Scene: {type(primitive).__name__} is not a primitive that can be rendered")
    batches = [(Rectangles, rectangles), (Quadrics, spheres), (Quadrics, cylinders), (HeightFields, fields)]
    return [(kind, members) for kind, members in batches if members]


def _select(samples: Samples, rows: torch.Tensor) -> Samples:
    return Samples(samples.views[rows], samples.pixels[rows], samples.rays[rows], samples.inverse_depth[rows])


def _sky_coordinates(rays: torch.Tensor, ray_functions: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """The sky's uv (N, 2), one copy of its texture from zenith to horizon and per quarter turn, and its jacobian."""
    x, y, z = rays.unbind(1)
    steps = ray_functions[..., :2]
    flat = (x * x + y * y).clamp_(min=1e-6)
    du = (x[:, None] * steps[:, 1] - y[:, None] * steps[:, 0]) / flat[:, None]
    slope_steps = (steps[:, 2] * flat[:, None] - z[:, None] * (x[:, None] * steps[:, 0] + y[:, None] * steps[:, 1])) / (
        flat * flat.sqrt()
    )[:, None]
    slope = z / flat.sqrt()
    dv = -slope_steps / (1.0 + slope * slope)[:, None]
    uv = torch.stack([torch.atan2(y, x), math.pi / 2 - torch.atan(slope)], 1)
    return uv * (2 / math.pi), torch.cat([du, dv], 1) * (2 / math.pi)
