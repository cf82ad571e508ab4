"""Random cameras, poses and points whose geometry is known exactly."""

from __future__ import annotations

import numpy as np
from hypothesis import settings
from hypothesis import strategies as st

from ros_matching.datatypes import Camera
from ros_matching.geometry import se3

CAMERA = Camera(640, 480, 500.0, 510.0, 318.0, 242.0)
OTHER_CAMERA = Camera(320, 240, 260.0, 250.0, 161.0, 118.0)

# Few, repeatable examples without a time limit: the suite runs on small machines.
examples = settings(max_examples=20, deadline=None, derandomize=True)
seeds = st.integers(0, 2**32 - 1)


def vectors(limit: float) -> st.SearchStrategy:
    return st.tuples(*[st.floats(-limit, limit)] * 3).map(np.array)


def random_pose(random: np.random.Generator, angle_rad: float, distance: float) -> np.ndarray:
    """A pose rotated by about ``angle_rad`` and moved by exactly ``distance``."""
    direction = random.normal(size=3)
    direction /= np.linalg.norm(direction)
    return se3.pose_from(se3.exp_so3(random.normal(size=3) * angle_rad), direction * distance)


def random_points(random: np.random.Generator, count: int, camera: Camera = CAMERA, depth=(2.0, 10.0)) -> np.ndarray:
    """Points (N, 3) in the view of a camera at the origin."""
    pixels = random.uniform([0.0, 0.0], [camera.width - 1, camera.height - 1], (count, 2))
    return camera.unproject(pixels) * random.uniform(*depth, count)[:, None]


class TwoViews:
    """Matched pixels of two cameras, a share of them replaced by random pixels, and the ground truth behind them."""

    def __init__(
        self,
        seed: int,
        count: int = 300,
        *,
        noise_px: float = 0.0,
        outliers: float = 0.0,
        distance: float = 0.4,
        angle_rad: float = 0.05,
        camera0: Camera = CAMERA,
        camera1: Camera = CAMERA,
        plane: np.ndarray | None = None,
    ) -> None:
        random = np.random.default_rng(seed)
        self.camera0, self.camera1 = camera0, camera1
        self.camera1_from_camera0 = random_pose(random, angle_rad, distance)
        points = random_points(random, 2 * count, camera0)
        if plane is not None:  # plane @ point = 1
            points = points / (points @ plane)[:, None]
        pixels1 = camera1.project(se3.transform(self.camera1_from_camera0, points))
        kept = np.flatnonzero(np.isfinite(pixels1[:, 0]) & (points[:, 2] > 0))[:count]
        self.points = points[kept]
        self.points0 = camera0.project(self.points) + noise_px * random.normal(size=(len(kept), 2))
        self.points1 = pixels1[kept] + noise_px * random.normal(size=(len(kept), 2))
        self.wrong = random.random(len(kept)) < outliers
        size = [camera1.width - 1, camera1.height - 1]
        self.points1[self.wrong] = random.uniform([0.0, 0.0], size, (np.count_nonzero(self.wrong), 2))

    @property
    def arguments(self) -> tuple[np.ndarray, np.ndarray, Camera, Camera]:
        return self.points0, self.points1, self.camera0, self.camera1

    @property
    def unit_pose(self) -> np.ndarray:
        pose = self.camera1_from_camera0.copy()
        pose[:3, 3] /= np.linalg.norm(pose[:3, 3])
        return pose


def pose_errors_deg(estimate: np.ndarray, ground_truth: np.ndarray) -> tuple[float, float]:
    """Errors of rotation and of the direction of translation, in degrees."""
    rotation = se3.rotation_angle_deg(estimate[:3, :3] @ ground_truth[:3, :3].T)
    return float(rotation), float(se3.angle_between_deg(estimate[:3, 3], ground_truth[:3, 3]))


def numerical_jacobian(function, size: int, step: float = 1e-6) -> np.ndarray:
    """Central differences (..., size) of a function of a step vector, at zero."""
    columns = [(function(step * axis) - function(-step * axis)) / (2 * step) for axis in np.eye(size)]
    return np.stack(columns, axis=-1)
