"""ALIKED's parts on maps whose answer is known; the whole of it is tested as a peer (``test_peers``)."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch.nn import functional

from ros_matching.networks.aliked.network import ALIKED, RADIUS_PX, deformable_conv2d, keypoints_of


def test_without_offsets_it_is_a_convolution() -> None:
    torch.manual_seed(0)
    x, weight = torch.randn(2, 3, 9, 11), torch.randn(4, 3, 3, 3)
    found = deformable_conv2d(x, torch.zeros(2, 18, 9, 11), weight)
    torch.testing.assert_close(found, functional.conv2d(x, weight, padding=1), atol=1e-4, rtol=1e-4)


def test_offsets_are_dy_and_dx_of_each_tap_in_reading_order() -> None:
    torch.manual_seed(1)
    x, weight = torch.randn(1, 2, 8, 10), torch.zeros(1, 2, 3, 3)
    weight[0, :, 0, 2] = torch.tensor([1.0, -2.0])  # the upper right tap, number 2
    offset = torch.randn(1, 18, 8, 10)
    offset[:, 4], offset[:, 5] = 2.5, -1.0
    found = deformable_conv2d(x, offset, weight)
    mixed = x[:, 0] - 2 * x[:, 1]
    # At (row 3, column 4) the tap is at (2, 5), moved to (4.5, 4).
    assert found[0, 0, 3, 4] == pytest.approx(float(mixed[0, 4, 4] + mixed[0, 5, 4]) / 2, abs=1e-4)
    assert found[0, 0, 7, 4] == 0  # moved out of the map


def test_keypoints_lie_at_the_peaks_to_a_fraction_of_a_pixel() -> None:
    wanted = np.array([[12.3, 9.6], [30.0, 20.75], [45.4, 12.1]])
    y, x = np.mgrid[:32, :60]
    peaks = [h * np.exp(-((x - u) ** 2 + (y - v) ** 2) / 3) for (u, v), h in zip(wanted, (0.9, 0.8, 0.7), strict=True)]
    score = torch.from_numpy(np.max(peaks, axis=0)).float()
    points, scores = keypoints_of(score, max_keypoints=10)
    assert np.linalg.norm(points.numpy() - wanted, axis=1).max() < 0.3
    assert scores.tolist() == sorted(scores.tolist(), reverse=True)
    assert len(keypoints_of(score, max_keypoints=2)[0]) == 2


def test_keypoints_keep_away_from_the_border() -> None:
    score = torch.zeros(20, 20)
    score[1, 10] = score[10, 19] = 0.9
    score[10, 10] = 0.5
    assert keypoints_of(score, max_keypoints=10)[0].round().tolist() == [[10, 10]]
    assert RADIUS_PX == 2


def test_any_size_has_a_map_for_every_pixel_and_unit_descriptors() -> None:
    torch.manual_seed(2)
    network = ALIKED().eval()
    torch.nn.init.normal_(network.desc_head.agg_weights)
    image = torch.rand(1, 3, 45, 70)
    features, score = network.maps(image)
    assert features.shape == (1, 128, 45, 70)
    assert score.shape == (1, 1, 45, 70)
    points, scores, descriptors = network(image, max_keypoints=7)
    assert len(points) == len(scores) == len(descriptors) <= 7
    torch.testing.assert_close(descriptors.norm(dim=1), torch.ones(len(points)))
