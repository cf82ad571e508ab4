"""Covariances of poses in a map against errors over many maps with random noise, with ground truth."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest
from scipy.stats import chi2

from ros_matching.atlas.config import TrackingConfig
from ros_matching.atlas.keyframes import NO_LANDMARK
from ros_matching.atlas.local_map import LocalMap
from ros_matching.backend.local_mapping import LocalMapper
from ros_matching.datatypes import Camera, Features, Frame
from ros_matching.evaluation.trajectory.consistency import nees
from ros_matching.geometry import se3
from ros_matching.geometry.pnp import refine_pose
from ros_matching.stages import StageTimer
from ros_matching.uncertainty.calibration import Calibration
from ros_matching.uncertainty.pose_uncertainty import PoseUncertainty

CAMERA = Camera(width=640, height=480, fx=500, fy=500, cx=320, cy=240)
NOISE_PX = 0.4
CORRELATION = 0.6  # of the noise of a landmark in two consecutive images
FORMAL = Calibration(noise=1.0, common=1.0, drift=1.0)
LANDMARKS, KEYFRAMES, MAPS = 80, 6, 120


@dataclass(frozen=True)
class Trial:
    """Errors (6,) of two frames in one map, and their covariances, by name."""

    errors: dict[str, np.ndarray]
    covariances: dict[str, np.ndarray]


def true_poses(count: int) -> np.ndarray:
    """Poses world_from_camera (count, 4, 4) of a sideways motion with a small rotation."""
    s = np.arange(count)
    rotations = np.column_stack([0.01 * s, -0.02 * s, 0 * s])
    return se3.pose_from(se3.exp_so3(rotations), np.column_stack([0.15 * s, 0.02 * s, 0.03 * s]))


def make_map(points: np.ndarray, poses: np.ndarray, random: np.random.Generator) -> LocalMap:
    """Make a map of the true points, which every keyframe observes with noise; not adjusted."""
    local_map = LocalMap(CAMERA, 40)
    local_map.append_landmarks(points, np.zeros((len(points), 2)))
    for index, pose in enumerate(poses):
        pixels = CAMERA.project(se3.transform(se3.invert(pose), points))
        observed = np.isfinite(pixels).all(axis=1)
        ids = np.where(observed, np.arange(len(points)), NO_LANDMARK)
        pixels = np.nan_to_num(pixels) + NOISE_PX * random.normal(size=pixels.shape)
        features = Features(pixels, np.ones(len(points)), local_map.descriptors, "points")
        frame = Frame(index, 1 + index, np.zeros((480, 640, 3), np.uint8), CAMERA)
        local_map.add_keyframe(frame, features, se3.invert(pose), ids)
    return local_map


def run_trial(seed: int, calibration: Calibration = FORMAL) -> Trial:
    """Adjust a map with three exact keyframes, then localise two frames that move away from it."""
    random = np.random.default_rng(seed)
    poses = true_poses(KEYFRAMES + 2)
    points = CAMERA.unproject(random.uniform((0, 0), (639, 479), (LANDMARKS, 2)))
    points = points * random.uniform(2.0, 6.0, LANDMARKS)[:, None] + [0.3, 0, 0]
    local_map = make_map(points, poses[:KEYFRAMES], random)
    mapper = LocalMapper(None, TrackingConfig(window_keyframes=3), StageTimer())
    mapper.adjust(local_map, local_map.keyframes[-1])
    uncertainty = PoseUncertainty(calibration)
    uncertainty.start_map(local_map.keyframes[2], np.zeros((7, 7)))
    uncertainty.update(local_map, mapper.adjusted_window(local_map, local_map.keyframes[-1]))
    common = random.normal(size=(len(points), 2))
    estimates, located = [], []
    for pose in poses[KEYFRAMES:]:
        pixels = CAMERA.project(se3.transform(se3.invert(pose), points))[local_map.ids]
        noise = np.sqrt(CORRELATION) * common + np.sqrt(1 - CORRELATION) * random.normal(size=common.shape)
        pixels = pixels + NOISE_PX * noise[local_map.ids]
        rows = np.flatnonzero((np.isfinite(pixels) & (pixels >= 0) & (pixels < (640, 480))).all(axis=1))
        found = refine_pose(se3.invert(pose), local_map.positions[rows], pixels[rows], CAMERA, 3.0)
        rows = rows[found.inliers]
        estimates.append(found.camera_from_world)
        located.append(uncertainty.estimate(local_map, found.camera_from_world, local_map.ids[rows], pixels[rows], 3.0))
    world = [se3.invert(estimate) for estimate in estimates]
    ground_truth = poses[KEYFRAMES:]
    return Trial(
        errors={
            "world": se3.local(world[1], ground_truth[1]),
            "relative": se3.local(se3.invert(world[0]) @ world[1], se3.invert(ground_truth[0]) @ ground_truth[1]),
        },
        covariances={
            "world": uncertainty.world_covariance(located[1]),
            "relative": uncertainty.relative_covariance(*located),
        },
    )


def mean_nees(trials: list[Trial], name: str) -> float:
    return float(
        np.mean(nees(np.stack([t.errors[name] for t in trials]), np.stack([t.covariances[name] for t in trials])))
    )


@pytest.fixture(scope="module")
def trials() -> list[Trial]:
    return [run_trial(seed) for seed in range(MAPS)]


@pytest.mark.parametrize("name", ["world", "relative"])
def test_errors_agree_with_the_covariance(trials, name):
    """The NEES is within its chi-square bounds."""
    low, high = chi2.ppf([0.0005, 0.9995], 6 * MAPS) / MAPS
    assert 0.95 * low < mean_nees(trials, name) < 1.1 * high


def test_covariances_have_the_unit_of_a_rescaled_map():
    """A map twice as large has positions and covariances of the same poses twice, and four times, as large."""
    random, factor = np.random.default_rng(0), 2.0
    poses = true_poses(KEYFRAMES)
    points = CAMERA.unproject(random.uniform((0, 0), (639, 479), (LANDMARKS, 2))) * random.uniform(2, 6, (LANDMARKS, 1))
    local_map = make_map(points, poses, random)
    mapper = LocalMapper(None, TrackingConfig(window_keyframes=3), StageTimer())
    mapper.adjust(local_map, local_map.keyframes[-1])
    uncertainty = PoseUncertainty(FORMAL)
    uncertainty.start_map(local_map.keyframes[2], np.diag([1e-4] * 3 + [1e-6] * 3 + [0.0]))
    uncertainty.update(local_map, mapper.adjusted_window(local_map, local_map.keyframes[-1]))
    covariances = []
    for _ in range(2):
        last = local_map.keyframes[-1]
        rows = local_map.known(last.observed)
        estimate = uncertainty.estimate(
            local_map, last.camera_from_world, last.observed[rows], last.features.keypoints_px[last.observed[rows]], 3.0
        )
        covariances.append(uncertainty.world_covariance(estimate))
        if len(covariances) < 2:
            local_map.rescale(factor, about=np.array([5.0, 0.0, 0.0]))
            uncertainty.rescale(factor, local_map)
    units = np.repeat([factor, 1.0], 3)
    np.testing.assert_allclose(covariances[1], covariances[0] * np.outer(units, units), rtol=1e-6, atol=1e-12)
