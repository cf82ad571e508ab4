"""The gate between keypoints, against its definition over all pairs."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from ros_matching.networks.ncnet.gating import CoarseMap, Gate, best_cells
from ros_matching.networks.ncnet.sparse import best_cells as best_cells_of_pairs
from ros_matching.networks.ncnet.sparse import strongest_pairs


def gate_of(consensus: Tensor, map0: CoarseMap, map1: CoarseMap, reach: int) -> Gate:
    return Gate(map0, map1, best_cells(consensus), best_cells(consensus.T), reach)


def table_of(gate: Gate) -> Tensor:
    """Which of all pairs are let through, (N0, N1) bool."""
    counts = len(gate.map0.cells), len(gate.map1.cells)
    every0, every1 = torch.cartesian_prod(*map(torch.arange, counts)).unbind(dim=1)
    return gate.lets_through(every0, every1).reshape(counts)


def test_the_gate_keeps_matches_that_agree_in_one_direction() -> None:
    """Three cells in a row in either image: 0 goes to 1 and back, 1 to 2, which prefers 0, and 2 nowhere."""
    consensus = torch.tensor([[0.0, 0.9, 0.8], [0.0, 0.2, 0.5], [0.0, 0.0, 0.0]])
    row = CoarseMap(torch.tensor([0, 1, 2]), columns=3)
    exact = torch.tensor([[False, True, True], [False, False, True], [False, False, False]])
    assert torch.equal(table_of(gate_of(consensus, row, row, reach=0)), exact)
    wide = torch.tensor([[True, True, True], [False, True, True], [False, False, False]])
    assert torch.equal(table_of(gate_of(consensus, row, row, reach=1)), wide)


@pytest.mark.parametrize("reach", [0, 1, 2])
def test_the_gate_equals_its_definition_for_every_pair(reach: int) -> None:
    """Maps of different sizes, cells without and with several keypoints, and cells that agree with none."""
    generator = torch.Generator().manual_seed(reach)
    sides0, sides1 = (5, 7), (6, 4)
    consensus = torch.rand(35, 24, generator=generator)
    consensus[::5] = consensus[:, ::7] = 0
    map0 = CoarseMap(torch.randint(35, (60,), generator=generator), sides0[1])
    map1 = CoarseMap(torch.randint(24, (50,), generator=generator), sides1[1])
    place0 = torch.cartesian_prod(*map(torch.arange, sides0))
    place1 = torch.cartesian_prod(*map(torch.arange, sides1))
    expected = torch.zeros(60, 50, dtype=torch.bool)
    for i, cell0 in enumerate(map0.cells):
        for j, cell1 in enumerate(map1.cells):
            forth, back = consensus[cell0], consensus[:, cell1]
            is_near_forth = (place1[forth.argmax()] - place1[cell1]).abs().max() <= reach
            is_near_back = (place0[back.argmax()] - place0[cell0]).abs().max() <= reach
            expected[i, j] = (forth.max() > 0 and is_near_forth) or (back.max() > 0 and is_near_back)
    assert expected.any()
    assert torch.equal(table_of(gate_of(consensus, map0, map1, reach)), expected)


def test_best_cells_of_stored_pairs_are_those_of_the_dense_table() -> None:
    generator = torch.Generator().manual_seed(1)
    pairs = strongest_pairs(torch.rand(1, 1, 4, 5, 3, 6, generator=generator), 3)
    values = torch.rand(len(pairs.cells_a), generator=generator)
    values[(pairs.cells_a == 7) | (pairs.cells_b == 2) | (values < 0.3)] = 0
    values[pairs.cells_a == 9] = 0.5  # equals: the first one
    dense = pairs.scatter(values).reshape(20, 18)
    for found, table in zip(best_cells_of_pairs(values, pairs), (dense, dense.T), strict=True):
        agrees = (table > 0).any(dim=1)
        assert torch.equal(found.agrees, agrees)
        assert not agrees.all()
        np.testing.assert_array_equal(found.cell[agrees], np.argmax(table.numpy(), axis=1)[agrees])
