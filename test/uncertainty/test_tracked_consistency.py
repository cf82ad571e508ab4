"""Covariances of the tracker against ground truth, on points and on a rendered sequence."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from point_world import CAMERA, PointWorld, cloud, walk

from ros_matching.datatypes import Features, Frame
from ros_matching.evaluation.trajectory.consistency import Consistency, EvaluatedPose, evaluate_consistency
from ros_matching.geometry.intrinsics_error import IntrinsicsStds
from ros_matching.io import open_source
from ros_matching.matching import load_matcher
from ros_matching.uncertainty.calibration import CALIBRATION, EXACT, Calibration
from ros_matching.visual_odometry import VisualOdometry

WHITE = replace(CALIBRATION, systematic_pose=0.0, systematic_drift=0.0, systematic_rotation=0.0, intrinsics=EXACT)


def tracked_consistency(matcher, frames, calibration: Calibration = WHITE) -> dict[str, Consistency]:
    """Evaluate the consistency of a run; the noise of most worlds here is white."""
    odometry, poses = VisualOdometry(matcher), []
    odometry._tracker._uncertainty.__init__(calibration)
    for frame in frames:
        result = odometry.track(frame)
        if result.world_from_camera is not None:
            poses.append(
                EvaluatedPose(
                    result.world_from_camera,
                    result.covariance,
                    result.previous_from_current,
                    result.relative_covariance,
                    frame.true_world_from_camera,
                    result.map_id,
                )
            )
    return evaluate_consistency(poses)


def test_errors_of_motions_and_poses_agree_with_their_covariances():
    """The NEES of six degrees of freedom has mean 6."""
    world = PointWorld(cloud(), walk(120))
    found = tracked_consistency(world, world.frames())
    assert found["relative"].count > 90
    assert 3.5 < found["relative"].mean_nees < 9
    assert (np.abs(np.log(found["relative"].axes)) < np.log(2)).all()
    assert 1 < found["world"].mean_nees < 9


class CorrelatedNoiseWorld(PointWorld):
    """Neighbouring keypoints have an additional common error, which is random in each image."""

    def extract(self, image: np.ndarray) -> Features:
        features = super().extract(image)
        rng = np.random.default_rng((int(image[0, 0, 0]), int(image[0, 0, 1])))
        waves, phases = rng.normal(size=(2, 40, 2)) / 40.0, rng.uniform(0, 2 * np.pi, (2, 40, 1))
        error = np.cos(waves @ features.keypoints_px.T + phases).sum(axis=1) * np.sqrt(2 / 40)
        return features.with_keypoints(features.keypoints_px + 0.15 * error.T)


def test_the_covariance_contains_correlated_noise_of_neighbours():
    """As in real video, a part of the errors is correlated over 40 px."""
    world = CorrelatedNoiseWorld(cloud(), walk(80), outliers=0.0)
    found = tracked_consistency(world, world.frames())["relative"]
    assert found.count > 60
    assert 3 < found.mean_nees < 11


def frames_of_wrong_camera(world: PointWorld, error: float) -> list[Frame]:
    """Return the frames of a world with a relative ``error`` of the focal length."""
    camera = replace(CAMERA, fx=CAMERA.fx * (1 + error), fy=CAMERA.fy * (1 + error))
    return [replace(frame, camera=camera) for frame in world.frames()]


def test_the_covariance_contains_a_wrong_focal_length():
    """It distorts the map equally in all frames, so residuals do not contain it."""
    world = PointWorld(cloud(), walk(120))
    known = replace(WHITE, intrinsics=IntrinsicsStds(focal=0.01, center=0.0, radial=0.0))
    frames = frames_of_wrong_camera(world, 0.01)
    white, found = (tracked_consistency(world, frames, calibration)["world"] for calibration in (WHITE, known))
    assert white.mean_nees > 60
    assert 2 < found.mean_nees < 12
    assert found.within > 0.7


def test_errors_of_a_rendered_sequence_agree_with_their_covariances():
    frames = open_source("scene:room?frames=80&seed=7&path=forward&fps=15")
    found = tracked_consistency(load_matcher("sift"), frames, CALIBRATION)
    assert found["relative"].count > 50
    assert 3.5 < found["relative"].mean_nees < 9
    assert 2.5 < found["world"].mean_nees < 10
