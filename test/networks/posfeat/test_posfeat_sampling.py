"""Sampling positions, by maps whose direction encodes the position."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from ros_matching.networks.posfeat.sampling import sample_aligned, sample_published

HEIGHT, WIDTH = 48, 64


@pytest.fixture
def ramp() -> Tensor:
    """A map (1, 3, H/4, W/4) of (u, v, 1), which survives the normalisation as a direction."""
    v, u = torch.meshgrid(torch.arange(HEIGHT // 4.0), torch.arange(WIDTH // 4.0), indexing="ij")
    return torch.stack([u, v, torch.ones_like(u)])[None].double()


def place(descriptors: Tensor) -> Tensor:
    return descriptors[..., :2] / descriptors[..., 2:]


def test_aligned_sampling_reads_at_the_cell_under_the_pixel(ramp: Tensor) -> None:
    points = torch.tensor([[[1.5, 1.5], [30.0, 20.25], [61.5, 45.5]]], dtype=torch.float64)
    torch.testing.assert_close(place(sample_aligned(ramp, points)), (points + 0.5) / 4 - 0.5)


def test_aligned_sampling_extrapolates_beyond_the_outermost_cells(ramp: Tensor) -> None:
    corners = torch.tensor([[[0.0, 0.0], [WIDTH - 1.0, HEIGHT - 1.0]]], dtype=torch.float64)
    last = [WIDTH / 4 - 1, HEIGHT / 4 - 1]
    expected = torch.tensor([[[0.0, 0.0], last]], dtype=torch.float64)
    torch.testing.assert_close(place(sample_aligned(ramp, corners)), expected)


def test_published_sampling_is_off_by_half_a_pixel_at_most(ramp: Tensor) -> None:
    points = torch.tensor([[[4.0, 4.0], [31.5, 23.5], [58.0, 42.0]]], dtype=torch.float64)
    size = torch.tensor([WIDTH, HEIGHT], dtype=torch.float64)
    sampled = place(sample_published(ramp, points))
    torch.testing.assert_close(sampled, points / 4 * size / (size - 1) - 0.5)
    offset_px = 4 * (sampled - place(sample_aligned(ramp, points)))
    assert offset_px.abs().max() < 0.5
    torch.testing.assert_close(offset_px[0, 1], torch.zeros(2, dtype=torch.float64))


def test_descriptors_are_of_unit_length_and_half_precision_maps_are_sampled_in_full(ramp: Tensor) -> None:
    points = torch.rand(1, 50, 2, dtype=torch.float64) * 40 + 4
    for sample in (sample_aligned, sample_published):
        sampled = sample(ramp.half(), points)
        assert sampled.dtype == torch.float32
        torch.testing.assert_close(sampled.norm(dim=-1), torch.ones(1, 50))
        torch.testing.assert_close(sampled.double(), sample(ramp, points), rtol=0, atol=1e-5)
