"""What NCNet is trained on: where the cells of one image truly appear in the other."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
import torch
from descent import assert_descends
from torch.utils.data import default_collate

from ros_matching.training.ncnet import ConsensusTrainingConfig, LiteConsensus
from ros_matching.training.ncnet_losses import found_fraction, strong_loss
from ros_matching.training.ncnet_samples import cell_centres, photo_cells, varied_cells, view_cells
from ros_matching.training.recipe import DataFolder
from ros_matching.training.views import view_tuple

ROWS, COLUMNS, CHANNELS = 6, 8, 64
COUNT = ROWS * COLUMNS


def grid() -> torch.Tensor:
    y, x = torch.meshgrid(torch.arange(ROWS), torch.arange(COLUMNS), indexing="ij")
    return torch.stack([x, y], dim=-1).flatten(0, 1).float()


def shifted_cells(seed: int = 0, noise: float = 0.0) -> tuple[torch.Tensor, torch.Tensor]:
    """Maps (2, D, h, w) of unit vectors, the second moved by two columns and one row, and the targets (2, N, 2)."""
    generator = torch.Generator().manual_seed(seed)
    first = torch.randn(CHANNELS, ROWS, COLUMNS, generator=generator)
    maps = torch.stack([first, first.roll((1, 2), (1, 2))])
    maps = maps + noise * torch.randn(maps.shape, generator=generator)
    targets = torch.stack([grid() + torch.tensor([2.0, 1.0]), grid() - torch.tensor([2.0, 1.0])])
    outside = ((targets < 0) | (targets > torch.tensor([COLUMNS - 1.0, ROWS - 1.0]))).any(dim=2)
    return torch.nn.functional.normalize(maps, dim=1), targets.masked_fill(outside[..., None], torch.nan)


def correlation(maps: torch.Tensor) -> torch.Tensor:
    return (maps[0].flatten(1).T @ maps[1].flatten(1)).clamp(min=0)


def recipe(tmp_path, **settings) -> LiteConsensus:
    return LiteConsensus(ConsensusTrainingConfig(strongest=6, **settings), DataFolder(tmp_path))


def test_all_cells_are_found_by_true_scores_and_none_by_wrong_ones():
    maps, targets = shifted_cells()
    table = correlation(maps)
    assert found_fraction(table, targets, COLUMNS) == 1
    assert found_fraction(table.roll(3, 1), targets, COLUMNS) == 0
    assert found_fraction(torch.zeros_like(table), targets, COLUMNS) == 0
    sharp = table.pow(20)
    assert strong_loss(sharp, targets, COLUMNS) < 0.01 < 1 < strong_loss(sharp.roll(3, 1), targets, COLUMNS)
    assert strong_loss(table, torch.full_like(targets, torch.nan), COLUMNS) == 0


def test_the_strong_loss_is_minimal_for_bilinear_weights():
    """A cell midway between two cells has equal weights for both."""
    targets = torch.full((2, COUNT, 2), torch.nan)
    targets[0, 9] = torch.tensor([3.5, 2.0])
    right = 2 * COLUMNS + 3
    losses = []
    for share in (0.5, 0.7, 0.95):
        table = torch.full((COUNT, COUNT), 1e-9)
        table[9, right], table[9, right + 1] = share, 1 - share
        losses.append(float(strong_loss(table, targets, COLUMNS)))
    assert losses == sorted(losses)
    assert losses[0] == pytest.approx(np.log(2), abs=1e-3)


def test_mirrored_and_swapped_maps_keep_their_correspondences():
    maps, targets = shifted_cells()
    seen = set()
    for seed in range(20):
        sample = varied_cells(maps, targets, np.random.default_rng(seed))
        assert found_fraction(correlation(sample["maps"]), sample["targets"], COLUMNS) == 1
        seen.add(tuple(sample["targets"][0].nan_to_num().sum(dim=0).tolist()))
    assert len(seen) == 4


def test_photo_cells_are_targets_of_each_other(tmp_path):
    rng = np.random.default_rng(0)
    for number in range(3):
        photo = cv2.resize(rng.integers(0, 256, (30, 40, 3), dtype=np.uint8), (400, 300))
        cv2.imwrite(str(tmp_path / f"{number}.png"), photo)
    there_and_back(photo_cells(sorted(tmp_path.glob("*.png")), (192, 144), 16, np.random.default_rng(1)), (12, 9))


def test_view_cells_are_targets_of_each_other():
    """A wall seen from two places: its depth is known everywhere."""
    width, height, focal, distance = 128, 96, 120.0, 3.0
    poses = np.stack([np.eye(4)] * 2)
    poses[1, :3, 3] = 0.4, -0.1, 0.0
    k = np.array([[focal, 0, (width - 1) / 2], [0, focal, (height - 1) / 2], [0, 0, 1]])
    depth = np.full((2, height, width), distance, np.float32)
    views = view_tuple(np.zeros((2, height, width, 3), np.uint8), depth, np.stack([k, k]), poses)
    pair = view_cells(views, 16)
    there_and_back(pair, (8, 6))
    known = pair.targets[0].isfinite().all(dim=1)
    moved_px = 16 * (pair.targets[0] - (cell_centres(width, height, 16) + 0.5) / 16 + 0.5)[known]
    torch.testing.assert_close(moved_px, torch.tensor([-0.4, 0.1]).expand_as(moved_px) * focal / distance)


def there_and_back(pair, size: tuple[int, int]) -> None:
    columns, rows = size
    places = torch.stack(torch.meshgrid(torch.arange(columns), torch.arange(rows), indexing="xy"), -1).flatten(0, 1)
    known = pair.targets[0].isfinite().all(dim=1)
    assert known.sum() > 0.3 * len(known)
    corner = pair.targets[0][known].round().long().clamp(min=0)
    number = corner[:, 1].clamp(max=rows - 1) * columns + corner[:, 0].clamp(max=columns - 1)
    back = pair.targets[1][number]
    error = (back - places[known]).abs()
    assert error[error.isfinite()].max() < 1.6  # the target is rounded to a cell, which a view may enlarge
    assert error.isfinite().float().mean() > 0.7


def test_training_begins_with_a_vote_and_improves_on_it(tmp_path):
    it = recipe(tmp_path)
    torch.manual_seed(0)
    network = it.make_network()
    batch = default_collate(
        [varied_cells(*shifted_cells(seed, noise=2.2), np.random.default_rng(seed)) for seed in range(3)]
    )
    plain = np.mean([float(found_fraction(correlation(m), t, COLUMNS)) for m, t in zip(*batch.values(), strict=True)])
    _, numbers = it.loss(network, batch)
    assert float(numbers["found"]) > plain + 0.1
    assert_descends(network.parameters(), lambda: it.loss(network, batch)[0])


def test_the_weak_loss_prefers_pairs_that_belong_together(tmp_path):
    it = recipe(tmp_path, weak_weight=1.0, strong_weight=0.0)
    torch.manual_seed(0)
    batch = default_collate([varied_cells(*shifted_cells(seed), np.random.default_rng(0)) for seed in range(3)])
    loss, numbers = it.loss(it.make_network(), batch)
    assert loss < 0
    assert numbers.keys() == {"found", "weak"}
