"""A calibration that the images contradict is reported by the odometry; a right one is not."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from point_world import CAMERA, PointWorld, cloud, walk

from ros_matching.geometry.self_calibration import IntrinsicsEvidence
from ros_matching.uncertainty.calibration_check import CalibrationCheck
from ros_matching.visual_odometry import VisualOdometry


def evidence(focal: float = 0.0, radial: float = 0.0, std: float = 0.01) -> IntrinsicsEvidence:
    """The evidence of a window that measures these errors with a standard deviation."""
    information = np.diag(np.full(4, std**-2.0))
    return IntrinsicsEvidence(
        information, -information @ [focal, 0.0, 0.0, radial], information, np.array([0.1, 30.0, 30.0, 0.3])
    )


def doubt(*windows: IntrinsicsEvidence) -> str:
    check = CalibrationCheck()
    for window in windows:
        check.add(window)
    return check.doubt


def test_a_wrong_focal_length_is_reported_with_its_size_and_direction():
    assert "5% or more shorter" in doubt(*[evidence(focal=-0.05)] * 8)
    assert "5% or more longer" in doubt(*[evidence(focal=0.05)] * 8)


def test_a_distortion_that_the_calibration_lacks_is_reported():
    assert "-0.2" in doubt(*[evidence(radial=-0.25)] * 8)


@pytest.mark.parametrize(
    "windows",
    [
        [evidence(focal=0.05)] * 3,  # too few
        [evidence(focal=0.01, std=0.001)] * 8,  # a usual error
        [evidence(focal=0.03, std=0.06)] * 8,  # not significant
        [evidence(focal=0.2), *[evidence(focal=-0.005)] * 5],  # a single window
    ],
)
def test_there_is_no_doubt_without_reason(windows):
    assert doubt(*windows) == ""


@pytest.mark.parametrize(("factor", "word"), [(1.0, ""), (1.07, "shorter"), (0.93, "longer")])
def test_the_odometry_reports_a_focal_length_that_the_images_contradict(factor, word):
    world = PointWorld(cloud(), walk(120))
    camera = replace(CAMERA, fx=CAMERA.fx * factor, fy=CAMERA.fy * factor)
    odometry = VisualOdometry(world)
    results = [odometry.track(replace(frame, camera=camera)) for frame in world.frames()]
    assert results[5].calibration_doubt == ""
    assert word in results[-1].calibration_doubt
    assert bool(results[-1].calibration_doubt) == bool(word)
