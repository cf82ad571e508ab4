"""Mutual nearest neighbours against a search of the whole table, in PyTorch and compiled."""

from __future__ import annotations

import importlib.util

import pytest
import torch
from torch.nn.functional import normalize

from ros_matching.networks.posfeat import nearest

HAS_NUMBA = importlib.util.find_spec("numba") is not None
needs_numba = pytest.mark.skipif(not HAS_NUMBA, reason="needs Numba (pip install numba, extra cpu)")


@pytest.fixture(autouse=True, params=["tensors", pytest.param("compiled", marks=needs_numba)])
def way(request, monkeypatch):
    monkeypatch.setattr(nearest, "_has_compiler", lambda: request.param == "compiled")


def descriptors(count: int, seed: int) -> torch.Tensor:
    return normalize(torch.randn(count, 16, generator=torch.Generator().manual_seed(seed)))


@pytest.mark.parametrize(("count0", "count1"), [(2, 2), (5, 3), (300, 70), (130, 513)])
@pytest.mark.parametrize("block_entries", [1, 2**20])
def test_neighbours_are_those_of_the_whole_table(count0, count1, block_entries):
    first, second = descriptors(count0, 0), descriptors(count1, 1)
    found = nearest.nearest_neighbours(first, second, block_entries)
    cosines = first @ second.mT
    expected = cosines.topk(2, dim=1)
    torch.testing.assert_close(found.cosine, expected.values[:, 0])
    torch.testing.assert_close(found.second, expected.values[:, 1])
    assert found.column.equal(expected.indices[:, 0])
    assert found.mutual.equal(cosines.argmax(dim=0)[found.column] == torch.arange(count0))


def test_ties_go_to_the_first_and_have_an_equal_second():
    second = descriptors(200, 2)
    second[130] = second[66] = second[2]  # one group of columns
    second[80] = second[7]  # two groups
    found = nearest.nearest_neighbours(second[[2, 7, 7]].clone(), second)
    assert found.column.tolist() == [2, 7, 7]
    torch.testing.assert_close(found.second, found.cosine)
    assert found.mutual.tolist() == [True, True, False]
