"""Runs of the mapper measured against a wall whose depth is known."""

import numpy as np
import pytest

from ros_matching.datatypes import Camera, DepthMap, Frame, PointCloud
from ros_matching.evaluation.mapping.mapping_report import MappingRecorder, mapping_measurement
from ros_matching.evaluation.mapping.visualization import draw_depth
from ros_matching.geometry.se3 import exp_so3, pose_from, transform

CAMERA = Camera(160, 120, 150.0, 150.0, 79.5, 59.5)
WALL = 5.0


def frame(number: int, with_truth: bool = True) -> Frame:
    pose = pose_from(np.eye(3), np.array([0.5 * number, 0.2 * (number % 2), 0.0]))
    depth = np.full((120, 160), WALL, np.float32) if with_truth else None
    return Frame(number, number + 1, np.zeros((120, 160, 3), np.uint8), CAMERA, pose if with_truth else None, depth)


def depth_map(value: float) -> DepthMap:
    depth = np.full((120, 160), value, np.float32)
    depth[:, :80] = np.nan
    return DepthMap(depth, np.ones((120, 160), np.float32), CAMERA)


def wall() -> np.ndarray:
    x, y = np.meshgrid(np.linspace(-2.5, 4, 200), np.linspace(-1.9, 2.1, 200))
    return np.column_stack([x.ravel(), y.ravel(), np.full(x.size, WALL)])


def cloud(points: np.ndarray) -> PointCloud:
    return PointCloud(points, np.zeros((len(points), 3), np.uint8), np.ones(len(points), np.float32))


def test_true_poses_are_compared_as_they_are():
    recorder = MappingRecorder(is_aligned=True)
    recorder.add_time({"depth": 10.0})
    for number in range(4):
        shown = frame(number)
        recorder.add(shown, shown.true_world_from_camera, depth_map(1.03 * WALL), "", {"depth": 30.0, "fuse": 1.0})
    recorder.add(frame(4), frame(4).true_world_from_camera, None, "too few", {})
    report = recorder.report(cloud(wall()))
    assert (report.keyframes, report.mapped, report.reasons) == (5, 4, {"too few": 1})
    assert report.depth.abs_rel == pytest.approx(0.03, abs=1e-5)
    assert report.depth.completeness == pytest.approx(0.5)
    assert report.depth.inliers == {1: 0.0, 2: 0.0, 5: 0.5}
    assert report.cloud.precision[1] > 0.98
    assert report.ms_per_keyframe == pytest.approx((10 + 4 * 31) / 5)
    assert report.stage_ms["depth"] == pytest.approx(130 / 5)


def test_an_unknown_scale_is_found_and_undone():
    """The estimate's world is turned, moved, and a third as large."""
    true_from_estimate = pose_from(exp_so3(np.array([0.3, -0.2, 0.1])), np.array([1.0, 2.0, 3.0]))
    recorder = MappingRecorder(is_aligned=False)
    for number in range(6):
        shown = frame(number)
        estimate = np.linalg.inv(true_from_estimate) @ shown.true_world_from_camera
        estimate[:3, 3] /= 3
        recorder.add(shown, estimate, depth_map(WALL / 3), "", {"depth": 1.0})
    points = transform(np.linalg.inv(true_from_estimate), wall()) / 3
    report = recorder.report(cloud(points))
    assert report.scale == pytest.approx(3, rel=1e-6)
    assert report.depth.abs_rel < 1e-5
    assert report.cloud.accuracy < 0.1
    assert report.cloud.precision[1] > 0.99


def test_without_ground_truth_the_report_has_no_errors():
    recorder = MappingRecorder(is_aligned=False)
    recorder.add(frame(0, with_truth=False), np.eye(4), depth_map(WALL), "", {"depth": 1.0})
    report = recorder.report(cloud(wall()))
    assert report.depth is None
    assert report.cloud is None
    assert report.note == "no ground truth"
    assert np.isnan(report.scale)
    tables = mapping_measurement({"ours": report}, "somewhere", {}).tables
    assert [table.title for table in tables] == ["Keyframes"]


def test_nothing_at_all():
    report = MappingRecorder(is_aligned=True).report(cloud(np.zeros((0, 3))))
    assert report.keyframes == report.points == 0
    assert report.depth is None
    assert report.cloud is None


def test_a_depth_image_is_red_near_and_blue_far_and_grey_unknown():
    depth = np.full((6, 8), np.nan, np.float32)
    depth[:3, :4], depth[3:, :4] = 1.0, 10.0
    camera = Camera(8, 6, 8.0, 8.0, 3.5, 2.5)
    image = draw_depth(DepthMap(depth, np.ones((6, 8)), camera), np.zeros((24, 32, 3), np.uint8))
    assert image.shape == (24, 64, 3)
    near, far, unknown = image[4, 36].astype(int), image[20, 36].astype(int), image[4, 60]
    assert near[0] > near[2]
    assert far[2] > far[0]
    assert len(set(unknown.tolist())) == 1
    empty = draw_depth(DepthMap(np.full((6, 8), np.nan), np.zeros((6, 8)), camera), np.zeros((24, 32, 3), np.uint8))
    assert len(np.unique(empty[:, 32:])) == 1
