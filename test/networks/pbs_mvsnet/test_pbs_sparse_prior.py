"""Sparse depths support the hypotheses around them, and determine depth without texture."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from test_pbs_estimator import POSES, VIEWS, ideal_network, plane_view

from ros_matching.networks.pbs_mvsnet.estimator import DepthConfig, DepthEstimator
from ros_matching.networks.pbs_mvsnet.regression import depth_hypotheses, sparse_prior

SIZE = (24, 32)


def hypotheses(sampling: str) -> torch.Tensor:
    return depth_hypotheses(torch.tensor([1.0]), torch.tensor([8.0]), 16, sampling)[0]


@pytest.mark.parametrize("sampling", ["inverse", "linear"])
def test_the_prior_is_one_at_a_point_and_falls_off_around_it(sampling: str) -> None:
    depths = hypotheses(sampling)
    pixels = torch.tensor([[5.2, 4.1], [20.0, 18.0], [28.0, 3.0]])
    prior = sparse_prior(pixels, depths[[3, 9, 14]], depths, SIZE, sampling)
    assert prior.shape == (16, *SIZE)
    for plane, v, u in ((3, 4, 5), (9, 18, 20), (14, 3, 28)):
        assert prior[plane, v, u] == pytest.approx(1, abs=0.02)
        assert prior[:, v, u].argmax() == plane
        assert prior[plane, v, u] > prior[plane, v, u - 2] > prior[plane, v, u - 5]
    assert prior.max() <= 1


def test_more_points_reach_less_far() -> None:
    depths = hypotheses("inverse")
    few = torch.tensor([[8.0, 12.0], [24.0, 12.0]])
    v, u = torch.meshgrid(torch.arange(0, 24, 3), torch.arange(0, 16, 3), indexing="ij")
    many = torch.stack([u.flatten(), v.flatten()], dim=1).float()
    wide = sparse_prior(few, depths[[5, 5]], depths, SIZE, "inverse")
    narrow = sparse_prior(many, depths[[5] * len(many)], depths, SIZE, "inverse")
    assert narrow[5, :, 28:].max() < 0.1 < wide[5, 12, 16]


def test_points_outside_say_nothing() -> None:
    depths = hypotheses("inverse")
    pixels = torch.tensor([[-4.0, 3.0], [5.0, 40.0], [9.0, 9.0], [9.0, 9.0]])
    assert not sparse_prior(pixels, torch.tensor([2.0, 2.0, 0.5, 30.0]), depths, SIZE, "inverse").any()


@pytest.mark.parametrize("sampling", ["inverse", "linear"])
def test_sparse_points_determine_depth_without_texture(sampling: str) -> None:
    views = [replace(view, frame=replace(view.frame, image=np.full_like(view.frame.image, 120))) for view in VIEWS]
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, [VIEWS[0].frame.camera.width, VIEWS[0].frame.camera.height], (120, 2))
    sparse_depths = VIEWS[0].frame.depth[pixels[:, 1], pixels[:, 0]].astype(np.float64)
    sparse_depths[::10] = np.nan
    reference = replace(views[0], sparse_points_px=pixels.astype(np.float64), sparse_depths=sparse_depths)
    ground_truth = VIEWS[0].frame.depth[::4, ::4]
    errors = []
    for weight in (0.0, 6.0):
        config = DepthConfig(planes=48, sparse_weight=weight)
        estimated = DepthEstimator(ideal_network(sampling), config).estimate(reference, views[1:], (1.5, 6.0))
        errors.append(np.nanmedian(np.abs(estimated.depth / ground_truth - 1)))
    assert errors[1] < 0.05
    assert errors[1] < 0.5 * errors[0]


def test_wrong_sparse_points_do_not_overrule_clear_images() -> None:
    views = [plane_view(number) for number in range(len(POSES))]
    pixels = np.array([[70.0, 60.0], [40.0, 30.0]])
    reference = replace(views[0], sparse_points_px=pixels, sparse_depths=np.array([1.8, 5.5]))
    depth = DepthEstimator(ideal_network(), DepthConfig(planes=96)).estimate(reference, views[1:], (1.5, 6.0)).depth
    ground_truth = views[0].frame.depth[::4, ::4]
    for u, v in pixels.astype(int) // 4:
        assert depth[v, u] == pytest.approx(ground_truth[v, u], rel=0.03)
