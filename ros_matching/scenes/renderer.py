"""Colour and exact depth of a scene, ray-cast in torch for a batch of views."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from ros_matching.datatypes import Camera
from ros_matching.errors import SceneError
from ros_matching.scenes.primitives import Box, Cylinder, HeightField, Primitive, Rectangle, Sphere
from ros_matching.scenes.scene import Scene
from ros_matching.scenes.shading import Shader
from ros_matching.scenes.shapes import Quadrics, Rectangles, Samples, affine
from ros_matching.scenes.terrain import HeightFields
from ros_matching.scenes.tiles import TileGrid, nearest

_CENTER = ((0.0, 0.0),)
_CENTER_AND_ROTATED_GRID = ((0.0, 0.0), (0.125, 0.375), (-0.375, 0.125), (-0.125, -0.375), (0.375, -0.125))


@dataclass(frozen=True)
class Views:
    """Rendered images: ``rgb`` (B, H, W, 3) uint8, ``depth`` (B, H, W) float32 metres along z, NaN in the sky.

    ``primitives`` (B, H, W) int64 are indices into ``Scene.primitives``, -1 for the sky.
    """

    rgb: torch.Tensor
    depth: torch.Tensor
    primitives: torch.Tensor


class Renderer:
    """Renders one scene for one pinhole camera.

    With ``antialias`` edges are smoothed: pixels that see several surfaces average five samples, all others are
    coloured once. Depth is always that of the ray through the pixel's centre.
    """

    def __init__(
        self, scene: Scene, camera: Camera, device: str | torch.device = "cpu", *, antialias: bool = True
    ) -> None:
        if not camera.is_pinhole:
            raise SceneError(f"Renderer needs a pinhole camera, got {camera.distortion_model.value} distortion")
        self.camera = camera
        self.device = _checked_device(device)
        batches = _batches_by_type(scene.primitives)
        self._shapes = [kind([member for _, member in members], self.device) for kind, members in batches]
        surfaces = [[member.surface for _, member in members] for _, members in batches]
        self._primitive_ids = torch.tensor(
            [number for _, members in batches for number, _ in members], device=self.device
        )
        self._count, self._plan = len(scene.primitives), scene.plan
        self._shader = Shader(surfaces, scene.light, scene.sky, self.device)
        self._offsets = torch.tensor(_CENTER_AND_ROTATED_GRID if antialias else _CENTER, device=self.device)
        self._grid = TileGrid(camera.width, camera.height, self._offsets)
        self._rays_from_pixels = torch.from_numpy(np.linalg.inv(camera.matrix)).to(self.device)

    @torch.inference_mode()
    def render(
        self,
        world_from_camera: np.ndarray | torch.Tensor,
        *,
        intrinsics: np.ndarray | None = None,
        present: np.ndarray | None = None,
    ) -> Views:
        """Images of the cameras at poses (B, 4, 4).

        ``intrinsics`` (B, 3, 3), replace those of the camera. ``present`` (B, N) bool marks
        the primitives of the scene, of N, in each view: a moving object is added to the scene once per view.
        """
        poses = torch.as_tensor(world_from_camera, dtype=torch.float64).to(self.device)
        if poses.ndim != 3 or poses.shape[1:] != (4, 4):
            raise SceneError(f"Renderer.render expects poses (B, 4, 4), got {tuple(poses.shape)}")
        eyes, rays = poses[:, :3, 3], poses[:, :3, :3] @ self._rays(intrinsics, len(poses))
        shapes = [batch.seen_from(eyes, rays) for batch in self._shapes]
        present = self._visible(poses, rays) if present is None else present
        inverse_depth, ids = nearest(self._grid, len(poses), shapes, self._present(present, len(poses)))

        size, per_pixel = ids.shape[:3], len(self._offsets)
        centers = ids[..., 0].long()
        places, mixed = self._places(ids.view(-1, per_pixel))
        ray_functions = rays.float().view(-1, 9).T.contiguous()
        samples = self._samples(places, ray_functions, inverse_depth.view(-1))
        ids = ids.view(-1).index_select(0, places).long()
        colors = self._shader.colors(shapes, eyes.float().T, ray_functions, samples, ids)
        rgb = _average(colors, mixed, per_pixel).add_(0.5).clamp_(max=255.0).to(torch.uint8)

        depth = inverse_depth[..., 0].reciprocal()
        primitives = torch.where(centers < 0, -1, self._primitive_ids[centers])
        return Views(rgb.T.reshape(*size, 3), depth.masked_fill_(depth.isinf(), torch.nan), primitives)

    def _rays(self, intrinsics: np.ndarray | None, views: int) -> torch.Tensor:
        if intrinsics is None:
            return self._rays_from_pixels
        if np.shape(intrinsics) != (views, 3, 3):
            raise SceneError(f"Renderer.render expects intrinsics ({views}, 3, 3), got {np.shape(intrinsics)}")
        return torch.from_numpy(np.linalg.inv(np.asarray(intrinsics, np.float64))).to(self.device)

    def _visible(self, poses: torch.Tensor, rays: torch.Tensor) -> np.ndarray | None:
        """The primitives (B, N) that may be seen at all, by the floor plan."""
        if self._plan is None:
            return None
        right, bottom = self.camera.width - 0.5, self.camera.height - 0.5
        corners = [[-0.5, -0.5, 1], [right, -0.5, 1], [-0.5, bottom, 1], [right, bottom, 1]]
        edge_rays = rays @ torch.tensor(corners, dtype=rays.dtype, device=rays.device).T
        return self._plan.visible(poses.cpu().numpy(), edge_rays.transpose(1, 2).cpu().numpy())

    def _present(self, present: np.ndarray | None, views: int) -> torch.Tensor | None:
        if present is None:
            return None
        if np.shape(present) != (views, self._count):
            raise SceneError(
                f"Renderer.render expects present ({views}, {self._count}), views by primitives of the scene, "
                f"got {np.shape(present)}"
            )
        return torch.from_numpy(np.ascontiguousarray(present, bool)).to(self.device)[:, self._primitive_ids]

    def _places(self, ids: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Numbers of the samples to colour: the first of each pixel, then the others of mixed pixels; and those."""
        pixels, per_pixel = ids.shape
        mixed = (ids[:, 1:] != ids[:, :1]).any(1).nonzero()
        firsts = torch.arange(0, pixels * per_pixel, per_pixel, device=self.device)
        others = mixed * per_pixel + torch.arange(1, per_pixel, device=self.device)
        return torch.cat([firsts, others.view(-1)]), mixed.squeeze(1)

    def _samples(self, places: torch.Tensor, ray_functions: torch.Tensor, inverse_depth: torch.Tensor) -> Samples:
        per_pixel, width, height = len(self._offsets), self.camera.width, self.camera.height
        pixel = torch.div(places, per_pixel, rounding_mode="floor")
        row = torch.div(pixel, width, rounding_mode="floor")
        view = torch.div(row, height, rounding_mode="floor")
        offsets = self._offsets.T.index_select(1, places - pixel * per_pixel)
        pixels = torch.stack([pixel - row * width, row - view * height]).add(offsets)
        functions = ray_functions.index_select(1, view).view(3, 3, -1)
        rays = affine(functions[:, 0], functions[:, 1], functions[:, 2], *pixels)
        return Samples(view, pixels, rays, inverse_depth.index_select(0, places))


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


def _checked_device(name: str | torch.device) -> torch.device:
    try:
        return torch.zeros(1, device=name).device
    except (RuntimeError, AssertionError) as error:  # torch built without CUDA asserts
        raise SceneError(f"Renderer cannot compute on device {str(name)!r} ({error}); use cpu") from error


def _average(colors: torch.Tensor, mixed: torch.Tensor, per_pixel: int) -> torch.Tensor:
    """Pixel colours (3, pixels) from those of the samples, laid out as by ``Renderer._places``."""
    pixels = colors.shape[1] - len(mixed) * (per_pixel - 1)
    image, others = colors[:, :pixels], colors[:, pixels:]
    if len(mixed):
        total = image[:, mixed] + others.reshape(3, len(mixed), -1).sum(2)
        image[:, mixed] = total / per_pixel
    return image


def _batches_by_type(primitives: Sequence[Primitive]) -> list[tuple[Callable, list[tuple[int, Primitive]]]]:
    """Group the primitives with their indices by type of intersection; boxes become rectangles."""
    rectangles, spheres, cylinders, fields = [], [], [], []
    for number, primitive in enumerate(primitives):
        match primitive:
            case Rectangle():
                rectangles.append((number, primitive))
            case Box():
                rectangles.extend((number, face) for face in primitive.faces())
            case Sphere():
                spheres.append((number, primitive))
            case Cylinder():
                cylinders.append((number, primitive))
            case HeightField():
                fields.append((number, primitive))
            case _:
                raise SceneError(f"Scene: {type(primitive).__name__} is not a primitive that can be rendered")
    # slow ones last: surfaces behind the others need no search
    batches = [(Rectangles.of, rectangles), (Quadrics, spheres), (Quadrics, cylinders), (HeightFields, fields)]
    return [(kind, members) for kind, members in batches if members]
