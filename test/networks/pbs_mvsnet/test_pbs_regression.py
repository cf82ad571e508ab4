import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from ros_matching.networks.pbs_mvsnet.regression import confidence_around, depth_hypotheses, soft_argmin


def bounds(near: float, far: float) -> tuple[torch.Tensor, torch.Tensor]:
    return torch.tensor([near], dtype=torch.float64), torch.tensor([far], dtype=torch.float64)


def test_linear_hypotheses_have_both_ends():
    np.testing.assert_allclose(depth_hypotheses(*bounds(450, 950), 6, "linear")[0], [450, 550, 650, 750, 850, 950])


def test_inverse_hypotheses_reach_to_infinity():
    np.testing.assert_allclose(depth_hypotheses(*bounds(2, np.inf), 4, "inverse")[0], [2, 8 / 3, 4, 8])


@pytest.mark.parametrize("sampling", ["linear", "inverse"])
def test_hypotheses_ascend_evenly_in_a_batch(sampling):
    near, far = torch.tensor([0.5, 3.0]), torch.tensor([4.0, 90.0])
    depths = depth_hypotheses(near, far, 32, sampling)
    steps = depths.diff() if sampling == "linear" else -depths.reciprocal().diff()
    assert (depths.diff() > 0).all()
    torch.testing.assert_close(steps, steps[:, :1].expand_as(steps), rtol=1e-3, atol=1e-6)
    torch.testing.assert_close(depths[:, 0], near)


@pytest.mark.parametrize("sampling", ["linear", "inverse"])
@given(seed=st.integers(0, 1000), scale=st.floats(0, 50))
@settings(deadline=None, max_examples=20)
def test_an_estimate_lies_within_the_hypotheses(sampling, seed, scale):
    cost = scale * torch.randn(2, 13, 4, 5, generator=torch.Generator().manual_seed(seed))
    depths = depth_hypotheses(torch.tensor([0.5, 3.0]), torch.tensor([4.0, 90.0]), 13, sampling)
    estimate = soft_argmin(cost, depths, sampling, window=4)
    assert (estimate.depth >= depths[:, :1, None] * (1 - 1e-5)).all()
    assert (estimate.depth <= depths[:, -1:, None] * (1 + 1e-5)).all()
    assert ((estimate.confidence >= 0) & (estimate.confidence <= 1)).all()


@pytest.mark.parametrize("sampling", ["linear", "inverse"])
def test_a_symmetric_peak_has_the_depth_of_its_middle(sampling):
    depths = depth_hypotheses(*bounds(1, 20), 21, sampling)
    cost = (torch.arange(21, dtype=torch.float64) - 10).abs()[None, :, None, None]
    estimate = soft_argmin(cost, depths, sampling, window=4)
    assert estimate.depth.item() == pytest.approx(depths[0, 10].item())
    assert estimate.index.item() == pytest.approx(10)


@pytest.mark.parametrize("window", [2, 4, 16])
def test_confidence_is_the_mass_around_the_expected_plane(window):
    rng = np.random.default_rng(window)
    probability = rng.dirichlet(np.full(12, 0.3), size=(6, 7)).transpose(2, 0, 1)
    index = (np.arange(12)[:, None, None] * probability).sum(axis=0)
    confidence = confidence_around(torch.from_numpy(probability)[None], torch.from_numpy(index)[None], window)[0]
    for i, j in np.ndindex(6, 7):
        first = int(np.floor(index[i, j])) - window // 2 + 1
        planes = [d for d in range(first, first + window) if 0 <= d < 12]
        assert confidence[i, j].item() == pytest.approx(probability[planes, i, j].sum())


def test_half_precision_costs_do_not_make_half_precision_depths():
    depths = depth_hypotheses(torch.tensor([1.0]), torch.tensor([9.0]), 64, "linear")
    estimate = soft_argmin(torch.randn(1, 64, 3, 3).half(), depths, "linear", window=16)
    assert {x.dtype for x in estimate} == {torch.float32}


@pytest.mark.parametrize("sampling", ["linear", "inverse"])
def test_gradients(sampling):
    depths = depth_hypotheses(*bounds(1, 5), 6, sampling)
    cost = torch.randn(1, 6, 2, 3, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda x: soft_argmin(x, depths, sampling, 4)[:2], cost)
