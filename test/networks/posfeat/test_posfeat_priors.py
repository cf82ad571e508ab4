"""The hand-made priors, on maps where their values are known."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from ros_matching.errors import ConfigError
from ros_matching.networks.posfeat.network import DetectionConfig, DetectionNetwork, dissimilarity, peakiness

SIZE = 12


@pytest.fixture
def diagonal() -> Tensor:
    """A map (1, 1, 12, 12) that a step right and down does not change: a hash of column - row."""
    steps = torch.arange(SIZE)
    offset = steps[None, :] - steps[:, None]
    return torch.sin(offset.double().square() * 1.7)[None, None]


def test_dissimilarity_is_zero_on_a_constant_map(diagonal: Tensor) -> None:
    assert dissimilarity(diagonal)[..., 1:-2, 1:-2].max() < 1e-12  # mirroring turns the diagonals at the border
    assert dissimilarity(torch.full((1, 2, SIZE, SIZE), 0.3)).max() == 0


def test_dissimilarity_is_ssim_by_definition(diagonal: Tensor) -> None:
    """At one pixel, from the mean, variance and covariance of its 3x3 windows."""
    x = diagonal.flip(3) + 0.2
    here, there = x[0, 0, 4:7, 5:8].abs(), x[0, 0, 5:8, 6:9].abs()
    a, b = here.mean(), there.mean()
    covariance = ((here - a) * (there - b)).mean()
    ssim = (2 * a * b + 1e-4) / (a**2 + b**2 + 1e-4)
    ssim = ssim * (2 * covariance + 9e-4) / (here.var(correction=0) + there.var(correction=0) + 9e-4)
    torch.testing.assert_close(dissimilarity(x)[0, 0, 5, 6], (1 - ssim) / 2)


def test_peakiness_is_largest_at_a_peak_and_does_not_know_scale() -> None:
    x = torch.zeros(2, 3, SIZE, SIZE, dtype=torch.float64)
    x[0, 1, 4, 7], x[1, 2, 8, 2] = 2.0, 5.0
    peaks = peakiness(x)
    assert peaks.flatten(1).argmax(dim=1).tolist() == [4 * SIZE + 7, 8 * SIZE + 2]
    torch.testing.assert_close(peakiness(3 * x), peaks)
    # a peak of 1 of 9 pixels, of 1 of 3 channels; elsewhere softplus(0) is log 2
    expected = torch.tensor([8 / 9, 2 / 3], dtype=torch.float64).exp().log1p().prod()
    torch.testing.assert_close(peaks[0, 0, 4, 7], expected)
    torch.testing.assert_close(peaks[0, 0, 0, 0], torch.tensor(2.0, dtype=torch.float64).log().square())


def test_peakiness_of_a_map_without_positive_values_is_finite() -> None:
    assert peakiness(torch.zeros(1, 3, SIZE, SIZE)).isfinite().all()


@pytest.mark.parametrize("prior", ["dissimilarity", "peakiness"])
@torch.no_grad()
def test_scores_under_autocast(prior: str) -> None:
    """As those of full precision but for the rounding of the convolutions."""
    torch.manual_seed(0)
    detection = DetectionNetwork(DetectionConfig(prior=prior))
    image, local, stem = torch.randn(1, 3, 16, 24), 200 * torch.rand(1, 128, 4, 6), torch.rand(1, 64, 4, 6)
    exact = detection(image, local, stem)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        score = detection(image, local, stem)
    assert score.dtype == torch.float32
    torch.testing.assert_close(score, exact, rtol=0, atol=0.15 * exact.max().item())
    assert torch.corrcoef(torch.stack([score.flatten(), exact.flatten()]))[0, 1] > 0.99


def test_an_unknown_prior_is_refused() -> None:
    with pytest.raises(ConfigError, match="dissimilarity"):
        DetectionConfig(prior="SSIM")
