"""Occupancy grids of a room whose free space is known."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from room_world import BOX_LOWER, BOX_UPPER, CAMERA, LOWER, UPPER, depth_map, distance, pose, views

from ros_matching.datatypes import DepthMap, OccupancyGrid
from ros_matching.datatypes.grid import FREE, OCCUPIED, UNKNOWN
from ros_matching.evaluation.mapping.grid_errors import evaluate_grid
from ros_matching.geometry.se3 import exp_so3, invert, pose_from, transform
from ros_matching.mapping import GridConfig, OccupancyMapper

CONFIG = GridConfig(max_range=8.0)
HEIGHTS = CONFIG.min_height, CONFIG.max_height


def mapped(config: GridConfig = CONFIG, poses: list[np.ndarray] | None = None, up=None) -> OccupancyMapper:
    mapper = OccupancyMapper(config, up)
    for number, world_from_camera in enumerate(views() if poses is None else poses):
        mapper.add(number, depth_map(world_from_camera), world_from_camera)
    return mapper


def state(grid: OccupancyGrid, x: float, y: float) -> int:
    """The cell at a position of the world, -2 outside of the grid."""
    local = transform(invert(grid.world_from_grid), np.array([[x, y, 0.0]]))[0]
    column, row = np.floor(local[:2] / grid.resolution).astype(int)
    inside = 0 <= row < grid.cells.shape[0] and 0 <= column < grid.cells.shape[1]
    return int(grid.cells[row, column]) if inside else -2


def test_the_room_is_free_and_its_walls_and_box_are_occupied() -> None:
    grid = mapped().grid()
    centers = np.array([each[:3, 3] for each in views()])
    report = evaluate_grid(grid, distance, centers, HEIGHTS)
    assert report.free_precision > 0.97
    assert report.free_recall > 0.95
    assert report.occupied_precision > 0.99
    assert report.occupied_recall > 0.95
    assert report.reachable_area == pytest.approx(6 * 4 - 0.6 * 0.8, rel=0.1)
    assert state(grid, 0, 0) == FREE
    assert state(grid, *(BOX_LOWER + BOX_UPPER)[:2] / 2) == OCCUPIED  # its top is seen, and rays pass above it
    assert state(grid, 1.3, -0.8) == FREE
    assert state(grid, 2.98, 0.5) == OCCUPIED


def test_the_ground_is_found_in_any_frame() -> None:
    turned = pose_from(exp_so3([0.4, -0.8, 2.0]), np.array([5.0, -3.0, 1.0]))
    mapper = OccupancyMapper(CONFIG)
    for number, world_from_camera in enumerate(views()):
        mapper.add(number, depth_map(world_from_camera), turned @ world_from_camera)
    grid = mapper.grid()
    up = invert(turned)[:3, :3] @ grid.world_from_ground[:3, 2]
    assert np.degrees(np.arccos(up[2])) < 0.3
    centers = transform(turned, np.array([each[:3, 3] for each in views()]))
    report = evaluate_grid(grid, lambda points: distance(transform(invert(turned), points)), centers, HEIGHTS)
    assert min(report.free_precision, report.free_recall) > 0.94
    # The frame begins below the first camera and looks along it
    local = invert(grid.world_from_ground) @ turned @ views()[0]
    np.testing.assert_allclose(local[:3, 3], [0, 0, 1.2], atol=0.02)
    assert local[0, 2] > 0.9


@pytest.mark.parametrize("ground", ["height", "known"])
def test_with_a_level_frame_the_grid_is_in_its_axes(ground: str) -> None:
    grid = mapped(replace(CONFIG, ground=ground), up=(0, 0, 1)).grid()
    np.testing.assert_allclose(grid.world_from_ground, np.eye(4), atol=0.01)
    assert grid.origin == pytest.approx(LOWER[:2] - grid.resolution, abs=2.1 * grid.resolution)


def test_obstacles_above_the_robot_do_not_count() -> None:
    low = mapped(GridConfig(max_height=0.4, max_range=8.0)).grid()
    assert state(low, *(BOX_LOWER + BOX_UPPER)[:2] / 2 - [0.25, 0]) == OCCUPIED
    under = mapped(replace(CONFIG, min_height=0.6)).grid()  # the box counts as ground
    assert state(under, *(BOX_LOWER + BOX_UPPER)[:2] / 2) != OCCUPIED


def test_nothing_is_known_behind_a_wall_nor_without_depth() -> None:
    grid = mapped().grid()
    x, y = grid.centers[..., 0], grid.centers[..., 1]
    world = transform(grid.world_from_ground, np.stack([x.ravel(), y.ravel(), np.zeros(x.size)], axis=1))
    outside = ((world[:, :2] < LOWER[:2] - 0.1) | (world[:, :2] > UPPER[:2] + 0.1)).any(axis=1)
    assert (grid.cells.ravel()[outside] == UNKNOWN).all()
    unknown = np.full((CAMERA.height, CAMERA.width), np.nan, np.float32)
    mapper = OccupancyMapper(CONFIG)
    mapper.add(0, DepthMap(unknown, np.zeros(unknown.shape), CAMERA), pose(0, 0, 0))
    assert mapper.grid() is None
    assert "no ground" in mapper.reason


def test_a_corrected_pose_moves_the_votes_of_its_keyframe() -> None:
    poses = views()
    config = replace(CONFIG, ground="known")
    wrong = pose_from(np.eye(3), np.array([0.5, 0.3, 0.0]))
    mapper = mapped(config, up=(0, 0, 1))
    before = mapper.grid()
    for number in (100, 101, 102):
        mapper.add(number, depth_map(poses[0]), wrong @ poses[0])
    assert (mapper.grid().cells.shape != before.cells.shape) or (mapper.grid().cells != before.cells).any()
    mapper.move(dict.fromkeys((100, 101, 102), poses[0]))
    again = mapped(config, [*poses, *[poses[0]] * 3], up=(0, 0, 1)).grid()
    np.testing.assert_array_equal(mapper.grid().cells, again.cells)
    np.testing.assert_array_equal(mapper.grid().origin, again.origin)


def test_a_change_of_scale_rescales_the_depth_of_a_keyframe() -> None:
    mapper = OccupancyMapper(replace(CONFIG, ground="known"), (0, 0, 1))
    for number, world_from_camera in enumerate(views()):
        exact = depth_map(world_from_camera)
        mapper.add(number, DepthMap(exact.depth / 2, exact.confidence, CAMERA), world_from_camera)
    mapper.move(dict(enumerate(views())), dict.fromkeys(range(len(views())), 2.0))
    expected = mapped(replace(CONFIG, ground="known"), up=(0, 0, 1)).grid()
    assert (mapper.grid().cells == expected.cells).mean() > 0.99


def test_the_votes_of_old_keyframes_stay() -> None:
    config = replace(CONFIG, ground="known", max_keyframes=5)
    mapper = OccupancyMapper(config, (0, 0, 1))
    for number, world_from_camera in enumerate(views()):
        mapper.add(number, depth_map(world_from_camera), world_from_camera)
        mapper.grid()
    np.testing.assert_array_equal(
        mapper.grid().cells, mapped(replace(config, max_keyframes=1000), up=(0, 0, 1)).grid().cells
    )


def test_a_large_map_is_cropped_around_the_newest_keyframe() -> None:
    grid = mapped(replace(CONFIG, ground="known", max_side=40), up=(0, 0, 1)).grid()
    assert max(grid.cells.shape) <= 40
    center = grid.origin + 0.5 * grid.resolution * np.array(grid.cells.shape[::-1])
    assert np.abs(center - views()[-1][:2, 3]).max() < 0.6


def test_votes_stay_also_if_nobody_asked_for_a_grid_before() -> None:
    few = replace(CONFIG, max_keyframes=5)
    late, all_kept = mapped(few), mapped(CONFIG)
    report, expected = (
        evaluate_grid(mapper.grid(), distance, np.array([each[:3, 3] for each in views()]), HEIGHTS)
        for mapper in (late, all_kept)
    )
    assert report.known > 0.9 * expected.known


def test_a_correction_of_an_old_keyframe_does_not_make_it_the_newest() -> None:
    mapper = mapped(replace(CONFIG, ground="known", max_side=40), up=(0, 0, 1))
    before = mapper.grid()
    nudge = pose_from(np.eye(3), np.array([0.1, 0.0, 0.0]))
    mapper.move({0: nudge @ views()[0]})
    np.testing.assert_allclose(mapper.grid().origin, before.origin, atol=0.11)


def test_a_table_is_not_the_ground() -> None:
    level = [pose(0.0, -0.2, yaw, pitch=0.6) for yaw in (-0.3, 0.0, 0.3)]  # the box fills much of the image
    grid = mapped(CONFIG, level).grid()
    assert abs(grid.world_from_ground[2, 3]) < 0.02
