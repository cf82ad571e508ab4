"""The learned matchers with random weights: properties that hold for all weights."""

from __future__ import annotations

from dataclasses import replace

import cv2
import numpy as np
import pytest
import torch

from ros_matching import load_matcher
from ros_matching.datatypes import Camera
from ros_matching.errors import CheckpointError, ConfigError, MatchingError
from ros_matching.matching import LEARNED
from ros_matching.networks import registry
from ros_matching.networks.checkpoint import WeightsCard, save_weights
from ros_matching.networks.cnn_geometric.network import cnn_geometric_lite
from ros_matching.networks.ncnet.network import consensus_network
from ros_matching.networks.posfeat.nearest import nearest_neighbours
from ros_matching.networks.posfeat.network import PoSFeat

CAMERA = Camera(width=320, height=240, fx=280, fy=280, cx=159.5, cy=119.5)
SIZE = (320, 240)


def card(network: str) -> WeightsCard:
    return WeightsCard(network, "random", "nothing", "none", "Apache-2.0")


def counting_network() -> torch.nn.Module:
    """Consensus by hand: the sum over neighbours of equal displacement in both images."""
    network = consensus_network("ncnet_lite")
    first, last = network.consensus.layers
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.zero_()
        for row in range(3):
            for column in range(3):
                first.weight[0, 0, row, column, row, column] = 1
        last.weight[0, 0, 1, 1, 1, 1] = 1
    return network


@pytest.fixture(scope="module")
def weights(tmp_path_factory) -> object:
    """A folder with weights of the lite networks; the description has the running statistics of some noise."""
    folder = tmp_path_factory.mktemp("weights")
    torch.manual_seed(0)
    networks = {name: registry.entry(name).make({}) for name in ("posfeat_lite", "ncmnet_lite")}
    networks["cnn_geometric_lite"] = cnn_geometric_lite(["homography"])
    with torch.no_grad():
        networks["posfeat_lite"].train()(torch.randn(4, 3, 64, 64))
    for name, network in (networks | {"ncnet_lite": counting_network()}).items():
        save_weights(folder / f"{name}.safetensors", network.state_dict(), card(name))
    return folder


def texture(seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    image = np.full((SIZE[1], SIZE[0], 3), 128, np.uint8)
    for _ in range(300):
        corners = rng.integers((0, 0), SIZE) + rng.integers(-25, 25, (5, 2))
        cv2.fillPoly(image, [corners.astype(np.int32)], rng.integers(0, 256, 3).tolist())
    return cv2.GaussianBlur(image, (0, 0), 0.8)


@pytest.mark.parametrize(("name", "tolerance_px"), [("posfeat", 1), ("posfeat+ncnet", 2)])
def test_an_image_matches_itself_and_a_shifted_copy(name, tolerance_px, weights):
    matcher, image = load_matcher(name, "cpu", weights), texture()
    for shift in (0, 16):  # the detector works in cells of 4 pixels, the encoder in cells of 16
        matches = matcher.match_images(image, np.roll(image, shift, axis=1))
        moved = matches.points1 - matches.points0
        assert len(matches) > 100
        assert np.mean(np.abs(moved - (shift, 0)).max(axis=1) < tolerance_px) > 0.8
        assert ((matches.scores >= 0) & (matches.scores <= 1)).all()
        assert len(np.unique(matches.indices0)) == len(matches) == len(np.unique(matches.indices1))


def test_indices_name_the_keypoints_that_match(weights):
    matcher, image = load_matcher("posfeat", weights=weights), texture(1)
    features0, features1 = matcher.extract(image), matcher.extract(np.roll(image, 4, axis=0))
    matches = matcher.match(features0, features1)
    np.testing.assert_array_equal(features0.keypoints_px[matches.indices0], matches.points0)
    refined_by = np.linalg.norm(features1.keypoints_px[matches.indices1] - matches.points1, axis=1)
    assert np.median(refined_by) < 1


@pytest.mark.parametrize("counts", [(57, 83), (30, 128), (40, 300)])
def test_nearest_neighbours_in_blocks_are_those_of_the_whole_table(counts):
    rng = torch.Generator().manual_seed(0)
    first, second = (torch.nn.functional.normalize(torch.randn(n, 8, generator=rng), dim=1) for n in counts)
    second[-1] = second[3]  # a tie, which goes to the first
    table = (first @ second.T).numpy()
    ordered = np.sort(table, axis=1)
    found = nearest_neighbours(first, second, block_entries=counts[1] * 5)
    np.testing.assert_array_equal(found.column, table.argmax(axis=1))
    np.testing.assert_allclose(found.cosine, ordered[:, -1], rtol=1e-5)
    np.testing.assert_allclose(found.second, ordered[:, -2], rtol=1e-5)
    mutual = table.argmax(axis=0)[table.argmax(axis=1)] == np.arange(counts[0])
    np.testing.assert_array_equal(found.mutual, mutual)


def test_descriptors_opposite_to_all_others_still_have_a_nearest():
    """All cosines are negative: the rows of zeros that fill up a group must not count."""
    first = -torch.nn.functional.normalize(torch.rand(5, 8, generator=torch.Generator().manual_seed(1)) + 0.1, dim=1)
    found = nearest_neighbours(first, -first)
    assert (found.cosine < 0).all()
    assert (found.second < 0).all()
    assert (found.column < 5).all()


def test_matchers_share_their_features_and_only_consensus_keeps_the_map(weights):
    image = texture(2)
    plain, pruned, consensus = (load_matcher(name, weights=weights) for name in LEARNED[:1] + LEARNED[2:4])
    features = plain.extract(image)
    assert features.dense_map is None
    assert consensus.extract(image).dense_map is not None
    assert len(plain.match(features, pruned.extract(image))) > 100
    with pytest.raises(MatchingError, match="descriptor map"):
        consensus.match(features, features)
    with pytest.raises(MatchingError, match="'sift'"):
        plain.match(features, load_matcher("sift").extract(image))


def test_a_matcher_with_cnngeometric_estimates_overlaps(weights):
    plain, telling = (load_matcher(name, weights=weights) for name in ("posfeat", "posfeat+cnngeometric"))
    image = texture(6)
    features = telling.extract(image)
    same = telling.extract(image)
    assert telling.overlap_estimator.estimate(features, [same, same]) == pytest.approx([1.0, 1.0])
    assert telling.overlap_estimator.estimate(features, []).shape == (0,)
    assert features.dense_map is None
    assert plain.overlap_estimator.estimate(features, [same]) is None
    assert len(plain.match(features, plain.extract(image))) > 100
    kept = telling.extractor.restored(features.keypoints_px, features.descriptors.numpy(), SIZE)
    assert telling.overlap_estimator.estimate(features, [kept, same]) == pytest.approx([0.0, 1.0])
    assert telling.overlap_estimator.estimate(kept, [same]) is None
    with pytest.raises(MatchingError, match="needs features with cells"):
        telling.overlap_estimator.estimate(features, [plain.extract(image)])


def test_restored_features_are_matched_without_their_image(weights):
    """Features of a map that was kept: stages that need the image leave them out, but only then."""
    matcher = load_matcher("default", weights=weights)
    features, other = (matcher.extract(texture(seed)) for seed in (7, 7))
    kept = features.keypoints_px.astype(np.float32), features.descriptors.numpy().astype(np.float16)
    restored = matcher.extractor.restored(*kept, SIZE)
    matches = matcher.feature_matcher.match(restored, other)
    assert len(matches) > 50  # the descriptors of a random network differ little
    assert matcher.consensus.filter(matches, restored, other) is matches
    moved = matches.points1 + 0.3
    points1, std_px = matcher.refiner.refine_points(restored, other, matches.points0, moved)
    np.testing.assert_array_equal(points1, moved)
    assert np.isnan(std_px).all()
    with pytest.raises(MatchingError, match="descriptor map"):
        matcher.consensus.filter(matches, replace(features, dense_map=None), other)


def test_pruning_needs_cameras_and_enough_matches(weights):
    """Whatever the random network decides, its result is a subset of the matches."""
    plain, pruning = (load_matcher(name, weights=weights) for name in ("posfeat", "posfeat+ncmnet"))
    image, other = texture(3), np.roll(texture(3), 16, axis=1)
    putative = plain.match_images(image, other)
    np.testing.assert_array_equal(pruning.match_images(image, other).points1, putative.points1)
    pruned = pruning.match_images(image, other, CAMERA, CAMERA)
    pairs = set(zip(putative.indices0, putative.indices1, strict=True))
    assert set(zip(pruned.indices0, pruned.indices1, strict=True)) <= pairs
    keypoints = pruning.feature_matcher.match(pruning.extract(image), pruning.extract(other))
    np.testing.assert_array_equal(keypoints.indices1, putative.indices1)
    np.testing.assert_array_equal(pruning.pruner.prune(keypoints, CAMERA, CAMERA).indices1, pruned.indices1)
    assert plain.pruner.prune(keypoints, CAMERA, CAMERA) is keypoints
    few = load_matcher("posfeat+ncmnet", weights=weights, max_keypoints=50)
    features = few.extract(image)
    first = {name: getattr(features, name)[:20] for name in ("keypoints", "scores", "descriptors")}
    some = replace(features, **first)
    assert len(few.match(some, some, CAMERA, CAMERA)) == 20


def test_search_by_projection_finds_landmarks_near_their_projections(weights):
    matcher, image = load_matcher("posfeat", weights=weights), texture(4)
    known, seen = matcher.extract(image), matcher.extract(np.roll(image, 16, axis=0))
    predictions = known.keypoints_px + np.array([0, 16]) + np.random.default_rng(0).normal(0, 1, (len(known), 2))
    points, keypoints = matcher.search_by_projection(known.descriptors, predictions, seen, radius_px=6)
    error_px = np.linalg.norm(seen.keypoints_px[keypoints] - known.keypoints_px[points] - (0, 16), axis=1)
    assert len(points) > 0.5 * len(known)
    assert np.mean(error_px < 2) > 0.9
    assert len(np.unique(points)) == len(points) == len(np.unique(keypoints))


@pytest.mark.parametrize("name", LEARNED)
def test_an_image_without_texture_has_no_features_and_no_pose(name, weights):
    matcher, flat = load_matcher(name, weights=weights), np.full((120, 160, 3), 90, np.uint8)
    assert len(matcher.extract(flat)) == 0
    assert len(matcher.match_images(flat, texture(), CAMERA, CAMERA)) == 0
    assert matcher.relative_pose(flat, flat, CAMERA, CAMERA) is None


def test_weights_come_from_a_folder_or_from_files(weights, tmp_path):
    torch.manual_seed(1)
    full = PoSFeat()
    save_weights(tmp_path / "mine.safetensors", full.state_dict(), card("posfeat"))
    image = texture()[:64, :64]
    given = load_matcher("posfeat+ncnet", weights=[weights, tmp_path / "mine.safetensors"])
    assert given.extract(image).extractor == "posfeat"
    assert load_matcher("posfeat", weights=tmp_path / "mine.safetensors").extract(image).extractor == "posfeat"
    with pytest.raises(CheckpointError, match=r"ncnet_lite"):
        load_matcher("posfeat", weights=[weights, weights / "ncnet_lite.safetensors"])
    with pytest.raises(CheckpointError, match=r"ros-matching train ncmnet'"):
        load_matcher("posfeat+ncmnet", weights=[weights, tmp_path / "mine.safetensors"], variant="full")


def test_missing_weights_and_wrong_arguments_are_refused_with_the_remedy(weights, tmp_path):
    with pytest.raises(CheckpointError, match=r"posfeat_lite.*ros-matching train posfeat_lite"):
        load_matcher("posfeat", weights=tmp_path)
    (tmp_path / "posfeat_lite.safetensors").write_bytes((weights / "ncnet_lite.safetensors").read_bytes())
    with pytest.raises(CheckpointError, match="expected posfeat_lite"):
        load_matcher("posfeat", weights=tmp_path)
    with pytest.raises(MatchingError, match=r"'huge'.*lite, full"):
        load_matcher("posfeat", weights=weights, variant="huge")
    with pytest.raises(ConfigError, match="'gpu'"):
        load_matcher("posfeat", "gpu", weights)
    with pytest.raises(MatchingError, match="weights"):
        load_matcher("sift", weights=weights)
    if not torch.cuda.is_available():
        with pytest.raises(ConfigError, match="CUDA"):
            load_matcher("posfeat", "cuda", weights)


def test_max_keypoints_limits_the_keypoints(weights):
    image = texture(5)
    assert len(load_matcher("posfeat", weights=weights, max_keypoints=64).extract(image)) == 64
    assert len(load_matcher("orb", max_keypoints=64).extract(image)) <= 64


@pytest.mark.parametrize("name", ["default", "posfeat+ncnet+ncmnet"])
@pytest.mark.parametrize("shape", [(1, 1), (31, 640), (32, 32), (33, 47), (32, 900)])
@pytest.mark.parametrize("fill", [0, 255, None])
def test_images_of_any_size_from_the_smallest_are_taken(name, shape, fill):
    noise = np.random.default_rng(0).integers(0, 256, (*shape, 3), dtype=np.uint8)
    image = noise if fill is None else np.full((*shape, 3), fill, np.uint8)
    matcher = load_matcher(name)
    if min(shape) < matcher.extractor.min_side_px:
        with pytest.raises(MatchingError, match="32 pixels"):
            matcher.extract(image)
        return
    features = matcher.extract(image)
    assert len(matcher.match(features, features)) <= len(features)
