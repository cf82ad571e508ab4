"""``ros-matching mesh``: the surface of a known room, and its file read by an independent parser."""

from __future__ import annotations

import json
import re
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from room_world import CAMERA, HEIGHT, depth_map, distance, views

from ros_matching.cli.main import main
from ros_matching.cli.mesh import MeshOutput
from ros_matching.datatypes import DepthMap, Frame, Keyframe, ScaleState
from ros_matching.geometry.se3 import pose_from
from ros_matching.mapping import MappingResult, MappingStatus

ARGS = {"source": "room", "poses": "truth", "network": "", "voxel_size": 0.08, "min_weight": 0.5, "overrides": []}


def read_ply(file: Path) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Vertices, colours and triangles, by the header of the file."""
    header, _, body = file.read_bytes().partition(b"end_header\n")
    counts = dict(re.findall(rb"element (\w+) (\d+)", header))
    kinds = {b"float": "<f4", b"uchar": "u1"}
    fields = [(name.decode(), kinds[kind]) for kind, name in re.findall(rb"property (float|uchar) (\w+)", header)]
    assert b"property list uchar int vertex_indices" in header
    vertices = np.frombuffer(body, fields, int(counts[b"vertex"]))
    faces = np.frombuffer(body[vertices.nbytes :], [("n", "u1"), ("rows", "<i4", 3)])
    assert len(faces) == int(counts[b"face"])
    assert (faces["n"] == 3).all()
    points, colors = (
        np.column_stack([vertices[name] for name in names]) for names in ("xyz", ("red", "green", "blue"))
    )
    return points, colors, faces["rows"]


def result(number: int, pose: np.ndarray, depth: DepthMap | None, scale: ScaleState) -> MappingResult:
    image = np.full((4 * CAMERA.height, 4 * CAMERA.width, 3), (10, 20, 30), np.uint8)
    camera = CAMERA.scaled(4 * CAMERA.width, 4 * CAMERA.height)
    frame = Frame(number, number, image, camera, true_world_from_camera=pose)
    keyframe = Keyframe(number, frame, pose, np.zeros((0, 2)), np.zeros(0), scale)
    status = MappingStatus.REFUSED if depth is None else MappingStatus.MAPPED
    return MappingResult(keyframe, status, "no depth" if depth is None else "", depth_map=depth)


def test_the_mesh_of_a_room_at_its_final_poses(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    output = MeshOutput(has_true_poses=True)
    wrong = pose_from(np.eye(3), np.array([0.0, 0.7, 0.3]))
    for number, pose in enumerate(views()):
        output.take(result(number, wrong @ pose, depth_map(pose), ScaleState.METRIC))
    output.correct(dict(enumerate(views())))
    output.write(tmp_path, {**ARGS, "quiet": False}, SimpleNamespace(name="room"))
    vertices, colors, triangles = read_ply(tmp_path / "mesh.ply")
    assert np.quantile(np.abs(distance(vertices.astype(float))), 0.95) < 0.06
    assert (colors == (10, 20, 30)).all()
    assert len(triangles) > 1.5 * len(vertices)
    [row] = json.loads((tmp_path / "report.json").read_text())["tables"][0]["rows"]
    assert (row["mapped"], row["points"]) == (len(views()), len(vertices))
    assert f"{len(triangles)} triangles" in capsys.readouterr().out


def test_another_unit_of_length_starts_another_mesh(tmp_path: Path) -> None:
    output = MeshOutput(has_true_poses=False)
    far = pose_from(np.eye(3), np.array([50.0, 0, 0]))
    for number, pose in enumerate(views()):
        output.take(result(number, far @ pose, depth_map(pose), ScaleState.UP_TO_SCALE))
    output.take(result(100, views()[0], depth_map(views()[0]), ScaleState.METRIC))
    mesh = output.write(tmp_path, {**ARGS, "quiet": True}, SimpleNamespace(name="room"))
    assert mesh.vertices[:, 0].max() < 10
    assert HEIGHT > mesh.vertices[:, 2].min() > -0.2


def test_without_depth_the_mesh_is_empty_and_the_reason_known(tmp_path: Path) -> None:
    output = MeshOutput(has_true_poses=False)
    output.take(result(0, views()[0], None, ScaleState.METRIC))
    mesh = output.write(tmp_path, {**ARGS, "quiet": True}, SimpleNamespace(name="room"))
    assert (len(mesh.vertices), output.last_reason) == (0, "no depth")
    assert len(read_ply(tmp_path / "mesh.ply")[2]) == 0


def test_wrong_sizes_are_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["mesh", "scene:room", "--voxel-size=-1"]) == 2
    assert "--voxel-size" in capsys.readouterr().err
