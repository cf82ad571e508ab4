"""Matches without images: points on surfaces of random depth, seen from two cameras, and wrong matches of many kinds.

They cost nothing, their truth is exact, and they are not bound to one front end. In half of the samples a body that
moves by itself is in view, whose matches agree with each other and not with the motion of the camera.
"""

from __future__ import annotations

import numpy as np

from ros_matching.geometry.se3 import exp_so3, pose_from
from ros_matching.training.ncmnet_matches import PosedMatches

_WAVES = 5
_SPARE = 3  # points drawn for each that is wanted, as many leave the second image
_BODY_SHARE = 0.5  # of the samples that show a body that moves by itself


def synthetic_matches(count: int, rng: np.random.Generator) -> PosedMatches:
    """``count`` matches between two views of one scene, a tenth to nine tenths of them wrong."""
    half = np.tan(np.radians(rng.uniform(20, 42))) * np.array([1.0, rng.uniform(0.6, 1.3)])
    points0 = _points(_SPARE * count, half, rng)
    depths = _depths(points0, rng)
    pose = _motion(rng)
    points1, seen = _seen_again(points0, depths, pose, half)
    body = compact(points0, rng) if rng.random() < _BODY_SHARE else np.zeros(len(points0), dtype=bool)
    body_points1, body_seen = _seen_again(points0, depths * rng.uniform(0.4, 1.0), _motion(rng) @ pose, half)
    right = np.flatnonzero(seen & ~body)[: round(count * rng.uniform(0.1, 0.9))]
    moving = np.flatnonzero(body & body_seen)
    moving = moving[: round((count - len(right)) * rng.uniform(0.3, 1.0))]
    wrong = np.setdiff1d(np.arange(len(points0)), np.concatenate([right, moving]))[: count - len(right) - len(moving)]
    exact = np.concatenate([points1[right], body_points1[moving]])
    good = np.concatenate([points0[np.concatenate([right, moving])], exact], axis=1)
    noise = np.exp(rng.uniform(np.log(3e-4), np.log(4e-3))) / np.sqrt(2)
    good = good + noise * rng.standard_normal(good.shape)
    bad = np.concatenate([points0[wrong], _wrong_partners(points0[wrong], points1[wrong], half, rng)], axis=1)
    matches = np.concatenate([good, bad])
    return PosedMatches(matches[rng.permutation(len(matches))], pose)


def compact(points: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Which of the points (N, 2) of an image lie in one ellipse somewhere in it, a tenth to six tenths of them."""
    centre = points[rng.integers(len(points))]
    offsets = (points - centre) * np.exp(rng.normal(0, 0.4, 2))
    distances = np.linalg.norm(offsets, axis=1)
    return distances <= np.quantile(distances, rng.uniform(0.1, 0.6))


def _seen_again(
    points0: np.ndarray, depths: np.ndarray, pose: np.ndarray, half: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Where points (N, 2) of an image at ``depths`` (N,) are seen after a motion, and whether they are."""
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
    turn = rng.standard_normal(3) * np.radians(np.exp(rng.uniform(np.log(0.5), np.log(15))))
    direction = rng.standard_normal(3) * (1, 0.7, 1)
    length = np.exp(rng.uniform(np.log(0.02), np.log(1.0)))
    translation = length * direction / np.linalg.norm(direction)
    if rng.random() < 0.5:  # keep looking at the scene
        turn[1] += np.arctan(translation[0])
        turn[0] -= np.arctan(translation[1])
    return pose_from(exp_so3(turn), translation)


def _wrong_partners(points0: np.ndarray, true: np.ndarray, half: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Second points (M, 2) for wrong matches: anywhere, near the true one, or moving along with a thing of its own."""
    anywhere = rng.uniform(-half, half, points0.shape)
    near = np.nan_to_num(true, nan=0.0, posinf=0.0, neginf=0.0) + rng.normal(0, rng.uniform(0.01, 0.1), true.shape)
    centre = rng.uniform(-half, half)
    along = (points0 - centre) * rng.uniform(0.8, 1.25) + centre + rng.normal(0, 0.2, 2)
    along = along + rng.normal(0, 2e-3, along.shape)
    kind = rng.choice(3, (len(points0), 1), p=rng.dirichlet([4.0, 1.0, 0.5]))
    partners = np.select([kind == 0, kind == 1], [anywhere, near], along)
    return np.where((np.abs(partners) < half).all(axis=1, keepdims=True), partners, anywhere)
