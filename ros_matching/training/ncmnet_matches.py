"""Putative matches with the true motion between their images, and the labels for their pruning."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from ros_matching.geometry.epipolar import essential_from_pose, symmetric_epipolar_distance_px
from ros_matching.geometry.se3 import exp_so3, pose_from

_GRID = np.stack(np.meshgrid(np.arange(-1, 1, 0.1), np.arange(-1, 1, 0.1)), axis=-1).reshape(-1, 2)
_LIMIT = 1.0  # residuals are cut here: at an epipole they are infinite


class PutativeMatches(NamedTuple):
    """``matches`` (N, 4), (x0, y0, x1, y1) in normalised camera coordinates, and ``camera1_from_camera0`` (4, 4)."""

    matches: np.ndarray
    camera1_from_camera0: np.ndarray

    @property
    def essential(self) -> np.ndarray:
        """The true essential matrix (3, 3)."""
        return essential_from_pose(self.camera1_from_camera0)

    @property
    def residuals(self) -> np.ndarray:
        """Sums (N,) of the squared distances from the true epipolar lines in both images, at most 1."""
        # On normalised coordinates the essential matrix is the fundamental matrix, and a pixel is a focal length.
        distance = symmetric_epipolar_distance_px(self.essential, self.matches[:, :2], self.matches[:, 2:])
        return np.minimum(distance**2, _LIMIT)

    def take(self, rows: np.ndarray) -> PutativeMatches:
        """Some of the matches."""
        return self._replace(matches=self.matches[rows])

    def mirrored(self) -> PutativeMatches:
        """Return the mirrored matches: x of both images changes its sign."""
        sign = np.array([-1.0, 1.0, 1.0, 1.0])
        pose = sign[:, None] * self.camera1_from_camera0 * sign
        return PutativeMatches(self.matches * (-1, 1, -1, 1), pose)

    def swapped(self) -> PutativeMatches:
        """The other way round."""
        return PutativeMatches(self.matches[:, [2, 3, 0, 1]], np.linalg.inv(self.camera1_from_camera0))

    def rolled(self, angle0: float, angle1: float) -> PutativeMatches:
        """Rotate the cameras about their optical axes by angles in radians."""
        turn0, turn1 = _roll(angle0), _roll(angle1)
        matches = np.concatenate([self.matches[:, :2] @ turn0[:2, :2].T, self.matches[:, 2:] @ turn1[:2, :2].T], axis=1)
        return PutativeMatches(matches, turn1 @ self.camera1_from_camera0 @ turn0.T)


def varied(pair: PutativeMatches, count: int, rng: np.random.Generator) -> PutativeMatches:
    """``count`` of the matches of a pair, mirrored, swapped and rolled at random, some of them made wrong.

    Where the pair has fewer, random wrong matches fill the rest.
    """
    pair = pair.take(rng.permutation(len(pair.matches))[:count])
    if rng.random() < 0.5:
        pair = pair.mirrored()
    if rng.random() < 0.5:
        pair = pair.swapped()
    quarter = rng.choice([-1, 0, 1, 2], p=[0.1, 0.7, 0.1, 0.1]) * np.pi / 2
    common = rng.normal(quarter, 0.15)
    pair = pair.rolled(common, rng.normal(common, 0.1))
    matches = pair.matches.copy()
    fraction = rng.uniform(0, 0.6) * (rng.random() < 0.5)
    spoiled = np.flatnonzero(rng.random(len(matches)) < fraction)
    matches[spoiled, 2:] = matches[rng.permutation(spoiled), 2:]
    missing = count - len(matches)
    first, second = rng.integers(0, len(matches), (2, missing))
    extra = np.concatenate([matches[first, :2], matches[second, 2:]], axis=1) + rng.normal(0, 0.05, (missing, 4))
    return pair._replace(matches=np.concatenate([matches, extra]))


def with_moving_body(pair: PutativeMatches, other: PutativeMatches, region: np.ndarray) -> PutativeMatches:
    """Add a moving body: inside a ``region`` of image 0, take the matches of ``other``.

    ``region`` (N + M,) marks which of the N matches of ``pair`` and the M of ``other`` lie in it. The motion of the
    camera, and with it the labels, remain those of ``pair``.
    """
    inside = region[: len(pair.matches)], region[len(pair.matches) :]
    return pair._replace(matches=np.concatenate([pair.matches[~inside[0]], other.matches[inside[1]]]))


def virtual_matches(essential: np.ndarray) -> np.ndarray:
    """Exact matches (400, 4) of an essential matrix, the nearest to a 20 x 20 grid over [-1, 1) in both images.

    The optimal correction, by two steps of Lindstrom, "Triangulation made easy", CVPR 2010; then to the epipolar line.
    """
    upper = essential[:2, :2]
    homogeneous = np.column_stack([_GRID, np.ones(len(_GRID))])
    residual = np.sum(homogeneous * (homogeneous @ essential), axis=1)
    line1 = homogeneous @ essential[:2].T
    line0 = homogeneous @ essential[:, :2]
    a = np.sum(line1 * (line0 @ upper.T), axis=1)
    b = 0.5 * (np.sum(line0**2, axis=1) + np.sum(line1**2, axis=1))
    d = np.sqrt(np.maximum(b**2 - a * residual, 0))
    step = residual / np.maximum(b + d, 1e-12)
    next1 = line1 - step[:, None] * (line0 @ upper.T)
    next0 = line0 - step[:, None] * (line1 @ upper)
    step = step * 2 * d / np.maximum(np.sum(next0**2, axis=1) + np.sum(next1**2, axis=1), 1e-12)
    points0, points1 = _GRID - step[:, None] * next0, _GRID - step[:, None] * next1
    return np.concatenate([points0, _onto_lines(essential, points0, points1)], axis=1)


def _onto_lines(essential: np.ndarray, points0: np.ndarray, points1: np.ndarray) -> np.ndarray:
    """The points of image 1 (N, 2) moved onto the epipolar lines of those of image 0."""
    lines = points0 @ essential[:, :2].T + essential[:, 2]
    off = np.sum(points1 * lines[:, :2], axis=1) + lines[:, 2]
    return points1 - (off / np.maximum(np.sum(lines[:, :2] ** 2, axis=1), 1e-12))[:, None] * lines[:, :2]


def _roll(angle: float) -> np.ndarray:
    rotation = np.eye(4)
    rotation[:2, :2] = [[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]
    return rotation


_WAVES = 5
_SPARE = 3  # points drawn for each that is wanted, as many leave the second image
_BODY_FRACTION = 0.5  # of the samples with a moving body


def synthetic_matches(count: int, rng: np.random.Generator) -> PutativeMatches:
    """``count`` matches between two views of one scene, a tenth to nine tenths of them wrong."""
    half = np.tan(np.radians(rng.uniform(20, 42))) * np.array([1.0, rng.uniform(0.6, 1.3)])
    points0 = _points(_SPARE * count, half, rng)
    depths = _depths(points0, rng)
    pose = _motion(rng)
    points1, is_visible = _seen_again(points0, depths, pose, half)
    body = compact(points0, rng) if rng.random() < _BODY_FRACTION else np.zeros(len(points0), dtype=bool)
    body_points1, body_seen = _seen_again(points0, depths * rng.uniform(0.4, 1.0), _motion(rng) @ pose, half)
    right = np.flatnonzero(is_visible & ~body)[: round(count * rng.uniform(0.1, 0.9))]
    moving = np.flatnonzero(body & body_seen)
    moving = moving[: round((count - len(right)) * rng.uniform(0.3, 1.0))]
    wrong = np.setdiff1d(np.arange(len(points0)), np.concatenate([right, moving]))[: count - len(right) - len(moving)]
    exact = np.concatenate([points1[right], body_points1[moving]])
    good = np.concatenate([points0[np.concatenate([right, moving])], exact], axis=1)
    noise = np.exp(rng.uniform(np.log(3e-4), np.log(4e-3))) / np.sqrt(2)
    good = good + noise * rng.standard_normal(good.shape)
    bad = np.concatenate([points0[wrong], _wrong_counterparts(points0[wrong], points1[wrong], half, rng)], axis=1)
    matches = np.concatenate([good, bad])
    return PutativeMatches(matches[rng.permutation(len(matches))], pose)


def compact(points: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Return True for the points (N, 2) in a random ellipse of the image, a tenth to six tenths of them."""
    centre = points[rng.integers(len(points))]
    offsets = (points - centre) * np.exp(rng.normal(0, 0.4, 2))
    distances = np.linalg.norm(offsets, axis=1)
    return distances <= np.quantile(distances, rng.uniform(0.1, 0.6))


def _seen_again(
    points0: np.ndarray, depths: np.ndarray, pose: np.ndarray, half: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Return the positions of points (N, 2) at ``depths`` (N,) after a motion, and True for visible ones."""
    moved = np.column_stack([points0, np.ones(len(points0))]) * depths[:, None] @ pose[:3, :3].T + pose[:3, 3]
    with np.errstate(divide="ignore", invalid="ignore"):
        points1 = moved[:, :2] / moved[:, 2:]
        return points1, (moved[:, 2] > 0.05) & (np.abs(points1) < half).all(axis=1)


def _points(count: int, half: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Points (count, 2) of an image of half sizes ``half``: some anywhere, some in clusters, as texture is."""
    anywhere = rng.uniform(-half, half, (count, 2))
    centres = rng.uniform(-half, half, (rng.integers(2, 12), 2))
    near = centres[rng.integers(0, len(centres), count)] + rng.normal(0, 0.15, (count, 2)) * half
    clustered = (rng.random(count) < rng.uniform(0, 0.8)) & (np.abs(near) < half).all(axis=1)
    return np.where(clustered[:, None], near, anywhere)


def _depths(points: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Depths (N,) around 1 of image points (N, 2): a tilted plane, in most scenes with steps, waves and fine relief."""
    tilt = rng.normal(0, 0.5, 2)
    log_depth = -np.log(np.clip(1 + points @ tilt, 0.2, None))
    if rng.random() < 0.8:
        phases = points @ rng.normal(0, 3, (2, _WAVES)) + rng.uniform(0, 2 * np.pi, _WAVES)
        log_depth += np.sign(np.sin(phases)) @ rng.normal(0, rng.uniform(0.05, 0.35), _WAVES)
        log_depth += np.sin(phases) @ rng.normal(0, 0.1, _WAVES)
        log_depth += rng.normal(0, rng.uniform(0, 0.1), len(points))
    return np.exp(np.clip(log_depth - np.median(log_depth), -2.5, 2.5))


def _motion(rng: np.random.Generator) -> np.ndarray:
    """camera1_from_camera0 (4, 4), from that between frames of a video to a wide baseline; the scene is 1 away."""
    rotation = rng.standard_normal(3) * np.radians(np.exp(rng.uniform(np.log(0.5), np.log(15))))
    direction = rng.standard_normal(3) * (1, 0.7, 1)
    length = np.exp(rng.uniform(np.log(0.02), np.log(1.0)))
    translation = length * direction / np.linalg.norm(direction)
    if rng.random() < 0.5:  # keep looking at the scene
        rotation[1] += np.arctan(translation[0])
        rotation[0] -= np.arctan(translation[1])
    return pose_from(exp_so3(rotation), translation)


def _wrong_counterparts(
    points0: np.ndarray, true: np.ndarray, half: np.ndarray, rng: np.random.Generator
) -> np.ndarray:
    """Second points (M, 2) for wrong matches: anywhere, near the true one, or moving along with a thing of its own."""
    anywhere = rng.uniform(-half, half, points0.shape)
    near = np.nan_to_num(true, nan=0.0, posinf=0.0, neginf=0.0) + rng.normal(0, rng.uniform(0.01, 0.1), true.shape)
    centre = rng.uniform(-half, half)
    along = (points0 - centre) * rng.uniform(0.8, 1.25) + centre + rng.normal(0, 0.2, 2)
    along = along + rng.normal(0, 2e-3, along.shape)
    kind = rng.choice(3, (len(points0), 1), p=rng.dirichlet([4.0, 1.0, 0.5]))
    points1 = np.select([kind == 0, kind == 1], [anywhere, near], along)
    return np.where((np.abs(points1) < half).all(axis=1, keepdims=True), points1, anywhere)
