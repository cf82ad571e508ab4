"""Putative matches with the true motion between their images, and what supervises their pruning."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from ros_matching.geometry.epipolar import essential_from_pose, symmetric_epipolar_distance_px

_GRID = np.stack(np.meshgrid(np.arange(-1, 1, 0.1), np.arange(-1, 1, 0.1)), axis=-1).reshape(-1, 2)
_LIMIT = 1.0  # residuals are cut here: at an epipole they are infinite


class PosedMatches(NamedTuple):
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

    def take(self, rows: np.ndarray) -> PosedMatches:
        """Some of the matches."""
        return self._replace(matches=self.matches[rows])

    def mirrored(self) -> PosedMatches:
        """As seen in a mirror: x of both images changes its sign."""
        sign = np.array([-1.0, 1.0, 1.0, 1.0])
        pose = sign[:, None] * self.camera1_from_camera0 * sign
        return PosedMatches(self.matches * (-1, 1, -1, 1), pose)

    def swapped(self) -> PosedMatches:
        """The other way round."""
        return PosedMatches(self.matches[:, [2, 3, 0, 1]], np.linalg.inv(self.camera1_from_camera0))

    def rolled(self, angle0: float, angle1: float) -> PosedMatches:
        """The cameras turned about their optical axes by angles in radians."""
        turn0, turn1 = _roll(angle0), _roll(angle1)
        matches = np.concatenate([self.matches[:, :2] @ turn0[:2, :2].T, self.matches[:, 2:] @ turn1[:2, :2].T], axis=1)
        return PosedMatches(matches, turn1 @ self.camera1_from_camera0 @ turn0.T)


def varied(pair: PosedMatches, count: int, rng: np.random.Generator) -> PosedMatches:
    """``count`` of the matches of a pair, mirrored, swapped and rolled at random, some of them made wrong.

    Where the pair has fewer, matches of random partners fill the rest.
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
    share = rng.uniform(0, 0.6) * (rng.random() < 0.5)
    spoiled = np.flatnonzero(rng.random(len(matches)) < share)
    matches[spoiled, 2:] = matches[rng.permutation(spoiled), 2:]
    missing = count - len(matches)
    first, second = rng.integers(0, len(matches), (2, missing))
    extra = np.concatenate([matches[first, :2], matches[second, 2:]], axis=1) + rng.normal(0, 0.05, (missing, 4))
    return pair._replace(matches=np.concatenate([matches, extra]))


def with_moving_body(pair: PosedMatches, other: PosedMatches, region: np.ndarray) -> PosedMatches:
    """As if a part of the scene moved by itself: inside a ``region`` of image 0, the matches of ``other`` instead.

    ``region`` (N + M,) tells which of the N matches of ``pair`` and the M of ``other`` lie in it. The motion of the
    camera, and with it what is right, stays that of ``pair``.
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
    share = residual / np.maximum(b + d, 1e-12)
    next1 = line1 - share[:, None] * (line0 @ upper.T)
    next0 = line0 - share[:, None] * (line1 @ upper)
    share = share * 2 * d / np.maximum(np.sum(next0**2, axis=1) + np.sum(next1**2, axis=1), 1e-12)
    points0, points1 = _GRID - share[:, None] * next0, _GRID - share[:, None] * next1
    return np.concatenate([points0, _onto_lines(essential, points0, points1)], axis=1)


def _onto_lines(essential: np.ndarray, points0: np.ndarray, points1: np.ndarray) -> np.ndarray:
    """The points of image 1 (N, 2) moved onto the epipolar lines of those of image 0."""
    lines = points0 @ essential[:, :2].T + essential[:, 2]
    off = np.sum(points1 * lines[:, :2], axis=1) + lines[:, 2]
    return points1 - (off / np.maximum(np.sum(lines[:, :2] ** 2, axis=1), 1e-12))[:, None] * lines[:, :2]


def _roll(angle: float) -> np.ndarray:
    turn = np.eye(4)
    turn[:2, :2] = [[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]
    return turn
