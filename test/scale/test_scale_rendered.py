"""Each scale source on rendered images, against ground truth."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from ros_matching.datatypes import Camera, Frame, ScaleState
from ros_matching.geometry.se3 import exp_so3, pose_from
from ros_matching.io import open_source
from ros_matching.matching import load_matcher
from ros_matching.odometry.result import TrackingStatus
from ros_matching.scale import ScaleConfig, WheelOdometry, make_scale_estimator
from ros_matching.scenes import PathConfig, ProceduralTextures, Renderer, build_scene, camera_path
from ros_matching.visual_odometry import VisualOdometry

METRIC = ScaleState.METRIC
PITCH_DEG = 25.0


@pytest.fixture(scope="module")
def walk() -> list[Frame]:
    """Handheld walk through a room, with depth images and a right camera."""
    return list(open_source("scene:room?frames=36&fps=6&width=240&height=180&path=handheld&seed=4&baseline_m=0.12"))


@pytest.fixture(scope="module")
def drive() -> list[Frame]:
    """Straight drive at constant height; the camera is pitched down."""
    scene, camera = build_scene("room", ProceduralTextures(), 1), Camera(240, 180, 150.0, 150.0, 119.5, 89.5)
    poses = camera_path(scene, PathConfig(path="forward", frames=30, fps=10.0, seed=3))
    poses = poses @ pose_from(exp_so3(np.array([-np.radians(PITCH_DEG), 0.0, 0.0])), np.zeros(3))
    images = Renderer(scene, camera).render(poses).rgb.cpu()
    return [
        Frame(row, 1_000_000_000 + 100_000_000 * row, image.numpy(), camera, pose)
        for row, (image, pose) in enumerate(zip(images, poses, strict=True))
    ]


def tracked(frames: list[Frame], config: ScaleConfig, **parts) -> list:
    matcher = load_matcher("sift")
    odometry = VisualOdometry(matcher, scale=make_scale_estimator(config, matcher, **parts))
    return [odometry.track(frame) for frame in frames]


def scale_error(frames: list[Frame], results: list) -> float:
    """Relative error of the length of the metric part of the path, from the standard deviation of its positions."""
    metric = [r for r in results if r.status is TrackingStatus.TRACKING and r.scale is METRIC]
    assert len(metric) > 0.5 * len(frames)
    rows = [r.frame_index - frames[0].index for r in metric]
    true = np.stack([frames[row].true_world_from_camera[:3, 3] for row in rows])
    found = np.stack([r.world_from_camera[:3, 3] for r in metric])
    return float(np.sqrt(found.var(axis=0).sum() / true.var(axis=0).sum())) - 1


def assert_metric(frames: list[Frame], results: list, source: str) -> None:
    last = results[-1]
    assert (last.scale, last.scale_source, last.scale_reason) == (METRIC, source, "")
    assert abs(scale_error(frames, results)) < 0.02
    assert last.scale_sigma < 0.05


def test_depth_images_make_the_scale_metric_from_the_first_pose(walk):
    results = tracked(walk, ScaleConfig(source="depth"))
    assert_metric(walk, results, "depth")
    assert {keyframe.scale for r in results for keyframe in r.new_keyframes} == {METRIC}


def test_a_right_camera_makes_the_scale_metric(walk):
    assert_metric(walk, tracked(walk, ScaleConfig(source="stereo")), "stereo")


def test_wheel_odometry_makes_the_scale_metric(walk):
    odometry = WheelOdometry()
    for frame in walk:
        odometry.add(frame.stamp_ns, frame.true_world_from_camera[:3, 3])
    assert_metric(walk, tracked(walk, ScaleConfig(source="wheel"), wheel_odometry=odometry), "wheel")


def test_the_camera_height_makes_the_scale_metric(drive):
    height_m = float(drive[0].true_world_from_camera[2, 3])
    config = ScaleConfig(source="height", camera_height_m=height_m, camera_pitch_deg=PITCH_DEG)
    assert_metric(drive, tracked(drive, config), "height")


def test_missing_or_random_depth_gives_no_scale(walk):
    rng = np.random.default_rng(0)
    noise = [replace(f, depth=rng.uniform(0.5, 6, f.depth.shape).astype(np.float32)) for f in walk[:18]]
    results = tracked(noise, ScaleConfig(source="depth"))
    assert any(r.status is TrackingStatus.TRACKING for r in results)
    assert {r.scale for r in results} == {ScaleState.UP_TO_SCALE}
    assert "depth" in results[-1].scale_reason
    missing = tracked([replace(f, depth=None) for f in walk[:18]], ScaleConfig(source="depth"))
    assert {r.scale for r in missing} == {ScaleState.UP_TO_SCALE}
    assert "no depth image" in missing[-1].scale_reason


def test_swapped_stereo_images_give_no_scale(walk):
    swapped = [
        replace(f, image=f.right.image, right=replace(f.right, image=f.image), true_world_from_camera=None)
        for f in walk[:18]
    ]
    results = tracked(swapped, ScaleConfig(source="stereo"))
    assert any(r.status is TrackingStatus.TRACKING for r in results)
    assert {r.scale for r in results} == {ScaleState.UP_TO_SCALE}
    assert "swapped" in results[-1].scale_reason
