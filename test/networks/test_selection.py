"""The largest entries of rows, by tensors and compiled."""

from __future__ import annotations

import importlib.util

import numpy as np
import pytest
import torch

from ros_matching.networks import selection
from ros_matching.networks.selection import largest_in_rows

HAS_NUMBA = importlib.util.find_spec("numba") is not None
needs_numba = pytest.mark.skipif(not HAS_NUMBA, reason="needs Numba (pip install numba, extra cpu)")


@pytest.fixture(autouse=True, params=["tensors", pytest.param("compiled", marks=needs_numba)])
def _way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(selection, "_has_compiler", lambda: request.param == "compiled")


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
@pytest.mark.parametrize(("shape", "count"), [((2, 30, 200), 9), ((1, 7, 20), 10), ((1, 5, 6), 6), ((3, 4, 33), 1)])
def test_the_largest_come_first(shape: tuple[int, int, int], count: int, dtype: torch.dtype) -> None:
    generator = torch.Generator().manual_seed(0)
    table = torch.stack([torch.randperm(shape[2], generator=generator) for _ in range(shape[0] * shape[1])])
    table = table.reshape(shape).to(dtype)
    found = largest_in_rows(table, count)
    np.testing.assert_array_equal(found, table.float().numpy().argsort(axis=2)[..., ::-1][..., :count])
    np.testing.assert_array_equal(largest_in_rows(table.mT.contiguous().mT, count), found)


@pytest.mark.parametrize("value", [0.0, 3.0, -torch.inf])
def test_equals_are_each_taken_once(value: float) -> None:
    table = torch.full((1, 4, 50), value)
    table[0, 1, 20:23] = value + 1 if np.isfinite(value) else 1.0
    found = largest_in_rows(table, 8)[0]
    assert [len(row.unique()) for row in found] == [8, 8, 8, 8]
    assert sorted(found[1, :3].tolist()) == [20, 21, 22]
