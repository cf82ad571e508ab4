import numpy as np
import pytest

from ros_matching.datatypes import Camera, Frame
from ros_matching.errors import EvaluationError
from ros_matching.evaluation.mapping.cloud_errors import evaluate_cloud, thinned, true_cloud
from ros_matching.geometry.se3 import exp_so3, pose_from


def sheet(width: float = 10.0, step: float = 0.05, z: float = 0.0) -> np.ndarray:
    x, y = np.meshgrid(np.arange(0, width, step), np.arange(0, 10, step))
    return np.column_stack([x.ravel(), y.ravel(), np.full(x.size, z)])


def test_the_ground_truth_itself_is_perfect():
    report = evaluate_cloud(sheet(), sheet())
    assert report.accuracy == report.gap == 0
    assert report.f_score == {1: 1.0, 2: 1.0}
    assert report.scene_size == pytest.approx(0.96 * np.hypot(10, 10), rel=0.02)


def test_an_offset_counts_against_the_thresholds():
    size = evaluate_cloud(sheet(), sheet()).scene_size
    report = evaluate_cloud(sheet(z=0.015 * size), sheet())
    assert report.accuracy == pytest.approx(0.015 * size)
    assert report.precision == {1: 0.0, 2: 1.0}
    assert report.f_score == {1: 0.0, 2: 1.0}


def test_half_a_cloud_has_all_precision_and_half_the_recall():
    report = evaluate_cloud(sheet(5.0), sheet())
    assert report.precision[1] == 1
    assert report.recall[1] == pytest.approx(0.5, abs=0.03)
    assert report.f_score[1] == pytest.approx(2 / 3, abs=0.03)


def test_points_close_together_count_once():
    doubled = np.repeat(sheet(), 3, axis=0)
    assert evaluate_cloud(doubled, sheet()).points == evaluate_cloud(sheet(), sheet()).points
    assert len(thinned(np.zeros((5, 3)), 0.1)) == 1


def test_far_points_do_not_make_the_scene_large():
    truth = np.concatenate([sheet(), [[1e4, 0, 0], [0, -1e4, 0]]])
    assert evaluate_cloud(sheet(), truth).scene_size < 20


def test_the_true_cloud_is_what_frames_see():
    camera = Camera(8, 8, 4.0, 4.0, 3.5, 3.5)
    depth = np.full((8, 8), 2.0, np.float32)
    depth[0, 0] = np.nan
    turned = pose_from(exp_so3(np.array([0, np.pi / 2, 0])), np.array([1.0, 0, 0]))
    image = np.zeros((8, 8, 3), np.uint8)
    posed = Frame(0, 1, image, camera, turned, depth)
    points = true_cloud([posed, Frame(1, 2, image, camera, None, depth), Frame(2, 3, image, camera, turned)], step_px=1)
    assert points.shape == (63, 3)
    np.testing.assert_allclose(points[:, 0], 3.0)
    assert true_cloud([]).shape == (0, 3)


def test_nothing_to_compare_is_an_error():
    with pytest.raises(EvaluationError, match="0 estimated"):
        evaluate_cloud(np.zeros((0, 3)), sheet())
    with pytest.raises(EvaluationError, match="one place"):
        evaluate_cloud(sheet(), np.zeros((5, 3)))
