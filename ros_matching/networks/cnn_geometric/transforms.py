"""The geometric transformations that the network regresses, in unit coordinates.

Unit coordinates: x right, y down, (-1, -1) is the centre of an image's first pixel and (1, 1) that of its last. Points
are (B, N, 2). A transformation is given by its model and parameters theta (B, P), as the published networks order them:

* ``affine``, 6: the rows (a11, a12, tx), (a21, a22, ty).
* ``homography``, 8: where the corners (-1, -1), (-1, 1), (1, -1), (1, 1) go, first the four x, then the four y.
* ``homography_matrix``, 9: the 3x3 matrix, row by row.
* ``tps``, 18: where a regular 3x3 grid of control points goes, x as the slow index; first the nine x, then the nine y.

Theta takes points of the target to the source, so that sampling the source at the mapped grid lays it on the target.
"""

from __future__ import annotations

from functools import lru_cache

import torch
from torch import Tensor
from torch.nn import functional

PARAMETERS = {"affine": 6, "homography": 8, "homography_matrix": 9, "tps": 18}

_CORNERS = ((-1.0, -1.0), (-1.0, 1.0), (1.0, -1.0), (1.0, 1.0))
_CONTROL_POINTS = tuple((float(x), float(y)) for x in (-1, 0, 1) for y in (-1, 0, 1))
_POINT_EPSILON = 1e-5  # of the published code, keeps points on the line at infinity finite; images are sampled without


def identity(model: str) -> Tensor:
    """The parameters (P,) of the identity."""
    if model in ("affine", "homography_matrix"):
        return torch.eye(3).flatten()[: PARAMETERS[model]]
    return torch.tensor(_CORNERS if model == "homography" else _CONTROL_POINTS).T.flatten()


def matrix_of(model: str, theta: Tensor) -> Tensor:
    """The matrix (B, 3, 3) of an affine transformation or homography; of the homography by corners with h33 = 1."""
    if model == "homography":
        return homography_from_corners(theta)
    if model == "homography_matrix":
        return theta.reshape(-1, 3, 3)
    return torch.cat([theta.reshape(-1, 2, 3), _last_row(theta).expand(len(theta), 1, 3)], dim=1)


def homography_from_corners(theta: Tensor) -> Tensor:
    """The homography (B, 3, 3), h33 = 1, that takes the corners of the unit square to the given ones (B, 8).

    In closed form (Heckbert 1989, square to quadrilateral, with the sides of the square from -1 to 1), where a solver
    would wait for the device. Infinite where three corners lie on a line.
    """
    top_left, bottom_left, top_right, bottom_right = theta.reshape(-1, 2, 4).unbind(2)
    right, below = top_right - bottom_right, bottom_left - bottom_right
    excess = top_left - top_right + bottom_right - bottom_left
    area = _cross(right, below)
    g, h = _cross(excess, below) / area, _cross(right, excess) / area
    along_x = top_right - top_left + g[:, None] * top_right
    along_y = bottom_left - top_left + h[:, None] * bottom_left
    # So far for a square from 0 to 1, whose coordinates are (x + 1) / 2.
    xy = torch.stack([along_x, along_y, 2 * top_left + along_x + along_y], dim=2)
    w = torch.stack([g, h, 2 + g + h], dim=1)[:, None]
    return torch.cat([xy, w], dim=1) / w[..., 2:]


def transform_points(model: str, theta: Tensor, points: Tensor, epsilon: float = _POINT_EPSILON) -> Tensor:
    """Transform points (B, N, 2); ``epsilon`` is added to the magnitude of a homography's denominator."""
    with _full_precision(theta):
        if model == "tps":
            return tps_weights(points) @ theta.reshape(-1, 2, 9).transpose(1, 2)
        matrix = matrix_of(model, theta)
        mapped = points @ matrix[:, :, :2].transpose(1, 2) + matrix[:, None, :, 2]
    if model == "affine":
        return mapped[..., :2]
    denominator = mapped[..., 2:]
    return mapped[..., :2] / (denominator + epsilon * denominator.sign())


def tps_weights(points: Tensor) -> Tensor:
    """Return the weights (B, N, 9) of the nine control points of a thin-plate spline at points (B, N, 2).

    The kernel is r^2 log r^2, the spline interpolates. It is linear in where the control points go, so that one product
    with these weights warps a point.
    """
    control = torch.tensor(_CONTROL_POINTS, dtype=points.dtype, device=points.device)
    basis = torch.cat([_kernel(points, control), _affine_part(points)], dim=-1)
    return basis @ _tps_inverse(points.dtype, points.device)[:, :9]


def unit_grid(height: int, width: int, like: Tensor, align_corners: bool = True) -> Tensor:
    """The pixel centres of an image in unit coordinates, (height * width, 2), row by row.

    ``align_corners=False`` puts -1 and 1 at the outer edges of the first and last pixel instead.
    """
    sides = [torch.linspace(-1, 1, side, dtype=like.dtype, device=like.device) for side in (height, width)]
    if not align_corners:
        sides = [axis * (len(axis) - 1) / len(axis) for axis in sides]
    y, x = torch.meshgrid(*sides, indexing="ij")
    return torch.stack([x, y], dim=-1).reshape(-1, 2)


def sampling_grid(model: str, theta: Tensor, height: int, width: int) -> Tensor:
    """Return the source positions (B, height, width, 2) of the target's pixels, as input of ``grid_sample``."""
    points = unit_grid(height, width, theta).expand(len(theta), -1, 2)
    return transform_points(model, theta, points, epsilon=0.0).reshape(-1, height, width, 2)


def warp(source: Tensor, model: str, theta: Tensor) -> Tensor:
    """The source (B, C, H, W) laid on the target, in single precision at least; zero outside of it.

    ``align_corners`` as PyTorch behaved when the published weights were trained; its default is another one today.
    """
    source = source if source.dtype == torch.float64 else source.float()
    grid = sampling_grid(model, theta.to(source.dtype), *source.shape[-2:])
    with _full_precision(theta):
        return functional.grid_sample(source, grid, mode="bilinear", align_corners=True)


def compose(model: str, outer: Tensor, inner: Tensor) -> Tensor:
    """Parameters (B, P) of ``outer`` after ``inner``; of splines the one through ``outer`` of inner's control points.

    The composition of two splines is none; the result agrees with it at the control points only.
    """
    if model in ("affine", "homography_matrix"):
        with _full_precision(outer):
            matrix = matrix_of(model, outer) @ matrix_of(model, inner)
        return matrix.flatten(1)[:, : PARAMETERS[model]]
    goals = inner.reshape(len(inner), 2, -1).transpose(1, 2)
    return transform_points(model, outer, goals, epsilon=0.0).transpose(1, 2).flatten(1)


def tps_system_inverse() -> Tensor:
    """The inverse (12, 12) float64 of the spline's system [[K, P], [P^T, 0]] over the control points."""
    control = torch.tensor(_CONTROL_POINTS, dtype=torch.float64)
    affine = _affine_part(control)
    corner = torch.zeros(3, 3, dtype=torch.float64)
    system = torch.cat([torch.cat([_kernel(control, control), affine], 1), torch.cat([affine.T, corner], 1)])
    return torch.linalg.inv(system)


@lru_cache(maxsize=16)
def _tps_inverse(dtype: torch.dtype, device: torch.device) -> Tensor:
    # Cached on each device: copying it for every warp would make the host wait. A tensor first created for
    # inference must serve training too, which refuses tensors made in inference mode.
    with torch.inference_mode(False):
        return tps_system_inverse().to(device, dtype)


def _full_precision(tensor: Tensor) -> torch.autocast:
    """No reduced precision here: half of it moves a point by a pixel."""
    return torch.autocast(device_type=tensor.device.type, enabled=False)


def _kernel(points: Tensor, control: Tensor) -> Tensor:
    squared = (points[..., :, None, :] - control).square().sum(dim=-1)
    squared = torch.where(squared == 0, torch.ones_like(squared), squared)  # 0 log 0 = 0 = 1 log 1
    return squared * squared.log()


def _affine_part(points: Tensor) -> Tensor:
    return torch.cat([torch.ones_like(points[..., :1]), points], dim=-1)


def _cross(a: Tensor, b: Tensor) -> Tensor:
    return a[:, 0] * b[:, 1] - a[:, 1] * b[:, 0]


def _last_row(like: Tensor) -> Tensor:
    return torch.tensor([0.0, 0.0, 1.0], dtype=like.dtype, device=like.device)


_ROUNDS = 4
_RIDGE = 1e-2  # added to a sum of 225 weights of at most 1
_BENDING_RIDGE = 1e-2
_INLIER_DISTANCE = 0.15  # in unit coordinates: about a cell


def robust_fit(model: str, points: Tensor, goals: Tensor, weights: Tensor) -> tuple[Tensor, Tensor]:
    """Theta (B, P), and the weights (B, N) by how well each goal is met.

    Every round after the first weighs by the distances that the last one left (Geman and McClure).
    """
    theta, robust = _rounds("affine", points, goals, weights, weights)
    if model == "affine":
        return theta, robust
    return _rounds(model, points, goals, weights, robust, theta)


def _rounds(
    model: str, points: Tensor, goals: Tensor, weights: Tensor, robust: Tensor, affine: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    expanded = points.expand(len(goals), -1, 2)
    theta = identity("affine").to(points).expand(len(goals), 6) if affine is None else as_model(model, affine)
    for _ in range(_ROUNDS):
        if model == "tps":
            theta = _spline(points, goals, robust, as_model(model, affine))
        elif affine is None:
            theta = _affine(points, goals, robust)
        else:
            theta = _homography(model, points, goals, robust, affine, theta)
        distance = (transform_points(model, theta, expanded) - goals).square().sum(dim=2)
        robust = weights / (1 + distance / _INLIER_DISTANCE**2).square()
    return theta, robust


def _affine(points: Tensor, goals: Tensor, weights: Tensor) -> Tensor:
    design = torch.cat([points, torch.ones_like(points[:, :1])], dim=1)
    change = _solved(design, goals - points, weights, _RIDGE)
    return identity("affine").to(points) + change.transpose(1, 2).flatten(1)


def _spline(points: Tensor, goals: Tensor, weights: Tensor, start: Tensor) -> Tensor:
    """Control points near those of ``start`` (B, 18): a spline is linear in them."""
    design = tps_weights(points)
    control = start.view(len(start), 2, 9).transpose(1, 2)
    return start + _solved(design, goals - design @ control, weights, _BENDING_RIDGE).transpose(1, 2).flatten(1)


def _homography(model: str, points: Tensor, goals: Tensor, weights: Tensor, affine: Tensor, last: Tensor) -> Tensor:
    """The direct linear transformation with h33 = 1, each point weighted by its denominator in the last round."""
    matrix = matrix_of(model, last)
    denominator = points @ matrix[:, 2, :2].unsqueeze(2) + matrix[:, 2, 2, None, None]
    weights = weights / denominator.squeeze(2).square().clamp(min=0.05)
    ones = torch.cat([points, torch.ones_like(points[:, :1])], dim=1).expand(len(goals), -1, 3)
    zeros = torch.zeros_like(ones)
    across = torch.cat([ones, zeros, -points * goals[..., :1]], dim=2)
    down = torch.cat([zeros, ones, -points * goals[..., 1:]], dim=2)
    design = torch.cat([across, down], dim=1)
    start = torch.cat([affine, torch.zeros_like(affine[:, :2])], dim=1).unsqueeze(2)
    wanted = torch.cat([goals[..., 0], goals[..., 1]], dim=1).unsqueeze(2) - design @ start
    change = _solved(design, wanted, weights.repeat(1, 2), _BENDING_RIDGE)
    entries = torch.cat([(start + change).squeeze(2), torch.ones_like(affine[:, :1])], dim=1)
    if model == "homography_matrix":
        return entries
    corners = identity("homography").to(points).view(2, 4).T.expand(len(goals), -1, 2)
    return transform_points("homography_matrix", entries, corners).transpose(1, 2).flatten(1)


def _solved(design: Tensor, wanted: Tensor, weights: Tensor, ridge: float) -> Tensor:
    """Solve ``design`` (B, N, K) x = ``wanted`` (B, N, C) by weighted least squares; returns x (B, K, C)."""
    weighted = (weights.unsqueeze(2) * design).transpose(1, 2)
    system = weighted @ design + ridge * torch.eye(design.shape[-1], dtype=design.dtype, device=design.device)
    inverse, _ = torch.linalg.inv_ex(system)  # unlike solve, waits for no device
    return inverse @ (weighted @ wanted)


def as_model(model: str, affine: Tensor) -> Tensor:
    """The parameters (B, P) of an affine transformation (B, 6) as another model has them."""
    if model == "affine":
        return affine
    if model == "homography_matrix":
        return torch.cat([affine, affine.new_tensor([0.0, 0.0, 1.0]).expand(len(affine), 3)], dim=1)
    control = identity(model).to(affine).view(2, -1).T
    return transform_points("affine", affine, control.expand(len(affine), -1, 2)).transpose(1, 2).flatten(1)
