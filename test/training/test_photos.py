"""Views of a photo: their homography against their pixels."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
from scipy.spatial import cKDTree

from ros_matching.errors import TrainingError
from ros_matching.networks.checkpoint import load_installed
from ros_matching.networks.posfeat.extractor import LITE, PoSFeatExtractor
from ros_matching.training.photos import choose_points, map_points, photo_pair

SIZE = (160, 128)


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Two smooth textures."""
    folder = tmp_path_factory.mktemp("photos")
    for number in range(2):
        noise = np.random.default_rng(number).normal(size=(300, 400, 3))
        smooth = cv2.GaussianBlur(noise, (0, 0), 4)
        levels = 127 + 40 * smooth / smooth.std()
        cv2.imwrite(str(folder / f"{number}.png"), levels.clip(0, 255).astype(np.uint8))
    return sorted(folder.iterdir())


@pytest.mark.parametrize("seed", range(12))
def test_corresponding_pixels_look_alike(photos: list[Path], seed: int) -> None:
    rng = np.random.default_rng(seed)
    pair = photo_pair(*photos, SIZE, rng)
    assert pair.view0.shape == pair.view1.shape == (SIZE[1], SIZE[0], 3)
    inside = cv2.erode(pair.inside0, np.ones((5, 5)))
    points0 = choose_points(pair.view0, inside, 300, 0.5, rng)
    points1 = map_points(pair.view1_from_view0, points0)
    seen = ((points1 >= 2) & (points1 <= np.array(SIZE) - 3)).all(axis=1)
    assert seen.sum() > 60
    colours = colours_at(pair.view0, points0[seen])

    def difference(dx: float, dy: float) -> float:
        return float(np.median(np.abs(colours_at(pair.view1, points1[seen] + [dx, dy]) - colours)))

    aside = [difference(dx, dy) for dx, dy in ((0.5, 0), (-0.5, 0), (0, 0.5), (0, -0.5))]
    assert difference(0, 0) < min(aside)


def colours_at(view: np.ndarray, points: np.ndarray) -> np.ndarray:
    return cv2.remap(view.astype(np.float32), points[:, None].astype(np.float32), None, cv2.INTER_LINEAR)[:, 0]


def test_points_lie_in_the_mask(photos: list[Path]) -> None:
    rng = np.random.default_rng(0)
    view = photo_pair(*photos, SIZE, rng).view0
    inside = np.zeros(view.shape[:2], np.uint8)
    inside[40:80, 30:120] = 1
    points = choose_points(view, inside, 200, 0.6, rng)
    assert points.shape == (200, 2)
    assert ((points >= [29, 39]) & (points <= [120.5, 80.5])).all()


def test_keypoint_points_lie_on_keypoints(photos: list[Path]) -> None:
    view = photo_pair(*photos, SIZE, np.random.default_rng(0)).view0
    network = load_installed("posfeat_lite")
    keypoints = PoSFeatExtractor(network, LITE).extract(view).keypoints.numpy()
    points = choose_points(view, np.ones(view.shape[:2], np.uint8), 40, 1.0, np.random.default_rng(1))
    near = cKDTree(keypoints).query(points)[0] < 1.5
    anywhere = choose_points(view, np.ones(view.shape[:2], np.uint8), 40, 0.0, np.random.default_rng(1))
    assert near.mean() > 0.9
    assert (cKDTree(keypoints).query(anywhere)[0] < 1.5).mean() < 0.5


def test_points_behind_the_horizon_are_unknown() -> None:
    matrix = np.array([[1, 0, 0], [0, 1, 0], [0.01, 0, 1.0]])
    assert np.isnan(map_points(matrix, np.array([[-200.0, 0.0]]))).all()


def test_a_file_that_is_no_image_is_named(tmp_path: Path, photos: list[Path]) -> None:
    (tmp_path / "bad.jpg").write_bytes(b"nothing")
    with pytest.raises(TrainingError, match=r"bad\.jpg"):
        photo_pair(tmp_path / "bad.jpg", photos[0], SIZE, np.random.default_rng(0))
