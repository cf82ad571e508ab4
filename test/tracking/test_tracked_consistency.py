"""The covariances of a whole tracker against exact truth, on points and on a rendered sequence."""

from __future__ import annotations

import numpy as np
from point_world import PointWorld, cloud, walk

from ros_matching.evaluation.consistency import Consistency, PoseEstimate, evaluate_consistency
from ros_matching.io import open_source
from ros_matching.matching import load_matcher
from ros_matching.tracking import VisualOdometry


def tracked_consistency(matcher, frames) -> dict[str, Consistency]:
    odometry, poses = VisualOdometry(matcher), []
    for frame in frames:
        result = odometry.track(frame)
        if result.world_from_camera is not None:
            poses.append(
                PoseEstimate(
                    result.world_from_camera,
                    result.covariance,
                    result.previous_from_current,
                    result.relative_covariance,
                    frame.true_world_from_camera,
                    result.map_id,
                )
            )
    return evaluate_consistency(poses)


def test_motions_and_poses_are_as_far_off_as_they_say():
    """Six degrees of freedom; a covariance four times too large gives 1.5, one four times too small 24."""
    world = PointWorld(cloud(), walk(120))
    found = tracked_consistency(world, world.frames())
    assert found["relative"].count > 90
    assert 3.5 < found["relative"].mean_nees < 9
    assert (np.abs(np.log(found["relative"].axes)) < np.log(2)).all()
    assert found["world"].mean_nees < 12


def test_motions_of_a_rendered_sequence_are_as_far_off_as_they_say():
    frames = open_source("scene:room?frames=80&seed=7&path=forward&fps=15")
    found = tracked_consistency(load_matcher("sift"), frames)["relative"]
    assert found.count > 50
    assert 3.5 < found.mean_nees < 9
