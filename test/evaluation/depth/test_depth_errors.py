"""Depth measures against depth that is known exactly."""

from __future__ import annotations

from dataclasses import replace

import cv2
import numpy as np
import pytest

from ros_matching.datatypes import Camera, DepthMap, Frame, Keyframe, ScaleState
from ros_matching.errors import EvaluationError, GeometryError
from ros_matching.evaluation.depth.baselines import PlaneSweep
from ros_matching.evaluation.depth.depth_errors import GRID_PX, evaluate_depth, relative_errors
from ros_matching.evaluation.depth.depth_views import DepthViewsConfig, cropped, depth_range, depth_views, sparse_depths

CAMERA = Camera(160, 120, 150.0, 150.0, 79.5, 59.5)
DEPTH = 2.0
SHIFTS = (0.0, 0.08, -0.1, 0.15, -0.06, 0.2)


@pytest.fixture(scope="module")
def frames() -> list[Frame]:
    """A textured wall across the view at a depth of 2, and a second view from the side."""
    rng = np.random.default_rng(0)
    wall = cv2.GaussianBlur(rng.integers(0, 256, (400, 600, 3), dtype=np.uint8), (0, 0), 1.5)
    wall = cv2.normalize(wall, None, 0, 255, cv2.NORM_MINMAX)
    made = []
    for index, shift in enumerate(SHIFTS):
        pose = np.eye(4)
        pose[0, 3] = shift
        offset = np.array([[1, 0, 200 + CAMERA.fx * shift / DEPTH], [0, 1, 100], [0, 0, 1.0]])
        image = cv2.warpPerspective(wall, offset, (160, 120), flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP)
        depth = np.full((120, 160), np.nan, np.float32)
        depth[::2, ::2] = DEPTH
        made.append(Frame(index, index + 1, image, CAMERA, pose, depth))
    return made


def whole(**changes: float) -> DepthViewsConfig:
    return replace(DepthViewsConfig(width=160, height=120, sources=3, step=1), **changes)


def constant(depth: float, width: int, height: int, stride: int) -> DepthMap:
    camera = replace(CAMERA, width=width, height=height, fx=CAMERA.fx / stride, fy=CAMERA.fy / stride)
    camera = replace(camera, cx=CAMERA.cx / stride, cy=CAMERA.cy / stride)
    return DepthMap(np.full((height, width), depth, np.float32), np.ones((height, width), np.float32), camera)


def test_errors_are_relative_to_the_sensor_at_the_pixels_of_a_quarter(frames: list[Frame]) -> None:
    errors, confidence = relative_errors(constant(1.03 * DEPTH, 40, 30, GRID_PX), frames[0])
    assert len(errors) == 40 * 30
    np.testing.assert_allclose(errors, 0.03, atol=1e-6)
    assert (confidence == 1).all()


def test_an_estimate_is_compared_where_it_lies(frames: list[Frame]) -> None:
    """A depth map of the full size whose right half is wrong, and one of a quarter: the same pixels are wrong."""
    for stride, width, height in ((1, 160, 120), (4, 40, 30)):
        estimate = constant(DEPTH, width, height, stride)
        estimate.depth[:, width // 2 :] *= 2
        errors, _ = relative_errors(estimate, frames[0])
        np.testing.assert_allclose(errors.reshape(30, 40), np.tile(np.repeat([0.0, 1.0], 20), (30, 1)), atol=1e-6)


def test_a_missing_estimate_counts_as_missing_and_not_as_wrong(frames: list[Frame]) -> None:
    def estimate(*_: object) -> DepthMap:
        made = constant(1.015 * DEPTH, 40, 30, GRID_PX)
        made.depth[:10] = np.nan
        made.depth[10:20] = 1.5 * DEPTH
        made.confidence[10:20] = 0.1
        return made

    views = depth_views(frames, whole())
    report = evaluate_depth(estimate, views)
    assert report.views == len(views)
    assert report.completeness == pytest.approx(2 / 3)
    assert report.abs_rel == pytest.approx((0.5 + 0.015) / 2, abs=1e-4)
    assert report.confident_abs_rel == pytest.approx(0.015, abs=1e-4)
    assert report.inliers == pytest.approx({1: 0.0, 2: 1 / 3, 5: 1 / 3})


def test_an_estimator_without_any_depth_is_complete_nowhere(frames: list[Frame]) -> None:
    report = evaluate_depth(lambda *_: constant(np.nan, 40, 30, GRID_PX), depth_views(frames, whole())[:1])
    assert report.completeness == 0
    assert report.inliers == {1: 0.0, 2: 0.0, 5: 0.0}
    assert np.isnan([report.abs_rel, report.median_rel, report.confident_abs_rel]).all()


def test_sources_have_baselines_within_the_limits(frames: list[Frame]) -> None:
    views = depth_views(frames, whole(min_baseline=0.07, max_baseline=0.19))
    assert views
    for view in views:
        baselines = [abs(s.world_from_camera[0, 3] - view.reference.world_from_camera[0, 3]) for s in view.sources]
        assert len(baselines) == 3
        assert min(baselines) >= 0.07
        assert max(baselines) <= 0.19
    with pytest.raises(EvaluationError, match="none of 6 frames"):
        depth_views(frames, whole(min_baseline=0.5, max_baseline=0.6))


def test_the_range_is_that_of_sparse_depths_with_a_margin(frames: list[Frame]) -> None:
    depths = sparse_depths(frames[0])
    assert len(depths) > 50
    assert (depths == DEPTH).all()
    near, far = depth_range(np.linspace(1, 11, 1001), whole(range_quantile=0.1, range_margin=0.25))
    assert near == pytest.approx(2 / 1.25)
    assert far == pytest.approx(10 * 1.25)


def test_a_crop_keeps_every_pixel_on_its_ray(frames: list[Frame]) -> None:
    cut = cropped(frames[0], 100, 64)
    pixel = np.array([[30.0, 20.0]])
    uncut = CAMERA.project(cut.camera.unproject(pixel))[0].astype(int)
    np.testing.assert_array_equal(cut.image[20, 30], frames[0].image[uncut[1], uncut[0]])
    np.testing.assert_array_equal(np.isfinite(cut.depth), np.isfinite(frames[0].depth[:64, :100]))
    with pytest.raises(EvaluationError, match="smaller"):
        cropped(frames[0], 500, 64)


def test_a_plane_sweep_finds_the_wall(frames: list[Frame]) -> None:
    views = depth_views(frames, whole(range_margin=0.5))[:2]
    report = evaluate_depth(PlaneSweep(planes=64, window_px=7).estimate, views)
    assert report.completeness > 0.95
    assert report.median_rel < 0.01
    assert report.inliers[2] > 0.95


def test_a_plane_sweep_leaves_out_what_has_no_texture(frames: list[Frame]) -> None:
    view = depth_views(frames, whole(range_margin=0.5))[0]
    keyframes = []
    for keyframe in (view.reference, *view.sources):
        image = keyframe.frame.image.copy()
        image[:60] = 128
        keyframes.append(replace(keyframe, frame=replace(keyframe.frame, image=image)))
    result = PlaneSweep(planes=32).estimate(keyframes[0], keyframes[1:], view.depth_range)
    assert np.isnan(result.depth[:50]).all()
    assert np.isfinite(result.depth[70:110, 40:120]).all()


def test_a_plane_sweep_refuses_an_empty_range(frames: list[Frame]) -> None:
    empty = np.empty((0, 2)), np.empty(0)
    keyframe = Keyframe(0, frames[0], np.eye(4), *empty, ScaleState.METRIC)
    with pytest.raises(GeometryError, match="range"):
        PlaneSweep().estimate(keyframe, [keyframe], (2.0, 2.0))
    with pytest.raises(GeometryError, match="odd window"):
        PlaneSweep(window_px=8)
