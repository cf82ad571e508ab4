"""The losses of PoSFeat on maps that are known to be right or wrong."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional

from ros_matching.networks.posfeat.sampling import sample_aligned
from ros_matching.training.posfeat_detection import draw_keypoints, imitation_loss, same_point
from ros_matching.training.posfeat_losses import contrastive, epipolar

H, W, D = 240, 320, 32


def random_map(seed: int) -> Tensor:
    return torch.randn(1, D, H // 4, W // 4, generator=torch.Generator().manual_seed(seed))


def grid_points() -> Tensor:
    x, y = torch.meshgrid(torch.arange(33.5, W - 32, 16), torch.arange(33.5, H - 32, 16), indexing="xy")
    return torch.stack([x.flatten(), y.flatten()], dim=1)[None]


def test_contrastive_finds_the_counterpart_in_an_equal_map_only() -> None:
    points = grid_points()
    valid = torch.ones(points.shape[:2], dtype=torch.bool)
    same = contrastive(sample_aligned, random_map(0), random_map(0), points, points, valid, 0.05, 6.0)
    other = contrastive(sample_aligned, random_map(0), random_map(1), points, points, valid, 0.05, 6.0)
    assert same[1] == pytest.approx(1.0)
    assert other[1] < 0.05
    assert same[0] < 0.1 < 3 < other[0]


def test_contrastive_ignores_points_without_counterpart() -> None:
    points = grid_points()
    wrong = points.clone()
    valid = torch.ones(points.shape[:2], dtype=torch.bool)
    wrong[:, 0], valid[:, 0] = 0.0, False
    loss = contrastive(sample_aligned, random_map(0), random_map(0), points, wrong, valid, 0.05, 6.0)[0]
    everything = contrastive(sample_aligned, random_map(0), random_map(0), points, wrong, valid | True, 0.05, 6.0)[0]
    assert loss < 0.05 < everything


def shift_fundamental(dx: float, dy: float) -> Tensor:
    """Of a camera that moves parallel to its image: points move along (dx, dy), by any amount."""
    return torch.tensor([[[0.0, 0.0, dy], [0.0, 0.0, -dx], [-dy, dx, 0.0]]])


def shifted_maps(cells: int) -> tuple[Tensor, Tensor]:
    wide = torch.randn(1, D, H // 4, W // 4 + cells, generator=torch.Generator().manual_seed(3))
    wide = functional.avg_pool2d(wide, 3, stride=1, padding=1)  # neighbouring descriptors are similar
    return wide[..., cells:].contiguous(), wide[..., : W // 4].contiguous()


def test_epipolar_is_small_if_descriptors_match_on_the_line() -> None:
    """The same scene, moved two cells along the lines: windows on the line contain the partner."""
    torch.manual_seed(0)
    map0, map1 = shifted_maps(2)
    along = epipolar(sample_aligned, map0, map1, grid_points(), shift_fundamental(1.0, 0.0), 1 / 60)
    across = epipolar(sample_aligned, map0, map1, grid_points(), shift_fundamental(0.0, 1.0), 1 / 60)
    assert along[1] > 0.9
    assert along[0] < 1
    assert across[0] > 3 * along[0]


def test_epipolar_descends_to_the_line() -> None:
    """Gradient descent on the maps moves descriptors from near the line onto it."""
    map0, map1 = shifted_maps(2)
    map1 = (map1 + 0.2 * torch.roll(map1, 2, dims=2)).requires_grad_()
    optimizer = torch.optim.Adam([map1], lr=0.02)
    costs = []
    for step in range(12):
        torch.manual_seed(step % 3)  # the windows are moved at random
        cost, _ = epipolar(sample_aligned, map0, map1, grid_points(), shift_fundamental(1.0, 0.0), 1 / 10)
        optimizer.zero_grad()
        cost.backward()
        optimizer.step()
        costs.append(cost.item())
    assert np.mean(costs[-3:]) < 0.7 * np.mean(costs[:3])


def test_keypoints_are_drawn_by_their_scores() -> None:
    torch.manual_seed(0)
    score = torch.zeros(1, 1, H, W)
    score[..., 3::8, 5::8] = 20.0
    drawn = draw_keypoints(score)
    assert drawn.points.shape == (1, (H // 8) * (W // 8), 2)
    assert (drawn.points[..., 0] % 8 == 5).all()
    assert (drawn.points[..., 1] % 8 == 3).all()
    assert drawn.accepted.all()
    torch.testing.assert_close(drawn.logs, torch.zeros_like(drawn.logs), atol=1e-5, rtol=0)


def test_the_gradient_of_the_draw_increases_rewarded_scores() -> None:
    torch.manual_seed(0)
    score = torch.zeros(1, 1, 8, 8, requires_grad=True)
    for _ in range(500):
        drawn = draw_keypoints(score)
        reward = (drawn.points[..., 0] == 2).float() - 0.1
        loss = -(reward * drawn.logs).sum()
        score.grad = None
        loss.backward()
        with torch.no_grad():
            score -= 0.5 * score.grad
    in_column = score.detach().flatten().softmax(dim=0).view(8, 8)[:, 2].sum()
    assert in_column > 0.8


def test_same_point_asks_both_images() -> None:
    """Under a zoom of 4 a distance of 1 px in one image is 4 in the other."""
    zoom = torch.diag(torch.tensor([4.0, 4.0, 1.0]))[None]
    points0 = torch.tensor([[[10.0, 10.0]]])
    points1 = torch.tensor([[[40.0, 40.0], [43.0, 40.0]]])
    assert same_point(points0, points1, zoom, 2.0).tolist() == [[[True, False]]]


def test_imitation_is_least_for_the_keypoints_themselves() -> None:
    keypoints = torch.zeros(1, 16, 16, dtype=torch.uint8)
    keypoints[0, 3, 4] = 255
    right = functional.pad(torch.full((1, 1, 1, 1), 6.0), (4, 11, 3, 12))
    moved = torch.roll(right, 2, dims=3)
    flat = torch.full((1, 1, 16, 16), 0.8)
    losses = [float(imitation_loss(score, keypoints)) for score in (right, flat, moved)]
    assert losses[0] < losses[1] < losses[2]
    assert losses[0] < 0.3
