"""The plane sweep on planes whose features are known exactly, without learned parts."""

import numpy as np
import pytest
import torch
from plane_views import CAMERA_FROM_WORLD, plane_depth, plane_features, projections

from ros_matching.networks.pbs_mvsnet.aggregation import ViewAggregation
from ros_matching.networks.pbs_mvsnet.regression import depth_hypotheses, soft_argmin

NEAR, FAR = torch.tensor([1.0], dtype=torch.float64), torch.tensor([5.0], dtype=torch.float64)
SHARPNESS = 10_000.0
INSIDE = (slice(9, -9), slice(9, -9))  # what all views see at every hypothesis near the truth


def sweep(normal: np.ndarray, distance: float, depths: torch.Tensor, sampling: str):
    volume = ViewAggregation(12, "none").eval()(plane_features(normal, distance), projections(), depths)
    return soft_argmin(SHARPNESS * volume.mean(dim=1), depths, sampling, window=4)


@pytest.mark.parametrize("sampling", ["linear", "inverse"])
@pytest.mark.parametrize("plane", [26, 40])
def test_a_fronto_parallel_plane_is_found_at_its_hypothesis(sampling, plane):
    depths = depth_hypotheses(NEAR, FAR, 64, sampling)
    estimate = sweep(np.array([0.0, 0.0, 1.0]), depths[0, plane].item(), depths, sampling)
    np.testing.assert_allclose(estimate.index[0][INSIDE], plane, atol=0.25)
    assert estimate.confidence[0][INSIDE].mean() > 0.9


@pytest.mark.parametrize("sampling", ["linear", "inverse"])
def test_a_slanted_plane_is_found_between_the_hypotheses(sampling):
    normal, distance = np.array([0.25, -0.15, 1.0]), 2.4
    depths = depth_hypotheses(NEAR, FAR, 96, sampling)
    truth = plane_depth(normal, distance, CAMERA_FROM_WORLD[0])[INSIDE]
    assert np.ptp(truth) > 0.4
    estimate = sweep(normal, distance, depths, sampling)
    spacing = np.interp(truth, depths[0, :-1], np.diff(depths[0]))
    error = np.abs(estimate.depth[0][INSIDE].numpy() - truth) / spacing
    assert error.mean() < 0.15
    assert error.max() < 0.4
