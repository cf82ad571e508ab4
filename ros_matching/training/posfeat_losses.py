"""Losses of the description network, on the position of a point's descriptor in the other image.

``contrastive`` is for pairs with known correspondences, ``epipolar`` (PoSFeat's) is for pairs of known poses without
depth (section 3.2 of the paper, the line-to-window search, equations 1 to 8). Maps are (B, D, h, w), not normalised;
points (B, N, 2) in pixels; ``sample`` reads unit descriptors (B, N, D) off a map, as inference does.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional

from ros_matching.networks.posfeat.sampling import MAP_STRIDE

Sample = Callable[[Tensor, Tensor], Tensor]
_LINE_SAMPLES = 100
_WINDOW = 0.1  # half the side of the window, in normalised coordinates from -1 to 1
_WINDOW_NOISE = 0.707
_MAX_COST = 0.1  # of the shorter side: lines farther away are ignored


def contrastive(
    sample: Sample,
    map0: Tensor,
    map1: Tensor,
    points0: Tensor,
    points1: Tensor,
    valid: Tensor,
    temperature: float,
    exclude_px: float,
) -> tuple[Tensor, Tensor]:
    """Cross-entropy of the true counterpart among all cells of the other image, both ways; and the fraction found.

    Cells nearer than ``exclude_px`` to the true point are neither right nor wrong. ``valid`` (B, N) marks
    points with a counterpart.
    """
    unit0, unit1 = (functional.normalize(map_.float().flatten(2), dim=1) for map_ in (map0, map1))
    descriptors0, descriptors1 = sample(map0, points0), sample(map1, points1)
    positive = (descriptors0 * descriptors1).sum(dim=2)
    losses, found = [], []
    for descriptors, unit, points, shape in (
        (descriptors0, unit1, points1, map1.shape),
        (descriptors1, unit0, points0, map0.shape),
    ):
        others = descriptors @ unit
        others = others.masked_fill(_near(points, shape, exclude_px), -torch.inf)
        logits = torch.cat([positive[..., None], others], dim=2) / temperature
        losses.append(logits.logsumexp(dim=2) - logits[..., 0])
        found.append((others.detach().amax(dim=2) < positive.detach()).float())
    weight = valid.float() / valid.sum().clamp(min=1)
    return ((losses[0] + losses[1]) * weight).sum() / 2, ((found[0] + found[1]) * weight).sum() / 2


def keypoint_contrast(
    descriptors0: Tensor,
    descriptors1: Tensor,
    points0: Tensor,
    points1: Tensor,
    valid: Tensor,
    temperature: float,
    exclude_px: float,
) -> tuple[Tensor, Tensor]:
    """Cross-entropy of a keypoint's counterpart among all keypoints of the other view, both ways: a dual softmax.

    Unit descriptors (B, N, D) at points (B, N, 2); rows correspond where ``valid`` (B, N), all others are wrong except
    those nearer than ``exclude_px`` to the counterpart. Also returns the fraction of mutual nearest ones.
    """
    similarity = descriptors0 @ descriptors1.mT / temperature
    apart = ~torch.eye(similarity.shape[1], dtype=torch.bool, device=similarity.device)
    losses, first = [], []
    for logits, points in ((similarity, points1), (similarity.mT, points0)):
        near = (torch.cdist(points, points) < exclude_px) & apart & valid[:, :, None]
        logits = logits.masked_fill(near, -torch.inf)
        positive = logits.diagonal(dim1=1, dim2=2)
        losses.append(logits.logsumexp(dim=2) - positive)
        first.append(positive >= logits.detach().amax(dim=2))
    # All pairs have the same weight, independent of the number of correspondences.
    weight = valid.float() / valid.sum(dim=1, keepdim=True).clamp(min=1) / valid.any(dim=1).sum().clamp(min=1)
    return ((losses[0] + losses[1]) * weight).sum() / 2, ((first[0] & first[1]) * weight).sum()


def epipolar(
    sample: Sample, map0: Tensor, map1: Tensor, points0: Tensor, fundamental: Tensor, temperature: float
) -> tuple[Tensor, Tensor]:
    """PoSFeat's loss one way, and the fraction of the points used.

    ``fundamental`` (B, 3, 3) takes pixels of image 0 to lines of image 1; scaled arbitrarily. The paper's factor on
    similarities, 60, is one over ``temperature``.
    """
    height, width = (MAP_STRIDE * side for side in map1.shape[-2:])
    half = points0.new_tensor([(width - 1) / 2, (height - 1) / 2])
    queries = sample(map0, points0)
    reference = functional.normalize(map1.float(), dim=1)
    lines = _lines(points0, fundamental)
    centre, on_image = _best_on_line(queries.detach(), reference.detach(), lines, half)
    noise = _WINDOW_NOISE * _WINDOW * (2 * torch.rand_like(centre) - 1)
    centre = (centre + noise).clamp(-1, 1)  # eq. 3
    window = _window(map1.shape[-2:], centre.device)
    grid = centre[:, :, None] + window  # (B, N, K, 2)
    features = _at(reference, grid, padding="zeros")
    probability = torch.softmax(torch.einsum("bnd,bnkd->bnk", queries, features) / temperature, dim=2)
    expected = torch.einsum("bnk,bnkx->bnx", probability, grid)
    variance = torch.einsum("bnk,bnkx->bnx", probability, (grid - expected[:, :, None]).square())
    std = variance.clamp(min=1e-10).sqrt().sum(dim=2)
    pixels = (expected + 1) * half
    cost = ((lines[..., :2] * pixels).sum(dim=2) + lines[..., 2]).abs()
    used = on_image & (cost.detach() < _MAX_COST * min(height, width))
    weight = (1 / std).detach()
    weight = weight / weight.mean() * used
    weight = weight / (weight.mean() + 1e-8)  # eq. 8
    return (weight * cost).mean(), used.float().mean()


def _near(points: Tensor, shape: torch.Size, radius_px: float) -> Tensor:
    """Return True for cells (B, N, h w) of a map nearer than ``radius_px`` to points (B, N, 2), along either axis."""
    rows, columns = (MAP_STRIDE * torch.arange(n, device=points.device) + (MAP_STRIDE - 1) / 2 for n in shape[-2:])
    in_row = (points[..., 1, None] - rows).abs() < radius_px
    in_column = (points[..., 0, None] - columns).abs() < radius_px
    return (in_row[..., :, None] & in_column[..., None, :]).flatten(2)


def _lines(points: Tensor, fundamental: Tensor) -> Tensor:
    """Epipolar lines (B, N, 3) with unit normals."""
    homogeneous = torch.cat([points, torch.ones_like(points[..., :1])], dim=2)
    lines = homogeneous @ fundamental.mT
    return lines / lines[..., :2].norm(dim=2, keepdim=True).clamp(min=1e-8)


@torch.no_grad()
def _best_on_line(queries: Tensor, reference: Tensor, lines: Tensor, half: Tensor) -> tuple[Tensor, Tensor]:
    """Return the most similar of equidistant points of each line (B, N, 2), normalised, and True for existing lines."""
    a, b, c = lines.unbind(dim=2)
    width, height = (2 * half).unbind()
    tiny = torch.finfo(lines.dtype).tiny
    zero = torch.zeros_like(a)
    ends = torch.stack(
        [
            torch.stack([zero, -c / (b + tiny)], dim=2),
            torch.stack([zero + width, -(c + a * width) / (b + tiny)], dim=2),
            torch.stack([-c / (a + tiny), zero], dim=2),
            torch.stack([-(c + b * height) / (a + tiny), zero + height], dim=2),
        ],
        dim=2,
    )  # with the left, right, upper and lower border, (B, N, 4, 2)
    inside = ((ends >= -1e-3) & (ends <= 2 * half + 1e-3)).all(dim=3)
    crosses = inside.sum(dim=2) == 2
    order = inside.float().argsort(dim=2, descending=True, stable=True)[..., :2]
    ends = ends.gather(2, order[..., None].expand(-1, -1, -1, 2))
    fraction = torch.linspace(0, 1, _LINE_SAMPLES, device=ends.device)[:, None]
    samples = ends[:, :, :1] * (1 - fraction) + ends[:, :, 1:] * fraction
    samples = torch.where(crosses[..., None, None], samples, zero[..., None, None]) / half - 1
    similarity = torch.einsum("bnd,bnkd->bnk", queries, _at(reference, samples, padding="border"))
    best = similarity.argmax(dim=2)
    return samples.gather(2, best[..., None, None].expand(-1, -1, 1, 2))[:, :, 0], crosses


def _window(shape: torch.Size, device: torch.device) -> Tensor:
    """Offsets (K, 2) of a window that has one point for each cell of the map, in normalised coordinates."""
    rows, columns = (torch.linspace(-_WINDOW, _WINDOW, max(int(_WINDOW * n), 2), device=device) for n in shape)
    return torch.stack(torch.meshgrid(columns, rows, indexing="xy"), dim=2).flatten(0, 1)


def _at(reference: Tensor, grid: Tensor, padding: str) -> Tensor:
    """The map (B, D, h, w) read at normalised points (B, N, K, 2): (B, N, K, D)."""
    read = functional.grid_sample(reference, grid, mode="bilinear", padding_mode=padding, align_corners=False)
    return read.permute(0, 2, 3, 1)
