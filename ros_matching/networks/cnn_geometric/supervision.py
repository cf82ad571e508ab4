"""What CNNGeometric learns from (section 4): image pairs made by a known transformation, and a loss between two.

All in unit coordinates, see ``transforms``.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional

from ros_matching.networks.cnn_geometric.transforms import sampling_grid, transform_points, unit_grid

LOSS_GRID = 20  # points along each side
_PADDING = 0.5  # of the image's sides, mirrored on each of them
_CROP = 9 / 16  # of the image's sides, what the pair shows of it


def grid_loss(model: str, theta: Tensor, true_theta: Tensor) -> Tensor:
    """Mean squared distance between where two transformations (B, P) take a grid of points (equation 4)."""
    points = unit_grid(LOSS_GRID, LOSS_GRID, like=theta).expand(len(theta), -1, 2)
    difference = transform_points(model, theta, points) - transform_points(model, true_theta, points)
    return difference.square().sum(dim=-1).mean()


def synthetic_pair(
    image: Tensor, model: str, theta: Tensor, size: int, align_corners: bool = True
) -> tuple[Tensor, Tensor]:
    """Source and target (B, C, size, size) of images (B, C, H, W), which theta (B, P) aligns.

    The source shows the middle of the image, the target what theta samples around there; the image is continued by its
    mirror image. ``align_corners=False`` is what the published code does on today's PyTorch, to whose default it leaves
    that; the published weights were trained with True.
    """
    padded = pad_symmetric(image, round(_PADDING * image.shape[2]), round(_PADDING * image.shape[3]))
    scale = _CROP / (1 + 2 * _PADDING)
    affine_grid = unit_grid(size, size, like=image, align_corners=align_corners).expand(len(image), -1, 2)
    source = affine_grid.reshape(-1, size, size, 2)
    if model == "affine":
        target = transform_points(model, theta, affine_grid).reshape(-1, size, size, 2)
    else:  # the published code spans these grids from pixel centre to pixel centre in any case
        target = sampling_grid(model, theta, size, size)
    return tuple(functional.grid_sample(padded, grid * scale, align_corners=align_corners) for grid in (source, target))


def synthetic_views(image: Tensor, warps: Sequence[tuple[str, Tensor]], size: tuple[int, int]) -> list[Tensor]:
    """What each warp, (model, theta), shows of images (B, C, H, W): views (B, C, *size), not only square ones.

    As ``synthetic_pair``, whose source is the view of the identity: theta takes a view's points to that one.
    """
    padded = pad_symmetric(image, round(_PADDING * image.shape[2]), round(_PADDING * image.shape[3]))
    scale = _CROP / (1 + 2 * _PADDING)
    grids = [sampling_grid(model, theta.to(image), *size) for model, theta in warps]
    return [functional.grid_sample(padded, grid * scale, align_corners=True) for grid in grids]


def pad_symmetric(image: Tensor, rows: int, columns: int) -> Tensor:
    """The image (B, C, H, W) continued on all sides by its mirror image, its border pixels repeated."""
    height, width = image.shape[-2:]
    y = torch.arange(-rows, height + rows, device=image.device) % (2 * height)
    x = torch.arange(-columns, width + columns, device=image.device) % (2 * width)
    y, x = torch.minimum(y, 2 * height - 1 - y), torch.minimum(x, 2 * width - 1 - x)
    return image[..., y[:, None], x]
