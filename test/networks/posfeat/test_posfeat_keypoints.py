"""Keypoints of score maps whose maxima are known."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from ros_matching.networks.posfeat.keypoints import detect, detect_on_response, local_maxima


def bumps(centres: list[tuple[float, float]], heights: list[float], height: int = 48, width: int = 64) -> Tensor:
    """A score map (1, 1, H, W) with round bumps at (x, y)."""
    y, x = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    score = torch.full((height, width), 0.01)
    for (cx, cy), top in zip(centres, heights, strict=True):
        score += top * torch.exp(-((x - cx) ** 2 + (y - cy) ** 2) / 2)
    return score[None, None]


@pytest.mark.parametrize("radius", [1, 2, 3, 5])
@pytest.mark.parametrize("levels", [30, 1000])
def test_a_maximum_is_the_first_of_the_largest_in_its_window(radius: int, levels: int) -> None:
    """By definition: the arg-max of the window over the map continued by reflection, with many ties and with few."""
    generator = torch.Generator().manual_seed(radius)
    score = torch.randint(levels, (2, 1, 30, 37), generator=generator).float()
    inner = functional.pad(score[..., 1:-1, 1:-1], (radius,) * 4, mode="reflect")
    windows = inner.unfold(2, 2 * radius + 1, 1).unfold(3, 2 * radius + 1, 1).flatten(-2)
    centre = windows.shape[-1] // 2
    earlier, later = windows[..., :centre].amax(-1), windows[..., centre + 1 :].amax(-1)
    expected = (windows[..., centre] > earlier) & (windows[..., centre] >= later)
    found = local_maxima(score, radius)
    assert torch.equal(found[..., 1:-1, 1:-1], expected)
    assert found.sum() == expected.sum() > 0


def test_keypoints_are_the_bumps_strongest_first() -> None:
    centres = [(10.0, 12.0), (40.0, 30.0), (25.0, 40.0)]
    [found] = detect(bumps(centres, [1.0, 3.0, 2.0]), radius=3, threshold=0.5, max_keypoints=100)
    torch.testing.assert_close(found.points, torch.tensor([centres[1], centres[2], centres[0]]), rtol=0, atol=0.02)
    torch.testing.assert_close(found.scores, torch.tensor([3.01, 2.01, 1.01]), rtol=0, atol=1e-3)


def test_refinement_follows_the_bump_between_pixels() -> None:
    """The centroid of 3x3 pixels underestimates the way to a bump's top, but never takes the wrong side."""
    for fraction in (-0.4, -0.2, 0.2, 0.4):
        [found] = detect(bumps([(20 + fraction, 21 - fraction)], [1.0]), radius=3, threshold=0.3, max_keypoints=5)
        shift = (found.points[0] - torch.tensor([20.0, 21.0])) / fraction
        assert 0.3 < shift[0] < 1
        assert 0.3 < -shift[1] < 1


def test_there_are_no_keypoints_but_those_that_pass() -> None:
    score = bumps([(10, 12), (40, 30), (25, 40)], [1.0, 3.0, 2.0])
    counts = [len(detect(score, 3, threshold, most)[0].points) for threshold, most in [(0.5, 2), (1.5, 99), (9.0, 99)]]
    assert counts == [2, 2, 0]
    right = (torch.arange(64) > 30).expand(1, 1, 48, 64)
    [found] = detect(score, 3, 0.5, 99, allowed=right)
    assert len(found.points) == 1
    assert found.points[0, 0] > 30


def test_a_constant_map_and_the_border_give_none() -> None:
    assert not len(detect(torch.ones(1, 1, 32, 32), 1, 0.0, 100)[0].points)
    edge = bumps([(0, 20), (63, 20), (30, 0), (30, 47)], [1.0] * 4)
    [found] = detect(edge, 1, 0.0, 100)
    inside = (found.points > 0).all() and (found.points < torch.tensor([63, 47])).all()
    assert inside


def test_images_of_a_batch_do_not_touch_each_other() -> None:
    one, two = bumps([(10, 12)], [1.0]), bumps([(40, 30), (25, 40)], [3.0, 2.0])
    together = detect(torch.cat([one, two]), 3, 0.5, 100)
    for apart, found in zip([one, two], together, strict=True):
        assert torch.equal(detect(apart, 3, 0.5, 100)[0].points, found.points)


def test_maxima_of_a_response_are_ranked_by_the_score_and_found_between_pixels() -> None:
    centres = [(10.3, 12.0), (40.0, 30.4), (25.0, 40.0)]
    response = bumps(centres, [1.0, 1.0, 1.0]) - 0.01
    score = torch.full_like(response, 1.0)
    score[..., 30, 40], score[..., 40, 25] = 3.0, 2.0
    [found] = detect_on_response(response, score, radius=3, min_response=0.1, max_keypoints=2)
    torch.testing.assert_close(found.points, torch.tensor([centres[1], centres[2]]), rtol=0, atol=0.05)
    torch.testing.assert_close(found.scores, torch.tensor([3.0, 2.0]))
    allowed = torch.zeros_like(response, dtype=torch.bool)
    allowed[..., :20, :] = True
    [found] = detect_on_response(response, score, 3, 0.1, 10, allowed)
    torch.testing.assert_close(found.points, torch.tensor([centres[0]]), rtol=0, atol=0.05)
