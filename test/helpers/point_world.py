"""A world of points with unique descriptors: ground truth for the tracker without rendering.

Each point has a random unit descriptor. The image of a frame contains only its number; from it the matcher looks up the
true pose, and projects the visible points with pixel noise.
"""

from __future__ import annotations

from collections.abc import Iterator
from types import SimpleNamespace

import numpy as np

from ros_matching.datatypes import Camera, Features, Frame, Matches
from ros_matching.geometry.se3 import exp_so3, invert, pose_from, transform
from ros_matching.matching.parts import EuclideanMetric, FeatureExtractor
from ros_matching.matching.pipeline import MatchingPipeline

CAMERA = Camera(width=640, height=480, fx=500, fy=500, cx=320, cy=240)
FRAME_NS = 33_333_333


class PointWorld(MatchingPipeline):
    """Matcher of known points (P, 3) from true poses (F, 4, 4); ``covered`` frames have no keypoints."""

    def __init__(
        self,
        points: np.ndarray,
        world_from_camera: np.ndarray,
        noise_px: float = 0.3,
        outliers: float = 0.1,
        covered: tuple[int, ...] = (),
        seed: int = 0,
    ) -> None:
        self.compose()
        self.points, self.poses = points, world_from_camera
        self._noise_px, self._outliers, self._covered, self._seed = noise_px, outliers, covered, seed
        descriptors = np.random.default_rng(seed).normal(size=(len(points), 64))
        self._descriptors = descriptors / np.linalg.norm(descriptors, axis=1, keepdims=True)

    fingerprint = "points"
    restored = FeatureExtractor.restored
    is_available = True

    def describe(self, descriptors: np.ndarray) -> np.ndarray:
        """Place descriptor: the sum of the descriptors, as each point has its own."""
        total = descriptors.astype(np.float32).sum(axis=0)
        return total / np.linalg.norm(total)

    def compose(self) -> None:
        matcher = SimpleNamespace(match=lambda features0, features1: self.match_points(features0, features1))
        super().__init__("points", self, matcher, EuclideanMetric(max_distance=0.1), place_describer=self)

    def frames(self) -> Iterator[Frame]:
        for index, pose in enumerate(self.poses):
            image = np.zeros((CAMERA.height, CAMERA.width, 3), np.uint8)
            image[0, 0] = index // 256, index % 256, 0
            yield Frame(index, 1_000_000_000 + index * FRAME_NS, image, CAMERA, true_world_from_camera=pose)

    def extract(self, image: np.ndarray) -> Features:
        index = int(image[0, 0, 0]) * 256 + int(image[0, 0, 1])
        rng = np.random.default_rng((self._seed, index))
        pixels = CAMERA.project(transform(invert(self.poses[index]), self.points))
        with np.errstate(invalid="ignore"):
            inside = ((pixels >= 0) & (pixels < (CAMERA.width, CAMERA.height))).all(axis=1)
        rows = np.flatnonzero(inside)
        rows = rows[:0] if index in self._covered else rng.permutation(rows)[:800]
        keypoints = pixels[rows] + rng.normal(0, self._noise_px, (len(rows), 2))
        wrong = rng.random(len(rows)) < self._outliers
        keypoints[wrong] = rng.uniform((0, 0), (CAMERA.width, CAMERA.height), (np.count_nonzero(wrong), 2))
        return Features(keypoints, np.ones(len(rows)), self._descriptors[rows], self.name)

    def match_points(self, features0, features1) -> Matches:
        if not len(features0) or not len(features1):
            empty = np.zeros(0, np.intp)
            return Matches(np.zeros((0, 2)), np.zeros((0, 2)), np.zeros(0), empty, empty)
        similarity = features0.descriptors @ features1.descriptors.T
        rows0, rows1 = np.nonzero(similarity > 0.99)
        return Matches(features0.keypoints_px[rows0], features1.keypoints_px[rows1], np.ones(len(rows0)), rows0, rows1)


def cloud(count: int = 6000, seed: int = 0) -> np.ndarray:
    """Points (count, 3) on the walls of a box of 12 x 6 x 12 units around the origin, with relief."""
    rng = np.random.default_rng(seed)
    half = np.array([6.0, 3.0, 6.0])
    points = rng.uniform(-half, half, (count, 3))
    axis = rng.integers(0, 3, count)
    points[np.arange(count), axis] = half[axis] * rng.choice([-1, 1], count) * rng.uniform(0.7, 1, count)
    return points


def walk(frames: int, speed: float = 0.03, seed: int = 0) -> np.ndarray:
    """A smooth curve (frames, 4, 4) through the box with slow rotation."""
    s = np.arange(frames) * speed
    centers = np.column_stack([1.5 * np.sin(s / 1.5), 0.3 * np.sin(s), 1.0 - np.cos(s / 1.5)])
    rotations = np.column_stack([0.05 * np.sin(s), 0.4 * np.sin(s / 3), 0.1 * np.sin(s / 2)])
    return pose_from(exp_so3(rotations), centers)


def pure_rotation(frames: int, degrees: float) -> np.ndarray:
    """Pure rotation about the vertical at constant speed (frames, 4, 4)."""
    angles = np.radians(np.linspace(0, degrees, frames))
    return pose_from(exp_so3(np.column_stack([0 * angles, angles, 0 * angles])), np.zeros((frames, 3)))
