"""The colour of visible surfaces: filtered texture times Lambert's law, highlights on glossy ones, and the sky."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Protocol

import numpy as np
import torch

from ros_matching.scenes.mipmaps import MipMaps
from ros_matching.scenes.primitives import Surface
from ros_matching.scenes.scene import Light
from ros_matching.scenes.shapes import Samples, SurfacePoints, dot

_SHININESS = 60


class SurfacesInView(Protocol):
    """All primitives of one type in the views of a batch of cameras."""

    def surface(self, samples: Samples, numbers: torch.Tensor) -> SurfacePoints:
        """The points of primitives (N,) at the samples."""


class Shader:
    """The textures of all primitives, by number, under one light; number -1 is the sky.

    ``surfaces`` contains those of each type of primitive.
    """

    def __init__(
        self, surfaces: Sequence[Sequence[Surface]], light: Light, sky: np.ndarray | None, device: torch.device
    ) -> None:
        self._counts = [len(group) for group in surfaces]
        every = [surface for group in surfaces for surface in group]
        textures = {id(surface.texture): surface.texture for surface in every}
        rank = {key: index for index, key in enumerate(textures)}
        black = np.zeros((2, 2, 3), np.uint8)
        self._mipmaps = MipMaps([*textures.values(), black if sky is None else sky], device)
        self._textures = torch.tensor([*(rank[id(surface.texture)] for surface in every), len(textures)], device=device)
        sizes = np.array([*(surface.size_m for surface in every), (1.0, 1.0)], np.float32)
        offsets = np.array([*(surface.offset for surface in every), (-0.5, -0.5)], np.float32)
        self._scales = torch.from_numpy(1.0 / sizes.T).to(device)
        self._offsets = torch.from_numpy(offsets.T + 0.5).to(device)
        self._light = torch.tensor(light.position, dtype=torch.float32, device=device)[:, None]
        self._ambient = light.ambient
        self._glosses = torch.tensor([surface.gloss for surface in every], device=device)
        self._any_gloss = any(surface.gloss for surface in every)

    def colors(
        self,
        shapes: Sequence[SurfacesInView],
        eyes: torch.Tensor,
        rays: torch.Tensor,
        samples: Samples,
        ids: torch.Tensor,
    ) -> torch.Tensor:
        """Colours (3, N) in [0, 255] of the primitives (N,) at the samples.

        ``eyes`` (3, B) and ``rays`` (9, B), row-major, are those of the views.
        """
        uv, jacobian = (torch.empty(size, len(ids), device=ids.device) for size in (2, 4))
        brightness = torch.ones(len(ids), device=ids.device)
        highlights = torch.zeros(len(ids), device=ids.device) if self._any_gloss else None
        first = 0
        for shape, count in zip(shapes, self._counts, strict=True):
            mine = ((ids >= first) & (ids < first + count)).nonzero().squeeze(1)
            if len(mine):
                part = samples.select(mine)
                points = shape.surface(part, ids.index_select(0, mine) - first)
                uv[:, mine], jacobian[:, mine] = points.uv, points.jacobian
                to_light = self._to_light(eyes.index_select(1, part.views), part)
                brightness[mine] = self._brightness(part, points.normals, to_light)
                if highlights is not None:
                    gloss = self._glosses.index_select(0, ids.index_select(0, mine))
                    highlights[mine] = gloss * _highlight(part, points.normals, to_light)
            first += count
        mine = (ids < 0).nonzero().squeeze(1)
        if len(mine):
            part = samples.select(mine)
            uv[:, mine], jacobian[:, mine] = _sky_coordinates(part.rays, rays.index_select(1, part.views))
        colors = self._textured(torch.where(ids < 0, first, ids), uv, jacobian).mul_(brightness)
        return colors if highlights is None else colors.add_(highlights, alpha=255.0)

    def _textured(self, numbers: torch.Tensor, uv: torch.Tensor, jacobian: torch.Tensor) -> torch.Tensor:
        scales = self._scales.index_select(1, numbers)
        jacobian = (jacobian.view(2, 2, -1) * scales[:, None]).view(4, -1)
        uv = self._offsets.index_select(1, numbers).addcmul_(uv, scales)
        return self._mipmaps.sample(self._textures[numbers], uv, jacobian)

    def _to_light(self, eyes: torch.Tensor, samples: Samples) -> torch.Tensor:
        """Unit vectors (3, N) from the samples to the light."""
        to_light = self._light - torch.addcdiv(eyes, samples.rays, samples.inverse_depth)
        return to_light.mul_(dot(to_light, to_light).rsqrt_())

    def _brightness(self, samples: Samples, normals: torch.Tensor, to_light: torch.Tensor) -> torch.Tensor:
        """Lambert's law (N,), for the visible side of the surface."""
        cosine = dot(to_light, normals)
        away = dot(samples.rays, normals) > 0
        lambert = torch.where(away, -cosine, cosine).clamp_(min=0.0)
        return lambert.mul_(1.0 - self._ambient).add_(self._ambient)


def _highlight(samples: Samples, normals: torch.Tensor, to_light: torch.Tensor) -> torch.Tensor:
    """The mirror image of the light, blurred (N,): the halfway vector to the power of ``_SHININESS`` (Blinn 1977)."""
    halfway = to_light - samples.rays * dot(samples.rays, samples.rays).rsqrt_()
    cosine = dot(halfway, normals).abs_().mul_(dot(halfway, halfway).clamp_(min=1e-12).rsqrt_())
    # light from behind does not reach the visible side
    same_side = dot(samples.rays, normals) * dot(to_light, normals) < 0
    return cosine.clamp_(max=1.0).pow_(_SHININESS).mul_(same_side)


def _sky_coordinates(rays: torch.Tensor, ray_functions: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """The sky's uv (2, N), a copy of its texture from zenith to horizon and per 90 degrees, with jacobian (4, N).

    ``rays`` (3, N) with the coefficients (9, N) of the functions of the pixel that they are.
    """
    x, y, z = rays
    step_x, step_y, step_z = ray_functions.view(3, 3, -1)[:, :2]
    flat_squared = (x * x + y * y).clamp_(min=1e-6)
    flat = flat_squared.sqrt()
    heading_steps = (x * step_y - y * step_x) / flat_squared
    elevation_steps = (step_z * flat - z * (x * step_x + y * step_y) / flat) / (flat_squared + z * z)
    uv = torch.stack([torch.atan2(y, x), math.pi / 2 - torch.atan2(z, flat)])
    return uv * (2 / math.pi), torch.cat([heading_steps, -elevation_steps]) * (2 / math.pi)
