"""Transformations against their definitions."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from ros_matching.networks.cnn_geometric import transforms
from ros_matching.training.cnn_geometric import grid_loss, pad_symmetric, synthetic_pair

few = settings(max_examples=25, deadline=None)
seeds = st.integers(0, 2**32 - 1)
MODELS = list(transforms.PARAMETERS)


def near_identity(model: str, seed: int, spread: float = 0.2, batch: int = 1) -> torch.Tensor:
    noise = torch.randn(batch, transforms.PARAMETERS[model], generator=torch.Generator().manual_seed(seed))
    return (transforms.identity(model) + spread * noise.clamp(-2, 2)).double()


def points(seed: int, count: int = 20) -> torch.Tensor:
    return torch.rand(1, count, 2, generator=torch.Generator().manual_seed(seed)).double() * 2 - 1


@pytest.mark.parametrize("model", MODELS)
def test_identity_leaves_points_and_images_alone(model: str) -> None:
    theta = transforms.identity(model)[None].double()
    torch.testing.assert_close(transforms.transform_points(model, theta, points(1), epsilon=0.0), points(1))
    image = torch.rand(1, 2, 9, 14).double()
    torch.testing.assert_close(transforms.warp(image, model, theta), image)


@few
@given(seeds)
def test_homography_maps_the_corners_to_its_parameters(seed: int) -> None:
    theta = near_identity("homography", seed)
    corners = transforms.identity("homography").reshape(2, 4).T[None].double()
    mapped = transforms.transform_points("homography", theta, corners, epsilon=0.0)
    torch.testing.assert_close(mapped, theta.reshape(1, 2, 4).transpose(1, 2))


@few
@given(seeds)
def test_spline_maps_its_control_points_to_its_parameters(seed: int) -> None:
    theta = near_identity("tps", seed)
    control = transforms.identity("tps").reshape(2, 9).T[None].double()
    mapped = transforms.transform_points("tps", theta, control)
    torch.testing.assert_close(mapped, theta.reshape(1, 2, 9).transpose(1, 2))


@few
@given(seeds)
def test_spline_through_an_affine_grid_is_affine(seed: int) -> None:
    theta = near_identity("affine", seed)
    control = transforms.identity("tps").reshape(2, 9).T[None].double()
    goals = transforms.transform_points("affine", theta, control).transpose(1, 2).flatten(1)
    mapped = transforms.transform_points("tps", goals, points(seed))
    torch.testing.assert_close(mapped, transforms.transform_points("affine", theta, points(seed)))


@few
@given(seeds)
@pytest.mark.parametrize("model", ["affine", "homography", "homography_matrix"])
def test_composition_is_one_after_the_other(model: str, seed: int) -> None:
    outer, inner = near_identity(model, seed, 0.05), near_identity(model, seed + 1, 0.05)
    in_turn = transforms.transform_points(model, inner, points(seed), epsilon=0.0)
    in_turn = transforms.transform_points(model, outer, in_turn, epsilon=0.0)
    at_once = transforms.transform_points(model, transforms.compose(model, outer, inner), points(seed), epsilon=0.0)
    torch.testing.assert_close(at_once, in_turn)


@pytest.mark.parametrize("model", MODELS)
def test_gradients_of_points_and_samples(model: str) -> None:
    theta = near_identity(model, 5, 0.1).requires_grad_()
    image = torch.rand(1, 1, 5, 6).double()
    assert torch.autograd.gradcheck(lambda t: transforms.transform_points(model, t, points(2, 4)), theta)
    assert torch.autograd.gradcheck(lambda t: transforms.warp(image, model, t), theta)


def test_tensors_of_inference_can_be_used_in_training() -> None:
    transforms._tps_inverse.cache_clear()
    with torch.inference_mode():
        transforms.transform_points("tps", transforms.identity("tps")[None], points(3).float())
    inner = near_identity("tps", 4).float().requires_grad_()
    transforms.compose("tps", near_identity("tps", 5).float(), inner).sum().backward()
    assert inner.grad.isfinite().all()


@pytest.mark.parametrize("model", MODELS)
def test_autocast_changes_nothing(model: str) -> None:
    outer, inner = near_identity(model, 6, 0.1).float(), near_identity(model, 7, 0.1).float()
    image = torch.rand(1, 1, 5, 6)
    alone = transforms.compose(model, outer, inner), transforms.warp(image, model, outer)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        within = transforms.compose(model, outer, inner), transforms.warp(image, model, outer)
    torch.testing.assert_close(within, alone, rtol=0, atol=0)


def test_grid_loss_is_the_mean_squared_distance() -> None:
    shifted = torch.tensor([[1.0, 0, 0.3, 0, 1, -0.4]])
    assert grid_loss("affine", shifted, transforms.identity("affine")[None]).item() == pytest.approx(0.25)


def test_symmetric_padding_is_numpys() -> None:
    image = torch.rand(1, 2, 5, 7)
    expected = np.pad(image.numpy(), [(0, 0), (0, 0), (4, 4), (6, 6)], mode="symmetric")
    np.testing.assert_array_equal(pad_symmetric(image, 4, 6).numpy(), expected)


@pytest.mark.parametrize("model", MODELS)
def test_theta_aligns_the_pair_made_with_it(model: str) -> None:
    coarse = torch.rand(1, 1, 6, 8, generator=torch.Generator().manual_seed(8)).double()
    image = torch.nn.functional.interpolate(coarse, (240, 320), mode="bicubic")
    theta = near_identity(model, 9, 0.03)
    source, target = synthetic_pair(image, model, theta, 80)
    aligned = transforms.warp(source, model, theta)
    inside = transforms.warp(torch.ones_like(source), model, theta) > 0.999
    assert inside.double().mean() > 0.6
    before, after = ((x - target)[inside].abs().mean() for x in (source, aligned))
    assert after < 0.1 * before
