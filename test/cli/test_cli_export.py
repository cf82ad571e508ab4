"""Exports of keyframes: poses, points and tracks as they were last, also after a map changed its scale or place."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from ros_matching.cli.export import KeyframeExports
from ros_matching.cli.main import main
from ros_matching.datatypes import Camera, Frame, Keyframe, ScaleState
from ros_matching.errors import ConfigError
from ros_matching.io.colmap_model import read_model
from ros_matching.io.point_clouds import read_cloud
from ros_matching.io.trajectory import read_tum

CAMERA = Camera(64, 48, 60.0, 60.0, 31.5, 23.5)
POINTS = np.random.default_rng(0).uniform([-1, -0.7, 4], [1, 0.7, 6], (30, 3))
OPENGL = np.diag([1.0, -1.0, -1.0, 1.0])


def pose(index: int) -> np.ndarray:
    matrix = np.eye(4)
    matrix[:3, :3] = Rotation.from_rotvec([0.01 * index, -0.03 * index, 0.02 * index]).as_matrix()
    matrix[:3, 3] = [0.3 * index, 0.05 * index**2, 0.02 * index]
    return matrix


def keyframe(index: int, map_id: int = 1, new_from_old: np.ndarray | None = None, scale: float = 1.0) -> Keyframe:
    """A keyframe that observes all points, one of them wrongly, in a world that is moved and scaled."""
    in_camera = np.linalg.inv(pose(index)) @ np.column_stack([POINTS, np.ones(30)]).T
    pixels = CAMERA.project(in_camera[:3].T)
    pixels[index] += 25.0
    world_from_camera = pose(index)
    world_from_camera[:3, 3] *= scale
    if new_from_old is not None:
        world_from_camera = new_from_old @ world_from_camera
    image = np.full((48, 64, 3), (10 * index, 100, 200), np.uint8)
    frame = Frame(index, 10**9 + index, image, CAMERA)
    ids = 100 + np.arange(30)
    return Keyframe(
        index, frame, world_from_camera, pixels, scale * in_camera[2], ScaleState.UP_TO_SCALE, None, map_id, ids
    )


def read_transforms(folder: Path) -> dict[str, np.ndarray]:
    values = json.loads((folder / "transforms.json").read_text())
    assert (values["fl_x"], values["cx"], values["cy"], values["w"], values["h"]) == (60, 32, 24, 64, 48)
    return {Path(f["file_path"]).stem: np.array(f["transform_matrix"]) @ OPENGL for f in values["frames"]}


def test_poses_points_and_images_are_written(tmp_path: Path) -> None:
    exports = KeyframeExports([f"colmap={tmp_path / 'c'}", f"nerfstudio={tmp_path / 'n'}"])
    exports.take([keyframe(0), keyframe(1)])
    exports.take([keyframe(1), keyframe(2), keyframe(3)])
    written = {path.relative_to(tmp_path).as_posix() for path in exports.finish()}
    assert written == {
        *(f"c/sparse/0/{name}.bin" for name in ("cameras", "images", "points3D")),
        "n/transforms.json",
        "n/sparse_pc.ply",
    }
    model, transforms = read_model(tmp_path / "c" / "sparse" / "0"), read_transforms(tmp_path / "n")
    assert model.cameras[1].parameters == (60.0, 60.0, 32.0, 24.0)
    assert [image.name for image in model.images] == [f"{index:06d}.png" for index in range(4)]
    for index, image in enumerate(model.images):
        np.testing.assert_allclose(np.linalg.inv(image.camera_from_world), pose(index), atol=1e-12)
        np.testing.assert_allclose(transforms[f"{index:06d}"], pose(index), atol=1e-12)
        assert (tmp_path / "c" / "images" / image.name).is_file()
        assert (tmp_path / "n" / "images" / image.name).is_file()
    cloud = read_cloud(tmp_path / "n" / "sparse_pc.ply")
    # The wrong observations were left out, and few points with them.
    assert len(cloud) >= 28
    assert np.linalg.norm(cloud.points[:, None] - POINTS, axis=2).min(axis=1).max() < 1e-4
    assert (cloud.colors[:, 1:] == (100, 200)).all()


def test_keyframes_outside_of_the_window_follow_a_change_of_scale(tmp_path: Path) -> None:
    exports = KeyframeExports([f"nerfstudio={tmp_path / 'n'}"])
    exports.take([keyframe(0), keyframe(1), keyframe(2)])
    center = pose(2)[:3, 3]
    exports.rescale(3.0, center, 1)
    exports.finish()
    for index, name in enumerate(sorted(read := read_transforms(tmp_path / "n"))):
        np.testing.assert_allclose(read[name][:3, 3], center + 3 * (pose(index)[:3, 3] - center), atol=1e-12)


def test_keyframes_outside_of_the_window_follow_a_merged_map(tmp_path: Path) -> None:
    exports = KeyframeExports([f"nerfstudio={tmp_path / 'n'}"])
    exports.take([keyframe(index, map_id=2) for index in range(5)])
    moved = np.eye(4)
    moved[:3, :3] = Rotation.from_rotvec([0.5, 1.0, -0.3]).as_matrix()
    moved[:3, 3] = [5, 6, 7]
    exports.take([keyframe(index, map_id=1, new_from_old=moved, scale=2.5) for index in (3, 4)])
    exports.finish()
    read = read_transforms(tmp_path / "n")
    assert len(read) == 5
    for index in range(5):
        expected = keyframe(index, new_from_old=moved, scale=2.5).world_from_camera
        np.testing.assert_allclose(read[f"{index:06d}"], expected, atol=1e-9)


def test_maps_of_unknown_relation_are_models_of_their_own(tmp_path: Path, caplog) -> None:
    exports = KeyframeExports([f"colmap-text={tmp_path / 'c'}", f"nerfstudio={tmp_path / 'n'}"])
    exports.take([keyframe(index, map_id=1) for index in (0, 1)])
    exports.take([keyframe(index, map_id=2) for index in (2, 3, 4)])
    exports.take([keyframe(index, map_id=3) for index in (5,)])
    exports.finish()
    counts = [len(read_model(tmp_path / "c" / "sparse" / str(number)).images) for number in (0, 1)]
    assert counts == [3, 2]
    assert not (tmp_path / "c" / "sparse" / "2").exists()
    assert sorted(read_transforms(tmp_path / "n")) == ["000002", "000003", "000004"]
    assert "2 keyframes of other maps are left out" in caplog.text


def test_nothing_to_export_is_a_warning(tmp_path: Path, caplog) -> None:
    exports = KeyframeExports([f"colmap={tmp_path / 'c'}"])
    exports.take([keyframe(0)])
    assert exports.finish() == []
    assert "nothing is exported" in caplog.text


@pytest.mark.parametrize("argument", ["colmap", "ply=x", "colmap=", "=x"])
def test_a_wrong_argument_names_the_kinds(argument: str) -> None:
    with pytest.raises(ConfigError, match="colmap, colmap-text, nerfstudio"):
        KeyframeExports([argument])


def test_a_folder_in_use_is_refused(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    for path in (tmp_path, tmp_path / "notes.txt"):
        with pytest.raises(ConfigError, match="not an empty folder"):
            KeyframeExports([f"colmap={path}"])


def test_a_rendered_sequence_is_exported_with_small_reprojection_errors(tmp_path: Path) -> None:
    pytest.importorskip("torch")
    arguments = ["--matcher", "sift", "--quiet", "--out", str(tmp_path / "out")]
    arguments += ["--export", f"colmap-text={tmp_path / 'c'}", "--export", f"nerfstudio={tmp_path / 'n'}"]
    assert main(["track", "scene:room?seed=1&frames=12&fps=4&width=240&height=180", *arguments]) == 0
    model = read_model(tmp_path / "c" / "sparse" / "0")
    assert len(model.images) >= 4
    last = read_tum(tmp_path / "out" / "trajectory.tum").world_from_camera
    spread = np.linalg.norm(np.ptp(last[:, :3, 3], axis=0))
    for image in model.images:
        # Keyframes are adjusted after they were delivered, and so close to what was reported, not equal.
        center = np.linalg.inv(image.camera_from_world)[:3, 3]
        assert np.linalg.norm(last[:, :3, 3] - center, axis=1).min() < 0.05 * spread
    errors = [float(line.split()[7]) for line in (tmp_path / "c/sparse/0/points3D.txt").read_text().splitlines()[1:]]
    assert len(errors) > 200
    assert np.mean(errors) < 0.5
    assert len(list((tmp_path / "n" / "images").glob("*.png"))) == len(model.images)
