"""Place descriptors."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from ros_matching.errors import MatchingError
from ros_matching.matching.parts import PlaceDescriber
from ros_matching.networks.vlad.network import Vlad


def unit(rng: np.random.Generator, count: int, size: int = 8) -> torch.Tensor:
    vectors = torch.from_numpy(rng.normal(size=(count, size)).astype(np.float32))
    return vectors / vectors.norm(dim=1, keepdim=True)


@pytest.fixture
def network() -> Vlad:
    rng = np.random.default_rng(0)
    network = Vlad(4, 6, 8)
    state = {"centers": unit(rng, 4, 6), "mean": 0.1 * unit(rng, 1)[0], "components": torch.eye(8)[:6]}
    network.load_state_dict(state)
    return network.eval().requires_grad_(False)


def test_the_sums_are_those_of_differences_to_the_nearest_centres(network):
    descriptors = unit(np.random.default_rng(1), 50)
    reduced = (descriptors - network.mean)[:, :6]
    nearest = (reduced[:, None] - network.centers).norm(dim=2).argmin(dim=1)
    sums = torch.stack([(reduced[nearest == k] - network.centers[k]).sum(dim=0) for k in range(4)])
    sums = sums / sums.norm(dim=1, keepdim=True)
    torch.testing.assert_close(network(descriptors), sums.flatten() / sums.norm())


def test_the_vector_does_not_depend_on_the_order_and_has_unit_length(network):
    descriptors = unit(np.random.default_rng(2), 50)
    vector = network(descriptors)
    assert float(vector.norm()) == pytest.approx(1)
    torch.testing.assert_close(network(descriptors.flip(0)), vector)


def test_an_image_without_keypoints_has_a_vector(network):
    assert torch.isfinite(network(torch.zeros(0, 8))).all()


def test_a_matcher_without_place_descriptors_names_those_that_have():
    with pytest.raises(MatchingError, match="default or sift"):
        PlaceDescriber().describe(np.zeros((3, 32), np.uint8))
