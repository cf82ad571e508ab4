"""Blobs and corners of an image, where keypoints can be found to a fraction of a pixel.

The determinant of the Hessian (Beaudet 1978) at several scales, made comparable between them (Lindeberg 1998). Its
maxima stay where they are under changes of light and viewpoint more exactly than those of a score that a network
computes at a quarter of the size.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional

# A factor of the root of two apart, up to what a descriptor of a map at stride 4 still tells apart.
SCALES_PX = (1.2, 1.7, 2.4, 3.4)


def hessian_response(grey: Tensor) -> Tensor:
    """The root of the determinant's magnitude, the largest over the scales, of grey images (B, 1, H, W) from 0 to 1.

    An ideal edge has none. Like its maxima, it is zero at the outermost pixels.
    """
    with torch.autocast(grey.device.type, enabled=False):
        smooth, reached = grey.float(), 0.0
        response: Tensor | None = None
        for scale in SCALES_PX:
            smooth = _blurred(smooth, math.sqrt(scale**2 - reached**2))
            reached = scale
            determinant = _hessian_determinant(smooth).abs_().sqrt_() * scale**2
            response = determinant if response is None else torch.maximum(response, determinant)
    return functional.pad(response, (1, 1, 1, 1))


def _hessian_determinant(image: Tensor) -> Tensor:
    """Of the inner pixels, (B, 1, H - 2, W - 2), by central differences."""
    inner = image[..., 1:-1, 1:-1]
    xx = image[..., 1:-1, 2:] - 2 * inner + image[..., 1:-1, :-2]
    yy = image[..., 2:, 1:-1] - 2 * inner + image[..., :-2, 1:-1]
    xy = (image[..., 2:, 2:] - image[..., 2:, :-2] - image[..., :-2, 2:] + image[..., :-2, :-2]) / 4
    return xx * yy - xy * xy


def _blurred(image: Tensor, sigma: float) -> Tensor:
    """Gaussian blur; the image goes on as a mirror beyond its borders."""
    radius = math.ceil(3 * sigma)
    steps = torch.arange(-radius, radius + 1, dtype=image.dtype, device=image.device)
    kernel = torch.exp(-steps.square() / (2 * sigma**2))
    kernel = kernel / kernel.sum()
    padded = functional.pad(image, (radius,) * 4, mode="reflect")
    return functional.conv2d(functional.conv2d(padded, kernel.view(1, 1, 1, -1)), kernel.view(1, 1, -1, 1))
