"""Keypoints from a score map: local maxima above a threshold, the strongest of them, to sub-pixel."""

from __future__ import annotations

import math
from typing import NamedTuple

import cv2
import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

_MAX_SHIFT_PX = 0.75
BORDER_PX = 1  # keypoints keep this distance, so that each has a full 3x3 neighbourhood


class Keypoints(NamedTuple):
    """Keypoints of one image: ``points`` (N, 2) pixels, ``scores`` (N,), strongest first."""

    points: Tensor
    scores: Tensor


def local_maxima(score: Tensor, radius: int) -> Tensor:
    """Return (B, 1, H, W) bool, True for the maximum of the (2 ``radius`` + 1)-square around each pixel.

    The outermost pixels never are. Of equal pixels in a window the first in reading order counts. As the map is
    continued by reflection, that first one may be a mirror image: the authors' code has it so.
    """
    inner = score[..., BORDER_PX:-BORDER_PX, BORDER_PX:-BORDER_PX]
    height, width = inner.shape[-2:]
    padded = functional.pad(inner, (radius,) * 4, mode="reflect")
    bands = _running_max(_running_max(padded, 2 * radius + 1, dim=-1), radius, dim=-2)
    sides = _running_max(padded[..., radius : radius + height, :], radius, dim=-1)
    before = torch.maximum(bands[..., :height, :], sides[..., :width])
    after = torch.maximum(bands[..., radius + 1 :, :], sides[..., radius + 1 :])
    return functional.pad((inner > before) & (inner >= after), (BORDER_PX,) * 4)


def _running_max(x: Tensor, length: int, dim: int) -> Tensor:
    """The maximum of every ``length`` consecutive entries along ``dim``, by doubling.

    On a CPU the whole search so takes 1.9 ms at 640x480, whatever the radius; by ``max_pool2d``, 17 to 53 ms.
    """
    covered = 1
    while covered < length:
        step = min(covered, length - covered)
        x = torch.maximum(x.narrow(dim, 0, x.shape[dim] - step), x.narrow(dim, step, x.shape[dim] - step))
        covered += step
    return x


def detect(
    score: Tensor, radius: int, threshold: float, max_keypoints: int, allowed: Tensor | None = None
) -> list[Keypoints]:
    """Keypoints of every image of a score map (B, 1, H, W): at most ``max_keypoints``, and none that fail a test.

    A keypoint is the maximum within ``radius`` pixels (at least 1), scores more than ``threshold``, and lies where
    ``allowed`` (B, 1, H, W) bool is true. They are ranked by the score at the maximum; the result is the
    refined position and score.
    """
    mask = local_maxima(score, radius) & (score > threshold)
    if allowed is not None:
        mask &= allowed
    return [_strongest(image[0], keep[0], max_keypoints) for image, keep in zip(score, mask, strict=True)]


def detect_on_response(
    response: Tensor,
    score: Tensor,
    radius: int,
    min_response: float,
    max_keypoints: int,
    allowed: Tensor | None = None,
) -> list[Keypoints]:
    """Detect keypoints at the maxima of a response map, and rank them by the scores.

    As ``detect``, with ``response`` (B, 1, H, W) in its place; keypoints are ranked by the score times the root of the
    response, and refined by a quadratic surface through the response.
    """
    mask = local_maxima(response, radius) & (response > min_response)
    if allowed is not None:
        mask &= allowed
    rank = response.sqrt() * score
    return [_ranked(*(x[0] for x in image), max_keypoints) for image in zip(response, rank, score, mask, strict=True)]


def _ranked(response: Tensor, rank: Tensor, score: Tensor, mask: Tensor, max_keypoints: int) -> Keypoints:
    index = mask.flatten().nonzero()[:, 0]
    index = index[rank.flatten()[index].argsort(descending=True, stable=True)[:max_keypoints]]
    return Keypoints(_centre(index, response.shape[1]) + _peak(response, index), score.flatten()[index])


def _peak(response: Tensor, index: Tensor) -> Tensor:
    """Return the maximum (N, 2) of the quadratic surface through a 3x3 neighbourhood, within a pixel of its centre."""
    p = response.flatten()[_around(response, index)].unflatten(1, (3, 3))
    gx, gy = (p[:, 1, 2] - p[:, 1, 0]) / 2, (p[:, 2, 1] - p[:, 0, 1]) / 2
    xx, yy = p[:, 1, 2] + p[:, 1, 0] - 2 * p[:, 1, 1], p[:, 2, 1] + p[:, 0, 1] - 2 * p[:, 1, 1]
    xy = (p[:, 2, 2] + p[:, 0, 0] - p[:, 0, 2] - p[:, 2, 0]) / 4
    determinant = xx * yy - xy * xy
    shift = torch.stack([xy * gy - yy * gx, xy * gx - xx * gy], dim=1) / determinant.clamp(min=1e-20)[:, None]
    return torch.where((determinant > 0)[:, None], shift.clamp(-_MAX_SHIFT_PX, _MAX_SHIFT_PX), 0.0)


def _strongest(score: Tensor, mask: Tensor, max_keypoints: int) -> Keypoints:
    index = mask.flatten().nonzero()[:, 0]
    values = score.flatten()[index]
    order = values.argsort(descending=True, stable=True)[:max_keypoints]
    return _refined(score, index[order])


def _refined(score: Tensor, index: Tensor) -> Keypoints:
    """The centroid of the scores in the 3x3 neighbourhood, less than a pixel away, and the maximum there."""
    values = score.flatten()[_around(score, index)]
    step = torch.arange(-1, 2, device=score.device)
    dy, dx = torch.meshgrid(step.to(values), step.to(values), indexing="ij")
    offsets = torch.stack([dx.flatten(), dy.flatten()], dim=1)
    shift = (values @ offsets) / values.sum(dim=1, keepdim=True)
    return Keypoints(_centre(index, score.shape[1]) + shift, values.amax(dim=1))


def _around(score: Tensor, index: Tensor) -> Tensor:
    """The flat indices (N, 9) of the 3x3 neighbourhood, row by row."""
    step = torch.arange(-1, 2, device=score.device)
    return index[:, None] + (step[:, None] * score.shape[1] + step).flatten()


def _centre(index: Tensor, width: int) -> Tensor:
    return torch.stack([index % width, torch.div(index, width, rounding_mode="floor")], dim=1)


# A factor of the root of two apart, up to the resolution of a descriptor map at stride 4.
SCALES_PX = (1.2, 1.7, 2.4, 3.4)


def hessian_response(grey: Tensor) -> Tensor:
    """The root of the determinant's magnitude, the largest over the scales, of grey images (B, 1, H, W) from 0 to 1.

    An ideal edge has none. Like its maxima, it is zero at the outermost pixels. On a CPU OpenCV computes it, in a fifth
    of the time that convolutions of one channel take there; no gradient passes through it then.
    """
    if grey.device.type == "cpu" and not (grey.requires_grad and torch.is_grad_enabled()):
        images = grey.detach().float().flatten(0, 1).numpy()
        return torch.from_numpy(np.stack([_response_on_host(image) for image in images]))[:, None]
    return _response_on_device(grey)


def _response_on_device(grey: Tensor) -> Tensor:
    with torch.autocast(grey.device.type, enabled=False):
        smooth, reached = grey.float(), 0.0
        response: Tensor | None = None
        for scale in SCALES_PX:
            smooth = _blurred(smooth, math.sqrt(scale**2 - reached**2))
            reached = scale
            determinant = _hessian_determinant(smooth).abs_().sqrt_() * scale**2
            response = determinant if response is None else torch.maximum(response, determinant)
    return functional.pad(response, (1, 1, 1, 1))


def _response_on_host(grey: np.ndarray) -> np.ndarray:
    """The same of one image (H, W) float32."""
    smooth, reached = grey, 0.0
    response = np.zeros_like(grey)
    for scale in SCALES_PX:
        kernel = _gaussian(math.sqrt(scale**2 - reached**2)).numpy()
        smooth = cv2.sepFilter2D(smooth, -1, kernel, kernel, borderType=cv2.BORDER_REFLECT_101)
        reached = scale
        determinant, yy, xy = (cv2.Sobel(smooth, -1, dx, dy, ksize=1) for dx, dy in ((2, 0), (0, 2), (1, 1)))
        # In place: every temporary array costs a pass over memory.
        determinant *= yy
        xy *= xy
        xy /= 16  # central differences are over two pixels each way
        determinant -= xy
        np.sqrt(np.abs(determinant, out=determinant), out=determinant)
        determinant *= np.float32(scale**2)
        np.maximum(response, determinant, out=response)
    response[[0, -1]] = response[:, [0, -1]] = 0
    return response


def _hessian_determinant(image: Tensor) -> Tensor:
    """Of the inner pixels, (B, 1, H - 2, W - 2), by central differences."""
    inner = image[..., 1:-1, 1:-1]
    xx = image[..., 1:-1, 2:] - 2 * inner + image[..., 1:-1, :-2]
    yy = image[..., 2:, 1:-1] - 2 * inner + image[..., :-2, 1:-1]
    xy = (image[..., 2:, 2:] - image[..., 2:, :-2] - image[..., :-2, 2:] + image[..., :-2, :-2]) / 4
    return xx * yy - xy * xy


def _blurred(image: Tensor, std: float) -> Tensor:
    """Gaussian blur; the image is mirrored at its borders."""
    kernel = _gaussian(std).to(image)
    padded = functional.pad(image, (len(kernel) // 2,) * 4, mode="reflect")
    return functional.conv2d(functional.conv2d(padded, kernel.view(1, 1, 1, -1)), kernel.view(1, 1, -1, 1))


def _gaussian(std: float) -> Tensor:
    """The weights (K,) of a Gaussian, with sum one, out to three standard deviations."""
    radius = math.ceil(3 * std)
    steps = torch.arange(-radius, radius + 1, dtype=torch.float32)
    kernel = torch.exp(-steps.square() / (2 * std**2))
    return kernel / kernel.sum()
