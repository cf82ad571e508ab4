"""Blobs and corners of an image, where keypoints can be found to a fraction of a pixel.

The determinant of the Hessian (Beaudet 1978) at several scales, made comparable between them (Lindeberg 1998). Its
maxima stay where they are under changes of light and viewpoint more exactly than those of a score that a network
computes at a quarter of the size.
"""

from __future__ import annotations

import math

import cv2
import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

# A factor of the root of two apart, up to what a descriptor of a map at stride 4 still tells apart.
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
        # In place: every array less is a pass over memory less.
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


def _blurred(image: Tensor, sigma: float) -> Tensor:
    """Gaussian blur; the image goes on as a mirror beyond its borders."""
    kernel = _gaussian(sigma).to(image)
    padded = functional.pad(image, (len(kernel) // 2,) * 4, mode="reflect")
    return functional.conv2d(functional.conv2d(padded, kernel.view(1, 1, 1, -1)), kernel.view(1, 1, -1, 1))


def _gaussian(sigma: float) -> Tensor:
    """The weights (K,) of a Gaussian, which add up to one, out to three standard deviations."""
    radius = math.ceil(3 * sigma)
    steps = torch.arange(-radius, radius + 1, dtype=torch.float32)
    kernel = torch.exp(-steps.square() / (2 * sigma**2))
    return kernel / kernel.sum()
