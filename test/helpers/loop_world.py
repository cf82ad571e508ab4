"""A ring through a world of points: an odometry that drifts, and a place that is seen again at the end."""

from __future__ import annotations

import numpy as np
from point_world import PointWorld

from ros_matching.atlas.config import TrackingConfig
from ros_matching.geometry.se3 import exp_so3, pose_from, transform
from ros_matching.geometry.sim3 import align_points

# The tracker forgets the beginning of a ring of this many frames
SHORT_MEMORY = TrackingConfig(max_keyframes=8, window_keyframes=5)


def ring(frames: int, turns: float = 1.2, radius: float = 4.0) -> np.ndarray:
    """Poses (frames, 4, 4) on a circle; the camera looks outwards."""
    angles = np.linspace(0, 2 * np.pi * turns, frames)
    centers = np.column_stack([radius * np.sin(angles), 0.2 * np.sin(3 * angles), radius * np.cos(angles)])
    return pose_from(exp_so3(np.column_stack([0 * angles, angles, 0 * angles])), centers)


def hall(count: int = 9000, seed: int = 0) -> np.ndarray:
    """Points (count, 3) on the walls of a hall of 20 x 6 x 20 units, with relief."""
    rng = np.random.default_rng(seed)
    half = np.array([10.0, 3.0, 10.0])
    points = rng.uniform(-half, half, (count, 3))
    axis = rng.choice([0, 2], count)
    points[np.arange(count), axis] = half[axis] * rng.choice([-1, 1], count) * rng.uniform(0.7, 1, count)
    return points


def ring_world(frames: int = 120, noise_px: float = 1.0, **options) -> PointWorld:
    return PointWorld(hall(3000), ring(frames), noise_px=noise_px, **options)


def ate(estimated: np.ndarray, true: np.ndarray) -> float:
    """Absolute trajectory error: the RMSE of positions (N, 3) after alignment by a similarity."""
    aligned = transform(align_points(true, estimated), estimated)
    return float(np.sqrt(np.mean(np.sum((aligned - true) ** 2, axis=1))))


def equal_facades(frames: int = 100, period: float = 12.0, noise_px: float = 0.5) -> PointWorld:
    """A camera passes two equal facades, point by point: every place that it recognises is a wrong one."""
    rng = np.random.default_rng(0)
    facade = rng.uniform([0, -3, 4], [period, 3, 6], (1200, 3))
    shifts = period * np.arange(-1, 4)[:, None] * np.array([1.0, 0.0, 0.0])
    points = (facade + shifts[:, None]).reshape(-1, 3)
    centers = np.column_stack([np.linspace(0, 2.0 * period, frames), 0.2 * np.sin(np.arange(frames) / 9.0)])
    poses = pose_from(np.eye(3), np.column_stack([centers, np.zeros(frames)]))
    world = PointWorld(points, poses, noise_px=noise_px)
    world._descriptors = np.tile(world._descriptors[: len(facade)], (len(shifts), 1))
    return world
