"""Features of images, by networks whose weights are random: what holds whatever was learned."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.spatial import cKDTree

from ros_matching.errors import ConfigError, MatchingError
from ros_matching.networks.engines import folded
from ros_matching.networks.posfeat.extractor import PAPER_PRESETS, PoSFeatConfig, PoSFeatExtractor
from ros_matching.networks.posfeat.lite import PoSFeatLite
from ros_matching.networks.posfeat.network import PoSFeat


@pytest.fixture(scope="module")
def lite() -> PoSFeatLite:
    """Random weights, and running statistics that normalisations have after some training."""
    torch.manual_seed(0)
    network = PoSFeatLite()
    with torch.no_grad():
        network.train()(torch.randn(4, 3, 64, 64))
    return network.eval()


@pytest.fixture
def noise() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (150, 200, 3), dtype=np.uint8)


@pytest.mark.parametrize("network_class", [PoSFeat, PoSFeatLite])
def test_features_fit_together(network_class: type[PoSFeat | PoSFeatLite], noise: np.ndarray) -> None:
    torch.manual_seed(0)
    features = PoSFeatExtractor(network_class(), PoSFeatConfig(max_keypoints=200)).extract(noise)
    assert 50 < len(features) <= 200
    assert features.extractor == network_class.name
    assert features.descriptors.shape == (len(features), 128)
    assert features.dense_map.shape == (128, 36, 48)
    torch.testing.assert_close(features.descriptors.norm(dim=1), torch.ones(len(features)))
    assert features.keypoints_px.min() > 0
    assert (features.keypoints_px < (192 - 1, 144 - 1)).all()


def test_keypoints_keep_their_distance(lite: PoSFeatLite, noise: np.ndarray) -> None:
    """Maxima lie further apart than the radius along one axis; refinement moves each by less than a pixel."""
    config = PoSFeatConfig(nms_radius_px=5, score_threshold=0.0)
    points = PoSFeatExtractor(lite, config).extract(noise).keypoints_px
    nearest = cKDTree(points).query(points, k=2, p=np.inf)[0][:, 1]
    assert nearest.min() > 5 + 1 - 2


@pytest.mark.parametrize("level", [0, 90, 255])
def test_a_flat_image_has_no_features(lite: PoSFeatLite, level: int) -> None:
    image = np.full((96, 128, 3), level, np.uint8)
    image += np.random.default_rng(0).integers(0, 2, image.shape, dtype=np.uint8) * (level < 255)
    features = PoSFeatExtractor(lite).extract(image)
    assert len(features) == 0
    assert features.descriptors.shape == (0, 128)
    assert features.keypoints_px.shape == (0, 2)


def test_no_keypoint_lies_on_the_flat_side(lite: PoSFeatLite, noise: np.ndarray) -> None:
    noise[:, 100:] = 120
    points = PoSFeatExtractor(lite).extract(noise).keypoints_px
    assert len(points) > 50
    assert points[:, 0].max() < 100 + 8  # a window of 12 pixels reaches that far
    unguarded = PoSFeatExtractor(lite, PoSFeatConfig(min_contrast=0.0, score_threshold=0.0)).extract(noise)
    assert unguarded.keypoints_px[:, 0].max() > 108


def test_the_rest_beyond_a_multiple_of_16_is_not_looked_at(lite: PoSFeatLite, noise: np.ndarray) -> None:
    extractor = PoSFeatExtractor(lite)
    whole, cropped = extractor.extract(noise), extractor.extract(noise[:144, :192])
    assert torch.equal(whole.keypoints, cropped.keypoints)
    assert torch.equal(whole.descriptors, cropped.descriptors)


@pytest.mark.parametrize("network_class", [PoSFeat, PoSFeatLite])
def test_folding_changes_nothing_but_rounding(network_class: type[PoSFeat | PoSFeatLite]) -> None:
    torch.manual_seed(0)
    network, image = network_class().double(), torch.randn(1, 3, 32, 48, dtype=torch.float64)
    with torch.inference_mode():
        network.train()(torch.randn(2, 3, 64, 64, dtype=torch.float64))
        lean, network = folded(network), network.eval()
        assert not any(isinstance(module, torch.nn.BatchNorm2d) for module in lean.modules())
        for ours, theirs in zip(lean(image), network(image), strict=True):
            torch.testing.assert_close(ours, theirs, rtol=1e-9, atol=1e-9)


def test_the_extractor_leaves_the_network_alone(lite: PoSFeatLite, noise: np.ndarray) -> None:
    before = {key: value.clone() for key, value in lite.state_dict().items()}
    PoSFeatExtractor(lite).extract(noise)
    after = lite.state_dict()
    assert before.keys() == after.keys()
    assert all(torch.equal(before[key], after[key]) for key in before)


def test_half_precision_finds_much_the_same(lite: PoSFeatLite, noise: np.ndarray) -> None:
    full = PoSFeatExtractor(lite).extract(noise)
    half = PoSFeatExtractor(lite, PoSFeatConfig(precision="bfloat16")).extract(noise)
    distance, row = cKDTree(full.keypoints_px).query(half.keypoints_px)
    close = distance < 1
    assert close.mean() > 0.8
    cosine = (half.descriptors * full.descriptors[row]).sum(dim=1)
    assert cosine[torch.from_numpy(close)].min() > 0.98
    assert half.descriptors.dtype == half.scores.dtype == torch.float32


@pytest.mark.parametrize("shape", [(96, 128), (96, 128, 4), (31, 200, 3)])
def test_other_images_are_refused(lite: PoSFeatLite, shape: tuple[int, ...]) -> None:
    with pytest.raises(MatchingError):
        PoSFeatExtractor(lite).extract(np.zeros(shape, np.uint8))
    with pytest.raises(MatchingError, match="uint8"):
        PoSFeatExtractor(lite).extract(np.zeros((96, 128, 3), np.float32))


def test_settings_are_checked() -> None:
    assert PAPER_PRESETS["eth"].max_keypoints == 20480
    with pytest.raises(ConfigError, match="precision"):
        PoSFeatConfig(precision="int8")
