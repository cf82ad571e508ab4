"""The classical matchers against a known warp and known motion."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from ros_matching import load_matcher
from ros_matching.datatypes import Camera
from ros_matching.errors import MatchingError

MATCHERS = ["sift", "orb"]
TOLERANCES = [("sift", 2), ("orb", 4)]  # ORB's coarsest pyramid level has pixels 3.6 wide
CAMERA = Camera(width=480, height=360, fx=400, fy=400, cx=240, cy=180)


def texture(seed: int = 0, size: int = 512) -> np.ndarray:
    """A image full of corners and blobs of several sizes, (size, size, 3) uint8."""
    rng = np.random.default_rng(seed)
    image = np.full((size, size, 3), 128, np.uint8)
    for _ in range(400):
        corners = rng.integers(0, size, 2) + rng.integers(-40, 40, (5, 2))
        cv2.fillPoly(image, [corners.astype(np.int32)], rng.integers(0, 256, 3).tolist())
    return cv2.GaussianBlur(image, (0, 0), 1.0)


def warped(image: np.ndarray, homography: np.ndarray) -> np.ndarray:
    return cv2.warpPerspective(image, homography, (image.shape[1], image.shape[0]), borderMode=cv2.BORDER_REFLECT)


def transfer(homography: np.ndarray, points: np.ndarray) -> np.ndarray:
    return cv2.perspectiveTransform(points[None], homography)[0]


@pytest.mark.parametrize(("name", "tolerance_px"), TOLERANCES)
def test_matches_follow_a_known_homography(name, tolerance_px):
    angle = np.radians(20)
    homography = np.array([[np.cos(angle), -np.sin(angle), 130], [np.sin(angle), np.cos(angle), -60], [1e-4, -5e-5, 1]])
    image = texture()
    matches = load_matcher(name).match_images(image, warped(image, homography))
    error_px = np.linalg.norm(transfer(homography, matches.points0) - matches.points1, axis=1)
    assert len(matches) > 200
    assert np.mean(error_px < tolerance_px) > 0.9
    assert ((matches.scores >= 0) & (matches.scores <= 1)).all()
    assert len(np.unique(matches.indices0)) == len(matches) == len(np.unique(matches.indices1))


@pytest.mark.parametrize("name", MATCHERS)
def test_indices_name_the_keypoints_that_match(name):
    matcher, image = load_matcher(name), texture(1)
    features0, features1 = matcher.extract(image), matcher.extract(np.roll(image, 7, axis=1))
    matches = matcher.match(features0, features1)
    np.testing.assert_array_equal(features0.keypoints_px[matches.indices0], matches.points0)
    np.testing.assert_array_equal(features1.keypoints_px[matches.indices1], matches.points1)
    assert np.median(matches.points1 - matches.points0, axis=0) == pytest.approx([7, 0], abs=0.1)


@pytest.mark.parametrize("sigma_px", [3, 6, 12])
def test_sift_keypoints_are_at_the_centres_of_blobs(sigma_px):
    """Pixel centres are at integers, whatever the scale at which OpenCV found the point."""
    v, u = np.mgrid[0:240, 0:320]
    rng, errors = np.random.default_rng(sigma_px), []
    for center in rng.uniform((159.5, 119.5), (160.5, 120.5), (20, 2)):
        blob = 60 + 150 * np.exp(-((u - center[0]) ** 2 + (v - center[1]) ** 2) / (2 * sigma_px**2))
        features = load_matcher("sift").extract(np.repeat(blob.astype(np.uint8)[:, :, None], 3, axis=2))
        errors.extend(features.keypoints_px - center)
    assert np.abs(np.median(errors, axis=0)).max() < 0.05


def test_orb_keypoints_have_no_offset_at_any_scale():
    """Opposite corners of a square shift keypoints inwards equally, so that their mean offset over squares is zero."""
    matcher, rng, errors = load_matcher("orb"), np.random.default_rng(0), []
    for _ in range(60):
        image = np.full((240, 320, 3), 40, np.uint8)
        low = rng.integers(80, 140, 2)
        high = low + rng.integers(40, 70)
        cv2.rectangle(image, low.tolist(), high.tolist(), (200, 200, 200), -1)
        keypoints = matcher.extract(cv2.GaussianBlur(image, (0, 0), 1)).keypoints_px
        for corner in (low - 0.5, high + 0.5):
            near = keypoints[np.abs(keypoints - corner).max(axis=1) < 12]
            errors.append(np.mean(near - corner, axis=0))
    assert np.abs(np.mean(errors, axis=0)).max() < 0.15


@pytest.mark.parametrize(("name", "tolerance_px"), TOLERANCES)
def test_search_by_projection_finds_landmarks_near_their_projections(name, tolerance_px):
    matcher, image = load_matcher(name), texture(2)
    known, seen = matcher.extract(image), matcher.extract(np.roll(image, 5, axis=0))
    predictions = known.keypoints_px + np.array([0, 5]) + np.random.default_rng(0).normal(0, 1, (len(known), 2))
    points, keypoints = matcher.search_by_projection(known.descriptors, predictions, seen, radius_px=8)
    error_px = np.linalg.norm(seen.keypoints_px[keypoints] - known.keypoints_px[points] - (0, 5), axis=1)
    assert len(points) > 0.6 * len(known)
    assert np.mean(error_px < tolerance_px) > 0.95
    assert len(np.unique(points)) == len(points) == len(np.unique(keypoints))
    assert len(matcher.search_by_projection(known.descriptors, predictions + 1000, seen, radius_px=8)[0]) == 0


@pytest.mark.parametrize("name", MATCHERS)
def test_search_by_projection_returns_the_mutual_nearest_within_the_radius(name):
    """As by comparing each point with each keypoint; at radius 0 a keypoint at the prediction itself counts."""
    matcher = load_matcher(name, max_keypoints=150)
    known, seen = matcher.extract(texture(2)), matcher.extract(np.roll(texture(2), 3, axis=1))
    for predictions, radius_px in (
        (known.keypoints_px + np.array([2, 1]), 6.0),
        (seen.keypoints_px[: len(known)], 0.0),
    ):
        descriptors = known.descriptors[: len(predictions)]
        apart_px = np.linalg.norm(predictions[:, None] - seen.keypoints_px, axis=2)
        table = np.stack([matcher.metric.distance(row[None], seen.descriptors) for row in descriptors]).astype(float)
        table[(apart_px > radius_px) | (table >= matcher.metric.max_distance)] = np.inf
        expected = [
            (i, j) for i, j in np.argwhere(np.isfinite(table)) if table[i].argmin() == j and table[:, j].argmin() == i
        ]
        found = matcher.search_by_projection(descriptors, predictions, seen, radius_px)
        assert len(expected) > 10
        assert sorted(zip(*map(list, found), strict=True)) == expected


@pytest.mark.parametrize("name", MATCHERS)
def test_an_image_without_texture_has_no_features_and_no_pose(name):
    matcher, flat = load_matcher(name), np.full((120, 160, 3), 90, np.uint8)
    assert len(matcher.extract(flat)) == 0
    assert len(matcher.match_images(flat, texture())) == 0
    camera = Camera(width=160, height=120, fx=100, fy=100, cx=80, cy=60)
    assert matcher.relative_pose(flat, flat, camera, camera) is None


def test_wrong_input_is_refused_with_the_remedy():
    with pytest.raises(MatchingError, match=r"'surf'.*sift.*orb"):
        load_matcher("surf")
    with pytest.raises(MatchingError, match="CPU"):
        load_matcher("sift", device="cuda")
    with pytest.raises(MatchingError, match=r"\(H, W, 3\) uint8"):
        load_matcher("sift").extract(np.zeros((10, 10)))
    image = texture()
    with pytest.raises(MatchingError, match=r"'sift'.*'orb'"):
        load_matcher("sift").match(load_matcher("orb").extract(image), load_matcher("sift").extract(image))


@pytest.mark.parametrize("name", ["sift", "orb"])
@pytest.mark.parametrize("shape", [(1, 1), (1, 640), (640, 1), (2, 2), (7, 5), (31, 31), (62, 300), (32, 3000)])
@pytest.mark.parametrize("fill", [0, 255, None])
def test_images_of_any_size_are_taken(name, shape, fill):
    """Too small for a keypoint is no failure: there are no features then."""
    noise = np.random.default_rng(0).integers(0, 256, (*shape, 3), dtype=np.uint8)
    image = noise if fill is None else np.full((*shape, 3), fill, np.uint8)
    matcher = load_matcher(name)
    features = matcher.extract(image)
    assert len(matcher.match(features, features)) <= len(features)
    if fill is not None or min(shape) < matcher.extractor.min_side_px:
        assert len(features) == 0
