"""Textures on the device: mip-map pyramids in one atlas, sampled with anisotropic trilinear filtering."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
import torch

_MAX_PROBES = 8


class MipMaps:
    """The pyramids of several textures in one image, one below the other, each with its halves stacked on its right."""

    def __init__(self, textures: Sequence[np.ndarray], device: torch.device) -> None:
        sides = [len(texture) for texture in textures]
        atlas = np.zeros((sum(sides), max(sides) * 3 // 2, 3), np.float32)
        tops = np.cumsum([0, *sides[:-1]])
        for top, texture in zip(tops, textures, strict=True):
            _write_pyramid(atlas[top : top + len(texture)], texture.astype(np.float32))
        # channels last: the three colours of a texel are read together
        self._atlas = torch.from_numpy(atlas).to(device).permute(2, 0, 1)[None]
        self._scale = 2.0 / atlas.shape[1], 2.0 / atlas.shape[0]
        self._tops = torch.from_numpy(tops.astype(np.float32)).to(device)
        self._sides = torch.tensor(sides, dtype=torch.float32, device=device)
        self._deepest = self._sides.log2()

    def sample(self, texture: torch.Tensor, uv: torch.Tensor, jacobian: torch.Tensor) -> torch.Tensor:
        """Filtered colours (3, N) float32 in [0, 255] over each pixel's footprint.

        ``texture`` (N,) int64; ``uv`` (2, N) in texture copies; ``jacobian`` (4, N) is d(u, v)/d(px, py) in the order
        ux, uy, vx, vy. The footprint, an ellipse, is covered by 1, 2, 4 or 8 probes along its long axis, each
        trilinear at the level that fits the short one (as hardware does: EXT_texture_filter_anisotropic).
        """
        level, step, probes = self._footprint(texture, jacobian)
        colors = torch.empty(3, len(texture), device=uv.device)
        for count in (1, 2, 4, _MAX_PROBES):
            rows = (probes == count).nonzero().squeeze(1)
            if len(rows):
                at = (torch.arange(count, device=uv.device) - (count - 1) / 2) / count
                center, along = uv.index_select(1, rows), step.index_select(1, rows)
                probes_uv = torch.addcmul(center[:, None], along[:, None], at[:, None])  # (2, K, N)
                found = self._trilinear(texture[rows], probes_uv, level[rows])
                colors[:, rows] = found.mean(1) if count > 1 else found.squeeze(1)
        return colors

    def _footprint(self, texture: torch.Tensor, jacobian: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """Mip level (N,), long axis of the footprint (2, N) in texture copies, and number of probes (N,)."""
        ux, uy, vx, vy = jacobian
        uu, uv, vv = ux * ux + uy * uy, ux * vx + uy * vy, vx * vx + vy * vy
        mean, half_difference = (uu + vv) / 2, (uu - vv) / 2
        radius = torch.hypot(half_difference, uv)
        sides = self._sides[texture]
        major = ((mean + radius).sqrt_() * sides).clamp_(min=1.0)
        minor = ((mean - radius).clamp_(min=0.0).sqrt_() * sides).clamp_(min=1.0)
        probes = torch.exp2((major / minor).log2_().sub_(0.25).ceil_().clamp_(0.0, 3.0))
        level = torch.minimum(torch.maximum(minor, major / probes).log2_(), self._deepest[texture])
        angle = torch.atan2(uv, half_difference) / 2
        length = major / sides
        return level, torch.stack([angle.cos() * length, angle.sin() * length]), probes

    def _trilinear(self, texture: torch.Tensor, uv: torch.Tensor, level: torch.Tensor) -> torch.Tensor:
        """Colours (3, K, N) at K positions each, ``uv`` (2, K, N)."""
        folded = ((uv + 1.0).remainder_(2.0) - 1.0).abs_()  # mirrored repeat
        lower = level.floor()
        fine = self._bilinear(texture, folded, lower)
        coarse = self._bilinear(texture, folded, torch.minimum(lower + 1.0, self._deepest[texture]))
        return torch.lerp(fine, coarse, level - lower)

    def _bilinear(self, texture: torch.Tensor, uv: torch.Tensor, level: torch.Tensor) -> torch.Tensor:
        side = self._sides[texture]
        here = side * torch.exp2(-level)
        left = torch.where(level > 0, side, 0.0)
        top = self._tops[texture] + (side - 2.0 * here).clamp_(min=0.0)
        inside = torch.minimum((uv * here).clamp_(min=0.5), here - 0.5)
        x, y = (inside[0] + left).mul_(self._scale[0]).sub_(1.0), (inside[1] + top).mul_(self._scale[1]).sub_(1.0)
        grid = torch.stack([x, y], -1)[None]
        return torch.nn.functional.grid_sample(self._atlas, grid, padding_mode="border", align_corners=False)[0]


def _write_pyramid(band: np.ndarray, image: np.ndarray) -> None:
    """Write an image (S, S, 3) and, on its right from the top, its halves down to one texel into a band (S, 1.5 S)."""
    side, top = len(image), 0
    band[:, :side] = image
    while len(image) > 1:
        half = len(image) // 2
        image = cv2.resize(image, (half, half), interpolation=cv2.INTER_AREA).reshape(half, half, 3)
        band[top : top + half, side : side + half] = image
        top += half
