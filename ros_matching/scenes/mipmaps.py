"""Textures on the device: mip-map pyramids in one flat buffer, sampled with anisotropic trilinear filtering."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
import torch

_MAX_PROBES = 8


class MipMaps:
    """The pyramids of several textures; every texel is four bytes (RGB and one unused) of one int32 buffer."""

    def __init__(self, textures: Sequence[np.ndarray], device: torch.device) -> None:
        levels = [_pyramid(texture) for texture in textures]
        texels = [np.dstack([image, image[..., :1]]).reshape(-1, 4) for pyramid in levels for image in pyramid]
        self._texels = torch.from_numpy(np.concatenate(texels).view(np.int32).reshape(-1)).to(device)
        self._deepest = max(map(len, levels)) - 1
        starts = np.zeros((len(levels), self._deepest + 1), np.int32)
        start = 0
        for row, pyramid in zip(starts, levels, strict=True):
            for level, image in enumerate(pyramid):
                row[level] = start
                start += image.shape[0] * image.shape[1]
        self._starts = torch.from_numpy(starts.reshape(-1)).to(device)
        self._last = torch.tensor([len(pyramid) - 1.0 for pyramid in levels], device=device)
        self.sides = torch.tensor([float(len(texture)) for texture in textures], device=device)

    def sample(self, texture: torch.Tensor, uv: torch.Tensor, jacobian: torch.Tensor) -> torch.Tensor:
        """Filtered colours (N, 3) float32 in [0, 255] over each pixel's footprint.

        ``texture`` (N,) int64; ``uv`` (N, 2) in texture copies; ``jacobian`` (N, 4) is d(u, v)/d(px, py) in the order
        ux, uy, vx, vy. The footprint, an ellipse, is covered by 1, 2, 4 or 8 probes along its long axis, each
        trilinear at the level that fits the short one (as hardware does: EXT_texture_filter_anisotropic).
        """
        level, step, probes = self._footprint(texture, jacobian)
        colors = torch.empty(len(uv), 3, device=uv.device)
        for count in (1, 2, 4, _MAX_PROBES):
            rows = (probes == count).nonzero().squeeze(1)
            if not len(rows):
                continue
            at = (torch.arange(count, device=uv.device) - (count - 1) / 2) / count
            probe_uv = uv[rows, None] + step[rows, None] * at[:, None]
            sampled = self._trilinear(
                texture[rows].repeat_interleave(count), probe_uv.reshape(-1, 2), level[rows].repeat_interleave(count)
            )
            colors[rows] = sampled.view(-1, count, 3).mean(1) if count > 1 else sampled
        return colors

    def _footprint(self, texture: torch.Tensor, jacobian: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """Mip level (N,), long axis of the footprint (N, 2) in texture copies, and number of probes (N,)."""
        ux, uy, vx, vy = jacobian.unbind(1)
        uu, uv, vv = ux * ux + uy * uy, ux * vx + uy * vy, vx * vx + vy * vy
        mean, half_difference = (uu + vv) / 2, (uu - vv) / 2
        radius = torch.hypot(half_difference, uv)
        sides = self.sides[texture]
        major = ((mean + radius).sqrt() * sides).clamp_(min=1.0)
        minor = ((mean - radius).clamp_(min=0.0).sqrt() * sides).clamp_(min=1.0)
        probes = torch.exp2((major / minor).log2_().sub_(0.25).ceil_().clamp_(0.0, 3.0))
        level = torch.minimum(torch.maximum(minor, major / probes).log2_(), self._last[texture])
        angle = torch.atan2(uv, half_difference) / 2
        length = major / sides
        return level, torch.stack([angle.cos() * length, angle.sin() * length], 1), probes

    def _trilinear(self, texture: torch.Tensor, uv: torch.Tensor, level: torch.Tensor) -> torch.Tensor:
        folded = ((uv + 1.0).remainder_(2.0) - 1.0).abs_()  # mirrored repeat
        lower = level.floor()
        fine = self._bilinear(texture, folded, lower)
        coarse = self._bilinear(texture, folded, torch.minimum(lower + 1.0, self._last[texture]))
        return torch.lerp(fine, coarse, (level - lower)[:, None])

    def _bilinear(self, texture: torch.Tensor, uv: torch.Tensor, level: torch.Tensor) -> torch.Tensor:
        start = self._starts[texture * (self._deepest + 1) + level.long()]
        side = self.sides[texture] * torch.exp2(-level)
        position = torch.minimum((uv * side[:, None] - 0.5).clamp_(min=0.0), side[:, None] - 1.0)
        first = position.floor()
        fx, fy = (position - first)[:, :, None].unbind(1)
        last = (side - 1.0).int()
        x0, y0 = first.int().unbind(1)
        x1, y1 = torch.minimum(x0 + 1, last), torch.minimum(y0 + 1, last)
        width = last + 1
        row0, row1 = start + y0 * width, start + y1 * width
        above = torch.lerp(self._fetch(row0 + x0), self._fetch(row0 + x1), fx)
        below = torch.lerp(self._fetch(row1 + x0), self._fetch(row1 + x1), fx)
        return torch.lerp(above, below, fy)

    def _fetch(self, index: torch.Tensor) -> torch.Tensor:
        return self._texels.index_select(0, index).view(torch.uint8).view(-1, 4)[:, :3].float()


def _pyramid(texture: np.ndarray) -> list[np.ndarray]:
    """The texture and its halves down to one texel; averaged in floating point, rounded once."""
    levels, image = [texture], texture.astype(np.float32)
    while len(image) > 1:
        image = cv2.resize(image, (len(image) // 2, len(image) // 2), interpolation=cv2.INTER_AREA).reshape(
            len(image) // 2, len(image) // 2, 3
        )
        levels.append(np.rint(image).astype(np.uint8))
    return levels
