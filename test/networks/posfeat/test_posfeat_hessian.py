"""The Hessian's response on blobs, edges and images with known response."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from ros_matching.networks.posfeat.keypoints import SCALES_PX, detect_on_response, hessian_response


def blob(x: float, y: float, sigma: float, contrast: float = 0.5, height: int = 60, width: int = 80) -> Tensor:
    rows, columns = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    return 0.2 + contrast * torch.exp(-((columns - x) ** 2 + (rows - y) ** 2) / (2 * sigma**2))[None, None]


@pytest.mark.parametrize("sigma", [1.2, 2.4])
def test_a_blob_is_found_to_a_fraction_of_a_pixel(sigma: float) -> None:
    image = blob(31.3, 28.8, sigma)
    response = hessian_response(image)
    [found] = detect_on_response(response, torch.ones_like(response), 3, 0.01, 5)
    torch.testing.assert_close(found.points[:1], torch.tensor([[31.3, 28.8]]), rtol=0, atol=0.06)


def test_the_response_of_a_blob_is_the_formula_of_scale_space() -> None:
    """A Gaussian of variance s, smoothed by t, has at its top a Hessian of contrast s / (s + t)^2 along each axis."""
    s = 4.0**2
    response = hessian_response(blob(40, 30, math.sqrt(s), contrast=1.0))
    expected = max(t**2 * s / (s + t**2) ** 2 for t in SCALES_PX)
    assert response[0, 0, 30, 40].item() == pytest.approx(expected, rel=0.03)


def test_on_a_cpu_it_is_the_same_as_by_convolutions() -> None:
    images = torch.rand(2, 1, 47, 66, generator=torch.Generator().manual_seed(0))
    found = hessian_response(images)
    expected = hessian_response(images.clone().requires_grad_())  # what has a gradient is left to convolutions
    assert expected.requires_grad
    assert not found.requires_grad
    # The root magnifies rounding where there is no response.
    torch.testing.assert_close(found.square(), expected.detach().square(), rtol=1e-3, atol=1e-6)


def test_an_edge_and_a_flat_image_have_none() -> None:
    edge = torch.zeros(1, 1, 60, 80)
    edge[..., 40:] = 1.0
    assert hessian_response(edge).max() < 1e-3
    assert hessian_response(torch.full((1, 1, 60, 80), 0.7)).max() < 1e-3


def test_it_is_computed_in_full_precision_and_linear_in_contrast() -> None:
    image = blob(40, 30, 2.0)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        response = hessian_response(image)
    assert response.dtype == torch.float32
    torch.testing.assert_close(hessian_response(0.2 * image), 0.2 * response, rtol=1e-3, atol=1e-5)
