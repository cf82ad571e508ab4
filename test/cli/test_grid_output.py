"""``ros-matching map --grid``: files, errors against a known scene, and reasons for a missing grid."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import numpy as np
from room_world import CAMERA, depth_map, distance, views

from ros_matching.cli.grid_output import GridOutput
from ros_matching.datatypes import Frame, Keyframe, ScaleState
from ros_matching.evaluation.mapping.mapping_report import Similarity
from ros_matching.geometry.se3 import pose_from
from ros_matching.mapping import GridConfig, MappingResult, MappingStatus

SOURCE = SimpleNamespace(name="room", scene=SimpleNamespace(distance=distance))


def filled(folder: Path, scale: ScaleState, size: float = 1.0) -> GridOutput:
    """The grid of a room of known depth, whose lengths are multiplied by ``size``."""
    output = GridOutput(folder, GridConfig(max_range=8.0))
    image = np.zeros((CAMERA.height, CAMERA.width, 3), np.uint8)
    for number, pose in enumerate(views()):
        exact = depth_map(pose)
        depth = type(exact)(size * exact.depth, exact.confidence, CAMERA)
        moved = pose_from(pose[:3, :3], size * pose[:3, 3])
        frame = Frame(number, number, image, CAMERA)
        keyframe = Keyframe(number, frame, moved, np.zeros((0, 2)), np.zeros(0), scale)
        output.take(MappingResult(keyframe, MappingStatus.MAPPED, depth_map=depth))
    return output


def test_the_grid_is_written_and_compared_with_the_scene(tmp_path: Path) -> None:
    output = filled(tmp_path, ScaleState.METRIC, size=0.9)
    names, [table] = output.write(SOURCE, Similarity(1 / 0.9, np.eye(4)))
    assert output.reason == ""
    assert [Path(name).name for name in names] == ["map.yaml", "map.pgm"]
    [row] = table.rows
    assert row["free_precision"] > 0.95
    assert row["free_recall"] > 0.9
    assert "precision" in table.markdown()


def test_without_a_scene_there_are_files_alone(tmp_path: Path) -> None:
    names, tables = filled(tmp_path, ScaleState.METRIC).write(SimpleNamespace(name="drive"), None)
    assert len(names) == 2
    assert not tables


def test_a_map_up_to_scale_has_no_grid_nor_that_of_an_earlier_run(tmp_path: Path) -> None:
    filled(tmp_path, ScaleState.METRIC).write(SOURCE, None)
    output = filled(tmp_path, ScaleState.UP_TO_SCALE)
    assert output.write(SOURCE, None) == ([], [])
    assert "--scale" in output.reason
    assert not list(tmp_path.iterdir())


def test_a_restart_forgets_the_earlier_keyframes(tmp_path: Path) -> None:
    output = filled(tmp_path, ScaleState.METRIC)
    output.clear()
    output.write(SOURCE, None)
    assert "no depth map" in output.reason
