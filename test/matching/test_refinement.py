"""Photometric refinement against a known warp."""

from __future__ import annotations

import importlib.util

import cv2
import numpy as np
import pytest
import torch
from torch import Tensor

from ros_matching.matching import refinement
from ros_matching.matching.refinement import RefinementConfig, local_affinities, refine

SIZE = 240
HAS_NUMBA = importlib.util.find_spec("numba") is not None
needs_numba = pytest.mark.skipif(not HAS_NUMBA, reason="needs Numba (pip install numba, extra cpu)")


@pytest.fixture(autouse=True, params=["tensors", pytest.param("compiled", marks=needs_numba)])
def implementation(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Every test runs with both implementations."""
    monkeypatch.setattr(refinement, "_has_compiler", lambda: request.param == "compiled")
    return request.param


def texture(seed: int = 0) -> np.ndarray:
    noise = cv2.GaussianBlur(np.random.default_rng(seed).normal(size=(SIZE, SIZE)), (0, 0), 2.0)
    return (128 + 40 * noise / noise.std()).clip(0, 255).astype(np.float32)


def scene(angle_deg: float, scale: float, count: int = 150) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Two views of a texture, points of the first, and where they truly are in the second."""
    matrix = cv2.getRotationMatrix2D((SIZE / 2, SIZE / 2), angle_deg, scale)
    matrix[:, 2] += 3.3, -2.1
    image0 = texture()
    image1 = cv2.warpAffine(image0, matrix, (SIZE, SIZE), flags=cv2.INTER_CUBIC) * 0.7 + 30
    points0 = np.random.default_rng(1).uniform(60, SIZE - 60, (count, 2))
    points1 = points0 @ matrix[:, :2].T + matrix[:, 2]
    return (*map(torch.from_numpy, (image0, image1, points0, points1)),)


def errors(points: Tensor, ground_truth: Tensor) -> np.ndarray:
    return (points - ground_truth).norm(dim=1).numpy()


@pytest.mark.parametrize(("angle_deg", "scale"), [(0.0, 1.0), (12.0, 1.0), (-25.0, 0.85), (5.0, 1.25)])
def test_noisy_points_come_within_a_tenth_of_a_pixel(angle_deg: float, scale: float) -> None:
    image0, image1, points0, ground_truth = scene(angle_deg, scale)
    noisy = ground_truth + torch.from_numpy(np.random.default_rng(2).normal(0, 0.5, ground_truth.shape))
    refined, _ = refine(image0, image1, points0, noisy)
    assert np.median(errors(noisy, ground_truth)) > 0.4
    assert np.median(errors(refined, ground_truth)) < 0.1
    assert np.quantile(errors(refined, ground_truth), 0.9) < 0.25


def test_standard_deviations_rank_the_points_by_accuracy() -> None:
    image0, image1, points0, ground_truth = scene(5.0, 1.0, count=600)
    random = np.random.default_rng(3)
    # The noise of both images grows from left to right.
    strength = torch.linspace(0, 12, SIZE)
    images = [image + strength * torch.from_numpy(random.normal(size=(SIZE, SIZE))) for image in (image0, image1)]
    noisy = ground_truth + torch.from_numpy(random.normal(0, 0.5, ground_truth.shape))
    refined, std_px = refine(*images, points0, noisy)
    error, moved = errors(refined, ground_truth), errors(refined, noisy) > 0
    order = np.argsort(std_px[moved].numpy())
    surest, least = error[moved][order[: len(order) // 4]], error[moved][order[-len(order) // 4 :]]
    assert np.median(surest) < 0.5 * np.median(least)
    assert std_px[moved].max() < std_px[~moved].min()


def test_local_affinities_ignore_false_neighbours() -> None:
    _, _, points0, ground_truth = scene(20.0, 1.2)
    wrong = ground_truth.clone()
    wrong[::4] += torch.tensor([60.0, -40.0])
    affinity = local_affinities(points0, wrong, 12)
    right = np.ones(len(wrong), bool)
    right[::4] = False
    radians = np.radians(-20.0)
    expected = 1.2 * np.array([[np.cos(radians), -np.sin(radians)], [np.sin(radians), np.cos(radians)]])
    assert np.median(np.abs(affinity[right].numpy() - expected).max(axis=(1, 2))) < 0.1


def test_points_without_texture_or_counterpart_are_not_refined() -> None:
    image0, image1, points0, ground_truth = scene(0.0, 1.0)
    flat = torch.full_like(image0, 100.0)
    assert torch.equal(refine(flat, flat, points0, ground_truth)[0], ground_truth)
    elsewhere = ground_truth.flip(0)
    moved = errors(refine(image0, image1, points0, elsewhere)[0], elsewhere)
    assert (moved == 0).mean() > 0.8
    assert moved.max() <= RefinementConfig().max_shift_px


def test_few_matches_are_left_alone() -> None:
    image0, image1, points0, ground_truth = scene(0.0, 1.0, count=3)
    assert torch.equal(refine(image0, image1, points0, ground_truth)[0], ground_truth)


@needs_numba
@pytest.mark.parametrize("dtype", [torch.uint8, torch.float32])
def test_both_implementations_agree(dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch) -> None:
    image0, image1, points0, ground_truth = scene(8.0, 1.1, count=400)
    noisy = ground_truth + torch.from_numpy(np.random.default_rng(4).normal(0, 0.4, ground_truth.shape))
    border = torch.from_numpy(np.random.default_rng(5).uniform(-2, SIZE + 1, (40, 2)))  # patches that reach beyond
    points = [torch.cat([x, border]).float() for x in (points0, noisy)]
    results = []
    for is_compiled in (False, True):
        monkeypatch.setattr(refinement, "_has_compiler", lambda is_compiled=is_compiled: is_compiled)
        results.append(refine(image0.to(dtype), image1.to(dtype), *points))
    (points_a, sigmas_a), (points_b, sigmas_b) = results
    same = (points_a - points_b).norm(dim=1) < 5e-3
    assert same.float().mean() > 0.98  # the rest are at a limit of acceptance
    torch.testing.assert_close(sigmas_a[same], sigmas_b[same], rtol=1e-2, atol=1e-3)
