"""Photometric refinement of matches: the second point moves until its patch looks like that of the first.

Keypoints of two images are detected independently, each with its own error. The refinement has two steps:

1. A local affinity (rotation, scale and shear of the neighbourhood) is fitted to the neighbouring matches.
2. The patch around the first point is aligned with the second image by Gauss-Newton steps on the translation (inverse
   compositional, Baker and Matthews 2004), invariant to brightness and contrast.

The standard deviation of a refined point follows from the remaining difference of the patches and the gradient of the
image (the Cramer-Rao bound of the alignment).
"""

from __future__ import annotations

import importlib.util
from dataclasses import dataclass
from functools import cache
from typing import NamedTuple

import numpy as np
import torch
from scipy.spatial import cKDTree
from torch import Tensor
from torch.nn import functional

from ros_matching.config import Config, parameter
from ros_matching.datatypes import Features
from ros_matching.matching.parts import MatchRefiner

_RADIUS_PX = 5
_TINY = 1e-6
# Standard deviations along an axis, fitted to distances from epipolar lines on training frames of real sequences.
_BOUND_FACTOR = 0.3  # of the bound, which assumes independent pixels
_MODEL_STD_PX = 0.2  # by calibration, rolling shutter and curved surfaces, however well patches are aligned
_KEYPOINT_STD_PX = 0.9  # of points that could not be aligned


@dataclass(frozen=True)
class RefinementConfig(Config):
    """Settings of the photometric refinement."""

    iterations: int = parameter(6, "Gauss-Newton steps", minimum=1, maximum=50)
    neighbours: int = parameter(12, "neighbouring matches that the local affinity is fitted to", minimum=3, maximum=64)
    max_shift_px: float = parameter(2.0, "a point that would move farther is not refined", minimum=0, maximum=10)
    min_correlation: float = parameter(
        0.8, "correlation of the aligned patches below which a point is not refined", minimum=-1, maximum=1
    )
    patch_std_px: float = parameter(3.0, "standard deviation of the weights of a patch", minimum=0.5, maximum=20)


class PhotometricRefiner(MatchRefiner):
    """Refines matches on the grey images that the features contain."""

    def __init__(self, config: RefinementConfig = RefinementConfig()) -> None:
        self.config = config

    @torch.inference_mode()
    def refine_points(
        self, features0: Features, features1: Features, points0: np.ndarray, points1: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """Return ``points1`` (M, 2) to a fraction of a pixel, and their standard deviations (M,); see ``refine``."""
        if features0.is_restored or features1.is_restored:
            return points1, np.full(len(points1), np.nan)
        grey0, grey1 = features0.grey, features1.grey
        points = (torch.from_numpy(points).to(grey0.device).float() for points in (points0, points1))
        refined, std_px = refine(grey0, grey1, *points, self.config)
        return refined.double().cpu().numpy(), std_px.double().cpu().numpy()


def refine(
    grey0: Tensor, grey1: Tensor, points0: Tensor, points1: Tensor, config: RefinementConfig = RefinementConfig()
) -> tuple[Tensor, Tensor]:
    """Refine ``points1`` (M, 2) of image 1 to the positions of ``points0`` (M, 2); grey images (H, W) of any range.

    Returns them with their standard deviations (M,) in pixels, relative to ``points0`` and along each axis.
    """
    if len(points0) < 4:
        return points1, torch.full_like(points1[:, 0], _KEYPOINT_STD_PX)
    align = _align_compiled if points0.device.type == "cpu" and _has_compiler() else _align
    found = align(grey0.float(), grey1.float(), points0, points1, config)
    good = (found.after >= config.min_correlation) & (found.after >= found.before) & found.is_textured
    good &= (found.points - points1).norm(dim=1) <= config.max_shift_px
    bound_px = ((1 - found.after).clamp(min=0) * found.variance).sqrt()
    aligned_px = torch.hypot(_BOUND_FACTOR * bound_px, torch.full_like(bound_px, _MODEL_STD_PX))
    return torch.where(good[:, None], found.points, points1), torch.where(good, aligned_px, _KEYPOINT_STD_PX)


class _Aligned(NamedTuple):
    """Points (M, 2) after alignment, and of each: the correlation of the patches before and after, (M,).

    ``variance`` (M,) bounds the squared standard deviation in pixels of patches that differ by one, if pixels were
    independent. ``is_textured`` (M,) bool.
    """

    points: Tensor
    before: Tensor
    after: Tensor
    variance: Tensor
    is_textured: Tensor


def _align(grey0: Tensor, grey1: Tensor, points0: Tensor, points1: Tensor, config: RefinementConfig) -> _Aligned:
    affinity = local_affinities(points0, points1, config.neighbours)
    patch = _Patch(grey0, points0, config.patch_std_px)
    moved, correlations = points1, []
    for _ in range(config.iterations):
        step, correlation = patch.step(grey1, moved, affinity)
        moved = moved - (affinity @ step[..., None])[..., 0]
        correlations.append(correlation)
    after = patch.step(grey1, moved, affinity)[1]
    return _Aligned(moved, correlations[0], after, patch.variance, patch.is_textured)


def _align_compiled(
    grey0: Tensor, grey1: Tensor, points0: Tensor, points1: Tensor, config: RefinementConfig
) -> _Aligned:
    """The same as ``_align``, compiled: see ``refinement_compiled``."""
    from ros_matching.matching import refinement_compiled

    images = [grey.contiguous().numpy() for grey in (grey0, grey1)]
    host0, host1 = (points.float().contiguous().numpy() for points in (points0, points1))
    affinities = refinement_compiled.local_affinities(host0, host1, _nearest(host0, config.neighbours))
    weights = patch_weights(config.patch_std_px, grey0).numpy()
    moved, figures = refinement_compiled.align_patches(*images, host0, host1, affinities, weights, config.iterations)
    before, after, variance, is_textured = torch.from_numpy(figures).to(points1).unbind(dim=1)
    return _Aligned(torch.from_numpy(moved).to(points1), before, after, variance, is_textured > 0)


@cache
def _has_compiler() -> bool:
    return importlib.util.find_spec("numba") is not None


def patch_weights(std_px: float, like: Tensor) -> Tensor:
    """Return Gaussian weights (S, S) of a patch with sum one, of the type and device of ``like``."""
    offsets = torch.arange(-_RADIUS_PX, _RADIUS_PX + 1, dtype=like.dtype, device=like.device)
    weight = torch.exp(-(offsets[:, None].square() + offsets.square()) / (2 * std_px**2))
    return weight / weight.sum()


def local_affinities(points0: Tensor, points1: Tensor, neighbours: int, rounds: int = 4) -> Tensor:
    """Fit the local affinity (M, 2, 2) of each match to its nearest neighbours among the matches.

    Iteratively reweighted least squares with a weak prior of the identity, robust to wrong neighbours.
    """
    nearest = torch.from_numpy(_nearest(points0.cpu().numpy(), neighbours)).to(points0.device)
    from0, from1 = points0[nearest] - points0[:, None], points1[nearest] - points1[:, None]
    eye = torch.eye(2, dtype=points0.dtype, device=points0.device)
    prior = 100.0 * eye
    affinity, scale = eye, 2.0 + 0.1 * from0.norm(dim=2)
    for _ in range(rounds):
        residual = (from1 - from0 @ affinity.mT).norm(dim=2)
        weight = 1 / (1 + (residual / scale) ** 2) ** 2
        weighted = weight[..., None] * from0
        affinity = (_inverse(weighted.mT @ from0 + prior) @ (weighted.mT @ from1 + prior)).mT
    return affinity


def _nearest(points: np.ndarray, neighbours: int) -> np.ndarray:
    """Return the rows (M, K) of the nearest other points of each point."""
    count = min(neighbours + 1, len(points))  # each point is its own nearest
    return cKDTree(points).query(points, count)[1][:, 1:]


class _Patch:
    """Patches around points of the first image, with the gradient and Hessian of their alignment."""

    def __init__(self, grey: Tensor, points: Tensor, std_px: float) -> None:
        offsets = torch.arange(-_RADIUS_PX, _RADIUS_PX + 1, dtype=points.dtype, device=points.device)
        y, x = torch.meshgrid(offsets, offsets, indexing="ij")
        self._grid = torch.stack([x.flatten(), y.flatten()], dim=1)
        self._weight = patch_weights(std_px, points).flatten()
        self._levels, self._std = self._normalised(_sample(grey, points[:, None] + self._grid))
        gradient = self._gradient(grey, points) / self._std[..., None]
        gradient = gradient - (self._weight[:, None] * gradient).sum(dim=1, keepdim=True)
        self._weighted = self._weight[:, None] * gradient
        hessian = self._weighted.mT @ gradient
        half_trace = (hessian[:, 0, 0] + hessian[:, 1, 1]) / 2
        smallest = half_trace - (half_trace.square() - _determinant(hessian)).clamp(min=0).sqrt()
        self.is_textured = (self._std[:, 0] > _TINY) & (smallest > 1e-3)
        self._inverse = _inverse(hessian + 1e-4 * torch.eye(2, dtype=points.dtype, device=points.device))

    def _gradient(self, grey: Tensor, points: Tensor) -> Tensor:
        """Return the gradient (M, K, 2) of the image at the patches' pixels, by central differences of one pixel."""
        side = 2 * _RADIUS_PX + 1
        offsets = torch.arange(-_RADIUS_PX - 1, _RADIUS_PX + 1, dtype=points.dtype, device=points.device) + 0.5
        y, x = torch.meshgrid(self._grid[::side, 1], offsets, indexing="ij")
        across = torch.stack([x.flatten(), y.flatten()], dim=1)
        along_x = _sample(grey, points[:, None] + across).view(-1, side, side + 1).diff(dim=2)
        along_y = _sample(grey, points[:, None] + across.flip(1)).view(-1, side, side + 1).diff(dim=2).mT
        return torch.stack([along_x.flatten(1), along_y.flatten(1)], dim=2)

    def step(self, grey: Tensor, points: Tensor, affinity: Tensor) -> tuple[Tensor, Tensor]:
        """Return the displacement of points (M, 2), in pixels of the first image, and the patch correlation (M,)."""
        levels, _ = self._normalised(_sample(grey, points[:, None] + self._grid @ affinity.mT))
        difference = levels - self._levels
        correlation = (self._weight * levels * self._levels).sum(dim=1)
        return (self._inverse @ (self._weighted.mT @ difference[..., None]))[..., 0], correlation

    @property
    def variance(self) -> Tensor:
        """The trace (M,) of the inverse Hessian."""
        return self._inverse[:, 0, 0] + self._inverse[:, 1, 1]

    def _normalised(self, levels: Tensor) -> tuple[Tensor, Tensor]:
        """Return grey levels (M, K) normalised to mean 0 and standard deviation 1, and their deviation (M, 1)."""
        levels = levels - (self._weight * levels).sum(dim=1, keepdim=True)
        std = (self._weight * levels.square()).sum(dim=1, keepdim=True).sqrt()
        return levels / std.clamp(min=_TINY), std


def _determinant(matrices: Tensor) -> Tensor:
    """Determinants of matrices (M, 2, 2)."""
    return matrices[:, 0, 0] * matrices[:, 1, 1] - matrices[:, 0, 1] * matrices[:, 1, 0]


def _inverse(matrices: Tensor) -> Tensor:
    """Inverses of regular matrices (M, 2, 2); the general routine is ten times slower."""
    adjugate = torch.stack(
        [matrices[:, 1, 1], -matrices[:, 0, 1], -matrices[:, 1, 0], matrices[:, 0, 0]], dim=1
    ).unflatten(1, (2, 2))
    return adjugate / _determinant(matrices)[:, None, None]


def _sample(grey: Tensor, points: Tensor) -> Tensor:
    """An image (H, W) at points (M, K, 2) in pixels: (M, K)."""
    size = points.new_tensor([grey.shape[1], grey.shape[0]])
    normalised = (2 * points + 1) / size - 1
    read = functional.grid_sample(
        grey[None, None], normalised[None].to(grey.dtype), padding_mode="border", align_corners=False
    )
    return read[0, 0]
