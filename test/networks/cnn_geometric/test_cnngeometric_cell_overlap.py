"""The overlap of two images, by maps whose descriptors are known."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.stats import spearmanr

from ros_matching import load_matcher
from ros_matching.errors import ConfigError
from ros_matching.evaluation.pairs.image_overlap import true_overlap
from ros_matching.io import open_source
from ros_matching.networks.cnn_geometric.cell_overlap import CellOverlap
from ros_matching.networks.cnn_geometric.network import CNNGeometric, cnn_geometric_lite


@pytest.fixture(scope="module")
def estimator() -> CellOverlap:
    """With a head that was never trained: it answers the fit."""
    return CellOverlap(cnn_geometric_lite(["homography"]))


def panorama(seed: int) -> torch.Tensor:
    """Descriptors (64, 120, 480) of a wall that looks different everywhere, smooth over a few cells of a view's 8x8."""
    coarse = torch.randn(1, 64, 16, 61, generator=torch.Generator().manual_seed(seed))
    return torch.nn.functional.interpolate(coarse, size=(120, 480), mode="bilinear", align_corners=True)[0]


def view(wall: torch.Tensor, left: int, top: int = 0) -> torch.Tensor:
    return wall[:, top : top + 120, left : left + 120]


@pytest.mark.parametrize("moved", [0, 24, 48, 72])
def test_the_overlap_of_a_shifted_view_is_its_common_fraction(estimator: CellOverlap, moved: int) -> None:
    wall = panorama(0)
    here = estimator.cells(view(wall, 180))
    others = torch.stack([estimator.cells(view(wall, 180 + side * moved)) for side in (-1, 1)])
    shares = estimator.fractions(here, others)
    torch.testing.assert_close(shares, torch.full((2,), 1 - moved / 120), atol=0.12, rtol=0)


def test_views_of_nothing_in_common_do_not_overlap(estimator: CellOverlap) -> None:
    wall, other = panorama(1), panorama(2)
    here = estimator.cells(view(wall, 0))
    elsewhere = torch.stack([estimator.cells(view(other, 0)), estimator.cells(view(wall, 300))])
    assert (estimator.fractions(here, elsewhere) < 0.1).all()


def test_fractions_of_a_batch_equal_those_of_each(estimator: CellOverlap) -> None:
    wall = panorama(3)
    here = estimator.cells(view(wall, 100))
    others = torch.stack([estimator.cells(view(wall, left)) for left in (100, 130, 170, 260)])
    alone = torch.cat([estimator.fractions(here, other[None]) for other in others])
    torch.testing.assert_close(estimator.fractions(here, others), alone)
    assert (alone[:-1] > alone[1:]).all()


def test_views_of_a_rendered_room_overlap_as_their_depths_say() -> None:
    """With the weights that are shipped; the mean of all is off by 0.2."""
    frames = list(open_source("scene:room?frames=50&seed=3&fps=5&width=320&height=240"))[::5]
    matcher = load_matcher("posfeat+cnngeometric")
    features = [matcher.extract(frame.image) for frame in frames]
    told = np.stack([matcher.overlap_estimator.estimate(each, features) for each in features])
    true = np.array([[true_overlap(frame, other) for other in frames] for frame in frames])
    assert np.mean(np.abs(told - true)) < 0.12
    assert spearmanr(told.ravel(), true.ravel()).statistic > 0.85


def test_it_needs_descriptor_maps_and_a_homography() -> None:
    for network in (cnn_geometric_lite(["affine"]), CNNGeometric("vgg16", ["homography"])):
        with pytest.raises(ConfigError, match="descriptor_map and a homography head"):
            CellOverlap(network)
