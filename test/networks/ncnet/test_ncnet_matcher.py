"""Matching by consensus in a world of known descriptors."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import pytest
import torch
from ncnet_world import DescriptorField, features, scattered, transform, voting_network
from torch import Tensor

from ros_matching.datatypes import Features, Matches
from ros_matching.errors import ConfigError, MatchingError
from ros_matching.networks.ncnet.matcher import ConsensusConfig, ConsensusMatcher
from ros_matching.networks.ncnet.network import consensus_network
from ros_matching.networks.ncnet.readout import MapGrid, peak_fraction, refine
from ros_matching.networks.posfeat.nearest import NearestMatcher

SIZE = (320, 240)
FIELD = DescriptorField()
SEEN_TWICE = 150


def motion(angle: float = 0, scale: float = 1, shift: tuple[float, float] = (0, 0)) -> Tensor:
    """Pixels of image 1 from pixels of image 0: about the image's centre."""
    c, s = scale * math.cos(angle), scale * math.sin(angle)
    x, y = SIZE[0] / 2, SIZE[1] / 2
    return torch.tensor([[c, -s, x - c * x + s * y + shift[0]], [s, c, y - s * x - c * y + shift[1]], [0, 0, 1]])


def two_views(px1_from_px0: Tensor, seed: int = 0) -> tuple[Features, Features]:
    """Images of the world: of 250 keypoints in image 0 the first 150 are found in image 1 too, among 100 others."""
    keypoints0 = scattered(SEEN_TWICE + 100, SIZE, seed)
    keypoints1 = torch.cat([transform(px1_from_px0, keypoints0[:SEEN_TWICE]), scattered(100, SIZE, seed + 1)])
    view0 = features(FIELD, keypoints0, torch.eye(3), SIZE)
    return view0, features(FIELD, keypoints1, torch.linalg.inv(px1_from_px0), SIZE)


def errors_px(matches: Matches, px1_from_px0: Tensor) -> np.ndarray:
    expected = transform(px1_from_px0.double(), torch.from_numpy(matches.points0)).numpy()
    return np.linalg.norm(matches.points1 - expected, axis=1)


MOTIONS = {
    "none": motion(),
    "shift": motion(shift=(21.3, -9.7)),
    "turn": motion(angle=0.3),
    "approach": motion(scale=1.2, shift=(3, 2)),
    "perspective": torch.tensor([[1, 0.02, 5], [0.01, 1.03, -8], [1e-4, -5e-5, 1]]),
}


@pytest.mark.parametrize("form", ["sparse", "dense"])
@pytest.mark.parametrize("name", MOTIONS)
def test_corresponding_points_are_matched_to_a_fraction_of_a_pixel(name: str, form: str) -> None:
    px1_from_px0 = MOTIONS[name]
    view0, view1 = two_views(px1_from_px0)
    matches = ConsensusMatcher(voting_network(), ConsensusConfig(form=form, readout="refined")).match(view0, view1)
    errors = errors_px(matches, px1_from_px0)
    assert np.median(errors) < 0.4
    assert errors.max() < 2
    found = view1.keypoints_px[:SEEN_TWICE]
    inside = np.flatnonzero(((found >= 16) & (found < np.array(SIZE) - 16)).all(axis=1))
    assert np.isin(inside, matches.indices0).mean() > 0.9
    np.testing.assert_array_equal(matches.points0, view0.keypoints_px[matches.indices0])
    assert np.linalg.norm(matches.points1 - view1.keypoints_px[matches.indices1], axis=1).max() <= 4
    assert len(np.unique(matches.indices0)) == len(np.unique(matches.indices1)) == len(matches)
    assert ((matches.scores >= 0.2) & (matches.scores <= 1)).all()


@pytest.mark.parametrize("form", ["sparse", "dense"])
@pytest.mark.parametrize("name", MOTIONS)
def test_gated_matches_are_the_true_keypoints(name: str, form: str) -> None:
    view0, view1 = two_views(MOTIONS[name])
    matches = ConsensusMatcher(voting_network(), ConsensusConfig(form=form)).match(view0, view1)
    right = errors_px(matches, MOTIONS[name]) < 1e-3
    assert np.count_nonzero(right) > 0.9 * SEEN_TWICE
    assert errors_px(matches, MOTIONS[name]).max() < 32  # of two images' own keypoints, some are near each other
    assert matches.scores[right].min() > 0.5
    np.testing.assert_array_equal(matches.points0, view0.keypoints_px[matches.indices0])
    np.testing.assert_array_equal(matches.points1, view1.keypoints_px[matches.indices1])
    assert len(np.unique(matches.indices0)) == len(np.unique(matches.indices1)) == len(matches)


def test_the_gate_removes_distant_matches() -> None:
    """A third of the keypoints have lent their descriptors to points far from where their surroundings went."""
    view0, view1 = two_views(MOTIONS["shift"])
    generator = torch.Generator().manual_seed(2)
    astray = torch.randperm(SEEN_TWICE, generator=generator)[: SEEN_TWICE // 3]
    descriptors = view1.descriptors.clone()
    descriptors[astray] = descriptors[astray.roll(1)]
    view1 = dataclasses.replace(view1, descriptors=descriptors)
    gated = ConsensusMatcher(voting_network(), ConsensusConfig(min_matches=0)).match(view0, view1)
    nearest = NearestMatcher().match(view0, view1)
    found, by_descriptor = errors_px(gated, MOTIONS["shift"]), errors_px(nearest, MOTIONS["shift"])
    more = ConsensusMatcher(voting_network(), ConsensusConfig(min_matches=len(gated) + 9)).match(view0, view1)
    assert len(more) == len(gated) + 9
    assert np.isin(gated.indices0, more.indices0).all()
    assert np.count_nonzero(by_descriptor > 32) > 0.6 * len(astray)
    assert np.count_nonzero(found > 32) < 0.1 * len(astray)
    assert np.count_nonzero(found < 1e-3) > 0.9 * np.count_nonzero(by_descriptor < 1e-3)


def test_unrefined_matches_end_at_keypoints() -> None:
    view0, view1 = two_views(MOTIONS["shift"])
    matches = ConsensusMatcher(voting_network(), ConsensusConfig(readout="agreed")).match(view0, view1)
    np.testing.assert_array_equal(matches.points1, view1.keypoints_px[matches.indices1])


@pytest.mark.parametrize("form", ["sparse", "dense"])
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_autocast_costs_no_precision(dtype: torch.dtype, form: str) -> None:
    view0, view1 = two_views(MOTIONS["turn"])
    matcher = ConsensusMatcher(voting_network(), ConsensusConfig(form=form, readout="refined"))
    full = matcher.match(view0, view1)
    with torch.autocast("cpu", dtype=dtype):
        matches = matcher.match(view0, view1)
    assert len(matches) > 0.95 * len(full)
    assert np.median(errors_px(matches, MOTIONS["turn"])) < 1.05 * np.median(errors_px(full, MOTIONS["turn"]))


def test_images_of_different_size_match() -> None:
    px1_from_px0 = motion(scale=0.75)
    keypoints = scattered(100, SIZE, 5, margin=40)
    view0 = features(FIELD, keypoints, torch.eye(3), SIZE)
    view1 = features(FIELD, transform(px1_from_px0, keypoints), torch.linalg.inv(px1_from_px0), (296, 236))
    matches = ConsensusMatcher(voting_network()).match(view0, view1)
    assert len(matches) > 90
    assert np.median(errors_px(matches, px1_from_px0)) < 0.5


def test_repeated_matching_returns_the_same_matches() -> None:
    """Its coarse map is kept, also for keypoints that moved."""
    view0, view1 = two_views(MOTIONS["shift"])
    matcher = ConsensusMatcher(voting_network())
    first = matcher.match(view0, view1)
    moved = dataclasses.replace(view0, keypoints=view0.keypoints + 0.25)
    for again in (matcher.match(view0, view1), matcher.match(moved, view1)):
        np.testing.assert_array_equal(again.indices1, first.indices1)
    np.testing.assert_allclose(matcher.match(moved, view1).points0, first.points0 + 0.25, atol=1e-4)


def test_unrelated_images_hardly_match() -> None:
    view0, _ = two_views(motion())
    other = DescriptorField(seed=8)
    view1 = features(other, scattered(250, SIZE, 4), torch.eye(3), SIZE)
    matcher = ConsensusMatcher(voting_network(), ConsensusConfig(readout="refined"))
    assert len(matcher.match(view0, view1)) < 5


@pytest.mark.parametrize("form", ["sparse", "dense"])
def test_consensus_outvotes_ambiguous_cells(form: str) -> None:
    """The true displacement is the weaker correlation in a third of the cells; their neighbours know better."""
    generator = torch.Generator().manual_seed(1)
    rows, columns = 12, 16
    cells = torch.arange(rows * columns)
    ground_truth = (cells + 2 * columns + 1)[: (rows - 2) * columns]  # two rows down, one column right
    ground_truth = ground_truth[ground_truth % columns != 0]
    sources = ground_truth - 2 * columns - 1
    table = 0.3 * torch.rand(len(cells), len(cells), generator=generator)
    table[sources, ground_truth] = 0.6
    fooled = sources[torch.randperm(len(sources), generator=generator)[: len(sources) // 3]]
    table[fooled, torch.randint(0, len(cells), (len(fooled),), generator=generator)] = 0.8
    assert (table.argmax(dim=1)[sources] == ground_truth).float().mean() < 0.7

    matcher = ConsensusMatcher(voting_network(), ConsensusConfig(form=form, readout="refined"))
    scores = matcher.consensus(table.reshape(1, 1, rows, columns, rows, columns))
    assert (scores.argmax(dim=1)[sources] == ground_truth).float().mean() > 0.97


def test_without_keypoints_there_are_no_matches() -> None:
    view0, view1 = two_views(motion())
    nobody = dataclasses.replace(
        view1, keypoints=torch.zeros(0, 2), scores=torch.zeros(0), descriptors=view1.descriptors[:0]
    )
    matcher = ConsensusMatcher(voting_network())
    assert len(matcher.match(view0, nobody)) == len(matcher.match(nobody, view0)) == 0


def test_a_flat_world_has_no_matches() -> None:
    descriptors = torch.full((50, 8), 8**-0.5)
    flat = Features(scattered(50, SIZE, 0), torch.ones(50), descriptors, "world", torch.ones(8, 60, 80))
    assert len(ConsensusMatcher(voting_network(), ConsensusConfig(readout="refined")).match(flat, flat)) == 0
    assert ConsensusMatcher(voting_network()).match(flat, flat).scores.max(initial=0) < 0.01


def test_features_that_cannot_be_matched_are_refused() -> None:
    view0, view1 = two_views(motion())
    matcher = ConsensusMatcher(voting_network())
    with pytest.raises(MatchingError, match="'world' with those of 'sift'"):
        matcher.match(view0, dataclasses.replace(view1, extractor="sift"))
    with pytest.raises(MatchingError, match=r"at least 7 x 7 cells, got None from 'world'"):
        matcher.match(view0, dataclasses.replace(view1, dense_map=None))
    with pytest.raises(MatchingError, match=r"got \(64, 60, 6\)"):
        matcher.match(view0, dataclasses.replace(view1, dense_map=view1.dense_map[..., :6]))
    with pytest.raises(MatchingError, match="pool=2"):
        ConsensusMatcher(consensus_network("ncnet_lite", pool=2))
    with pytest.raises(ConfigError, match="sparse, dense"):
        ConsensusConfig(form="both")


@pytest.mark.parametrize("sampling", ["published", "aligned"])
def test_map_cells_are_at_the_sampling_positions_of_posfeat(sampling: str) -> None:
    """Both chains end in reading the map as over cell edges; the published one begins with the pixels' centres."""
    grid = MapGrid(rows=60, columns=80, stride=4, sampling=sampling)
    points = scattered(20, SIZE, 3, margin=0)
    size = torch.tensor(SIZE)
    normalised = 2 * points / (size - 1) - 1 if sampling == "published" else 2 * (points + 0.5) / size - 1
    coordinates = torch.stack(torch.meshgrid(torch.arange(80.0), torch.arange(60.0), indexing="xy"))[None]
    read = torch.nn.functional.grid_sample(
        coordinates, normalised[None, None], padding_mode="border", align_corners=False
    )
    limits = torch.tensor([79.0, 59.0])
    torch.testing.assert_close(grid.from_px(points).clamp(min=0).minimum(limits), read[0, :, 0].T, atol=1e-4, rtol=0)
    torch.testing.assert_close(grid.to_px(grid.from_px(points)), points, atol=1e-4, rtol=0)


def test_the_top_of_a_quadratic_surface_is_found_exactly() -> None:
    top = torch.tensor([[0.3, -0.2], [-0.4, 0.1], [0.0, 0.0]], dtype=torch.float64)
    y, x = torch.meshgrid(*[torch.arange(-1.0, 2, dtype=torch.float64)] * 2, indexing="ij")
    dx, dy = x - top[:, 0, None, None], y - top[:, 1, None, None]
    patches = 0.9 - 0.2 * dx**2 - 0.3 * dy**2 + 0.15 * dx * dy
    torch.testing.assert_close(peak_fraction(patches), top)
    torch.testing.assert_close(peak_fraction(torch.ones(1, 3, 3)), torch.zeros(1, 2))


def test_refinement_at_the_rim_of_its_window_is_marked() -> None:
    grid = MapGrid(rows=20, columns=30, stride=4)
    y, x = torch.meshgrid(torch.arange(20), torch.arange(30), indexing="ij")
    fine = FIELD(grid.to_px(torch.stack([x, y], dim=-1).float()))
    ground_truth = torch.tensor([[10.25, 8.5], [10.25, 8.5], [27.6, 17.4]])
    expected = ground_truth + torch.tensor([[1.7, -1.4], [-4.5, 0], [0.5, 1.0]])
    places, cosines = refine(FIELD(grid.to_px(ground_truth)), fine, expected, radius=3)
    torch.testing.assert_close(places[[0, 2]], ground_truth[[0, 2]], atol=0.2, rtol=0)
    assert (cosines[[0, 2]] > 0.95).all()
    assert cosines[1] == -1
