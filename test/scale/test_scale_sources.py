"""Measurements of the scale sources, on a map of known scale."""

from __future__ import annotations

import numpy as np
import pytest
from point_world import CAMERA, cloud, walk
from scale_world import (
    METRES,
    RightCameraWorld,
    add_keyframe,
    depth_image,
    view_of,
    walked_map,
    without_landmarks,
)

from ros_matching.atlas.local_map import LocalMap
from ros_matching.datatypes import RightImage
from ros_matching.errors import ConfigError, DataTypeError, TrackingError
from ros_matching.geometry.se3 import exp_so3, invert, pose_from, transform
from ros_matching.scale import ScaleConfig, WheelOdometry, make_scale_estimator
from ros_matching.scale.depth_scale import DepthScaleSource, depth_at
from ros_matching.scale.ground_scale import GroundScaleSource
from ros_matching.scale.scale_measurement import NoMeasurement, ScaleMeasurement
from ros_matching.scale.stereo_scale import StereoScaleSource
from ros_matching.scale.wheel_scale import WheelScaleSource

CENTRED, LEVEL = np.eye(4), np.array([0.0, 1.0, 0.0])
RIGHT_FROM_LEFT = pose_from(np.eye(3), np.array([-0.12, 0.0, 0.0]))


def assert_right(measured: ScaleMeasurement | NoMeasurement, tolerance: float = 0.02) -> None:
    assert isinstance(measured, ScaleMeasurement), measured
    error = measured.log_factor - np.log(METRES)
    assert abs(error) < tolerance
    assert abs(error) < 4 * measured.log_std < 0.25


def assert_refused(measured: ScaleMeasurement | NoMeasurement, words: str) -> None:
    assert isinstance(measured, NoMeasurement), measured
    assert words in measured.reason


def measured_by_depth(change=lambda depth: depth) -> ScaleMeasurement | NoMeasurement:
    local_map, _ = walked_map()
    depth = depth_image(local_map, view_of(local_map))
    return DepthScaleSource(ScaleConfig()).measure(
        local_map, view_of(local_map, depth=change(depth).astype(np.float32))
    )


def test_depth_measures_the_scale():
    assert_right(measured_by_depth())


def test_depth_with_holes_and_outliers_measures_the_scale():
    def spoil(depth: np.ndarray) -> np.ndarray:
        rng = np.random.default_rng(1)
        blocks = rng.random((48, 64)).repeat(10, axis=0).repeat(10, axis=1)
        return np.where(blocks < 0.3, np.nan, np.where(blocks < 0.5, 1.7, depth))

    assert_right(measured_by_depth(spoil))


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda depth: np.full_like(depth, np.nan), "has a depth for 0"),
        (np.zeros_like, "has a depth for 0"),
        (lambda depth: -depth, "has a depth for 0"),
        (lambda depth: depth * 1000, "between 0.2 and 20 m"),  # millimetres taken for metres
        (lambda depth: np.random.default_rng(0).uniform(0.5, 8, (48, 64)).repeat(10, 0).repeat(10, 1), "fits only"),
    ],
    ids=["nan", "zero", "negative", "millimetres", "noise"],
)
def test_wrong_depth_images_give_no_measurement(change, words):
    assert_refused(measured_by_depth(change), words)


def test_a_missing_depth_image_leaves_the_measurement_pending():
    local_map, _ = walked_map()
    measured = DepthScaleSource(ScaleConfig()).measure(local_map, view_of(local_map))
    assert_refused(measured, "no depth image")
    assert measured.pending


def test_a_view_without_landmarks_gives_no_measurement():
    local_map, _ = walked_map()
    view = view_of(local_map, depth=np.ones((CAMERA.height, CAMERA.width), np.float32))
    assert_refused(DepthScaleSource(ScaleConfig()).measure(local_map, without_landmarks(view)), "0 of 0 landmarks")


def test_depth_is_read_near_holes_but_not_across_edges():
    depth = np.full((20, 20), 2.0, np.float32)
    depth[:, 12:] = 3.0
    depth[::2] = np.nan
    points_px = np.array([[5.0, 6.0], [12.0, 6.0], [17.0, 7.0], [0.0, 0.0]])
    np.testing.assert_array_equal(depth_at(depth, points_px), [2.0, np.nan, 3.0, 2.0])
    assert np.isnan(depth_at(np.full((20, 20), np.nan, np.float32), points_px)).all()


def measured_by_stereo(
    true: np.ndarray, calibrated: np.ndarray, noise_px: float = 0.3
) -> ScaleMeasurement | NoMeasurement:
    local_map, _ = walked_map()
    matcher = RightCameraWorld(local_map, view_of(local_map), true, noise_px)
    right = RightImage(np.zeros((CAMERA.height, CAMERA.width, 3), np.uint8), CAMERA, calibrated)
    return StereoScaleSource(ScaleConfig(), matcher).measure(local_map, view_of(local_map, right=right))


@pytest.mark.parametrize("rotated", [False, True], ids=["rectified", "rotated"])
def test_stereo_measures_the_scale(rotated):
    pose = RIGHT_FROM_LEFT
    if rotated:
        pose = pose_from(exp_so3(np.array([0.02, 0.1, -0.05])), np.array([-0.2, 0.05, 0.03]))
    assert_right(measured_by_stereo(pose, pose))


def test_swapped_stereo_cameras_are_reported():
    assert_refused(measured_by_stereo(invert(RIGHT_FROM_LEFT), RIGHT_FROM_LEFT), "swapped")


def test_wrong_stereo_extrinsics_give_no_measurement():
    tilted = pose_from(exp_so3(np.array([0.05, 0.0, 0.1])), RIGHT_FROM_LEFT[:3, 3])
    assert_refused(measured_by_stereo(tilted, RIGHT_FROM_LEFT), "epipolar")


def test_a_baseline_too_short_for_the_scene_gives_no_measurement():
    short = pose_from(np.eye(3), np.array([-0.002, 0.0, 0.0]))
    assert_refused(measured_by_stereo(short, short), "near enough")


def test_a_right_camera_without_a_baseline_is_rejected():
    with pytest.raises(DataTypeError, match="baseline"):
        RightImage(np.zeros((CAMERA.height, CAMERA.width, 3), np.uint8), CAMERA, np.eye(4))


def wheels(poses: np.ndarray, base_from_camera: np.ndarray = CENTRED, factor: float = 1.0) -> WheelOdometry:
    """Wheel odometry at 10 Hz of a robot whose camera has poses (N, 4, 4) at whole seconds."""
    odometry, base = WheelOdometry(), poses @ invert(base_from_camera)
    start = invert(base[0])
    for step in range(10 * (len(poses) - 1) + 1):
        before, fraction = min(step // 10, len(poses) - 2), step / 10 - min(step // 10, len(poses) - 2)
        position = (1 - fraction) * base[before, :3, 3] + fraction * base[before + 1, :3, 3]
        odometry.add(1_000_000_000 + 100_000_000 * step, factor * transform(start, position[None])[0])
    return odometry


@pytest.mark.parametrize("arm", [0.0, 0.6])
def test_wheels_measure_the_scale_for_any_extrinsics(arm):
    extrinsics = pose_from(exp_so3(np.array([-1.2, 1.2, -1.2])), np.array([arm, 0.1, 0.3]))
    local_map, poses = walked_map(3)
    source = WheelScaleSource(ScaleConfig(), wheels(poses, extrinsics), lambda: extrinsics)
    assert_right(source.measure(local_map, view_of(local_map)), 0.005)


def test_wheel_measurements_start_at_the_last_one():
    local_map, _ = walked_map(2)
    source = WheelScaleSource(ScaleConfig(), wheels(walk(6, 0.4)), lambda: np.eye(4))
    assert_right(source.measure(local_map, view_of(local_map)))
    assert_refused(source.measure(local_map, view_of(local_map)), "far enough")
    for pose in walk(6, 0.4)[2:4]:
        add_keyframe(local_map, cloud(1500), pose)
    assert_right(source.measure(local_map, view_of(local_map)))


def test_standing_wheels_and_a_moving_camera_give_no_measurement():
    local_map, poses = walked_map(3)
    source = WheelScaleSource(ScaleConfig(), wheels(poses, factor=0.0), lambda: np.eye(4))
    assert_refused(source.measure(local_map, view_of(local_map)), "stands still")


def test_moving_wheels_and_a_standing_camera_give_no_measurement():
    local_map, _ = walked_map(3, speed=1e-4)
    source = WheelScaleSource(ScaleConfig(), wheels(walk(3, 0.4)), lambda: np.eye(4))
    assert_refused(source.measure(local_map, view_of(local_map)), "far enough")


def test_wheel_odometry_of_other_stamps_or_with_a_gap_gives_no_measurement():
    local_map, _ = walked_map(3)
    odometry = WheelOdometry()
    for seconds in (0.2, 1.1, 2.4, 9.0):
        odometry.add(int(seconds * 1e9), np.array([seconds, 0, 0]))
    source = WheelScaleSource(ScaleConfig(), odometry, lambda: np.eye(4))
    assert_refused(source.measure(local_map, view_of(local_map)), "no wheel odometry")


@pytest.mark.parametrize("outlier", [(0, 0.5), (10**18, 0.5), (510_000_000, 90.0)])
def test_a_single_outlier_position_is_rejected(outlier):
    odometry = WheelOdometry()
    for step in range(5):
        odometry.add(step * 100_000_000 + 100_000_000, np.array([step, 0.0, 0.0]))
    assert not odometry.add(outlier[0], np.array([outlier[1], 0.0, 0.0]))
    assert odometry.add(600_000_000, np.array([5.0, 0.0, 0.0]))
    np.testing.assert_allclose(odometry.at([150_000_000, 550_000_000])[:, 0], [0.5, 4.5])


def test_wheel_odometry_continues_after_a_gap():
    odometry = WheelOdometry()
    for seconds in (1.0, 1.1, 9.0, 9.1, 9.2):
        odometry.add(int(seconds * 1e9), np.array([seconds, 0.0, 0.0]))
    np.testing.assert_allclose(odometry.at([1_050_000_000, 5 * 10**9, 9_050_000_000])[:, 0], [1.05, np.nan, 9.05])


def test_unknown_extrinsics_leave_the_measurement_pending():
    local_map, poses = walked_map(3)
    measured = WheelScaleSource(ScaleConfig(), wheels(poses), lambda: None).measure(local_map, view_of(local_map))
    assert_refused(measured, "extrinsics")
    assert measured.pending


def test_wheel_odometry_interpolates_and_restarts_after_a_jump():
    odometry = WheelOdometry(capacity=4)
    for step in range(8):
        odometry.add(step * 100, np.array([step, 0.0, 0.0]) * 1e-9)
    found = odometry.at([350, 450, 710])
    np.testing.assert_allclose(found[:, 0], [np.nan, 4.5e-9, np.nan])
    assert [odometry.add(stamp, np.array([90.0, 0.0, 0.0])) for stamp in (800, 900, 1000)] == [False, False, True]
    np.testing.assert_allclose(odometry.at([650, 850])[:, 0], [np.nan, 90.0])
    assert [odometry.add(stamp, np.zeros(3)) for stamp in (100, 200, 300)] == [False, False, True]
    assert np.isnan(odometry.at([850])).all()
    with pytest.raises(TrackingError, match="finite"):
        odometry.add(200, np.array([np.nan, 0, 0]))


HEIGHT_M = 1.3


def ground_scene(level_m: float = HEIGHT_M, clutter: int = 300, seed: int = 0) -> np.ndarray:
    """Points on a floor ``level_m`` below the path of the camera, y down, and others above it."""
    rng = np.random.default_rng(seed)
    floor = np.column_stack([rng.uniform(-4, 4, 600), level_m + rng.normal(0, 0.005, 600), rng.uniform(1, 9, 600)])
    above = rng.uniform((-4, -2, 3), (4, level_m - 0.1, 9), (clutter, 3))
    return np.concatenate([floor, above])


def measured_by_height(points: np.ndarray, down: np.ndarray = LEVEL, tilt: float = 0.0):
    local_map = LocalMap(CAMERA, 40)
    rotation = exp_so3(np.array([tilt, 0.0, 0.0]))
    for x in (0.0, 0.2, 0.4):
        add_keyframe(local_map, points, pose_from(rotation, np.array([x, 0.0, 0.0])))
    source = GroundScaleSource(ScaleConfig(source="height", camera_height_m=HEIGHT_M), lambda: down)
    return source.measure(local_map, view_of(local_map))


def test_the_height_above_the_ground_measures_the_scale():
    assert_right(measured_by_height(ground_scene()), 0.01)


def test_the_height_of_a_pitched_camera_measures_the_scale():
    tilt = np.radians(-25)
    down = np.array([0.0, np.cos(tilt), -np.sin(tilt)])
    assert_right(measured_by_height(ground_scene(), down, tilt), 0.01)


def test_a_camera_with_a_wrong_pitch_finds_the_ground():
    assert_right(measured_by_height(ground_scene(), tilt=np.radians(-8)), 0.01)


def test_walls_and_clutter_are_not_the_ground():
    rng = np.random.default_rng(2)
    wall = np.column_stack([rng.uniform(-4, 4, 800), rng.uniform(-2, 2, 800), rng.normal(6, 0.01, 800)])
    assert_refused(measured_by_height(wall), "no ground")
    assert_refused(measured_by_height(rng.uniform((-4, -3, 2), (4, 3, 9), (900, 3))), "no ground")


def test_a_table_above_a_visible_floor_is_not_the_ground():
    rng = np.random.default_rng(3)
    table = np.column_stack([rng.uniform(-1, 1, 900), rng.normal(0.5, 0.003, 900), rng.uniform(2, 4, 900)])
    measured = measured_by_height(np.concatenate([ground_scene(), table]))
    assert isinstance(measured, NoMeasurement) or abs(measured.log_factor - np.log(METRES)) < 0.02


def test_a_ceiling_is_not_the_ground():
    assert_refused(measured_by_height(ground_scene(level_m=-1.3, clutter=0)), "no ground")


def test_sources_with_a_missing_input_are_rejected():
    with pytest.raises(ConfigError, match="camera_height_m"):
        make_scale_estimator(ScaleConfig(source="height"), None)
    with pytest.raises(ConfigError, match="wheel odometry"):
        make_scale_estimator(ScaleConfig(source="wheel"), None)
    with pytest.raises(ConfigError, match="lidar"):
        ScaleConfig(source="lidar")
