"""Models of COLMAP: round trips of both forms, and errors of damaged ones."""

from __future__ import annotations

import struct
from pathlib import Path

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from ros_matching.errors import SourceError
from ros_matching.io.colmap_model import (
    ColmapModel,
    ModelCamera,
    ModelImage,
    ModelPoints,
    is_model,
    pinhole_camera,
    read_model,
    write_model,
)


@pytest.fixture
def model() -> ColmapModel:
    images = []
    for index in range(3):
        pose = np.eye(4)
        pose[:3, :3] = Rotation.from_rotvec([0.3 * index, -1.0, 2.9]).as_matrix()
        pose[:3, 3] = [index, 2.5, -1e-3]
        ids = np.array([7, -1, 9][: index + 1])
        images.append(
            ModelImage(index + 4, f"left cam/{index}.png", 2, pose, np.arange(2.0 * len(ids)).reshape(-1, 2), ids)
        )
    points = ModelPoints(
        np.array([7, 9]), np.array([[1.0, 2, 3], [4, 5, 6.5]]), np.array([[1, 2, 255], [0, 9, 9]], np.uint8), np.ones(2)
    )
    cameras = {
        2: ModelCamera(2, "OPENCV", 640, 480, (500.0, 501, 320, 240, 0.1, -0.2, 1e-3, 0)),
        5: pinhole_camera(5, 48, 36, np.diag([40, 41, 1.0])),
    }
    return ColmapModel(cameras, images, points)


@pytest.mark.parametrize("as_text", [False, True])
def test_cameras_and_poses_come_back(as_text: bool, model: ColmapModel, tmp_path: Path) -> None:
    assert not is_model(tmp_path)
    write_model(tmp_path, model, as_text=as_text)
    assert is_model(tmp_path)
    read = read_model(tmp_path)
    assert read.cameras == model.cameras
    assert [(i.id, i.name, i.camera_id) for i in read.images] == [(i.id, i.name, i.camera_id) for i in model.images]
    for image, expected in zip(read.images, model.images, strict=True):
        np.testing.assert_allclose(image.camera_from_world, expected.camera_from_world, atol=1e-12)


def test_the_text_is_as_colmap_defines_it(model: ColmapModel, tmp_path: Path) -> None:
    write_model(tmp_path, model, as_text=True)
    lines = (tmp_path / "images.txt").read_text().splitlines()
    x, y, z, w = Rotation.from_matrix(model.images[1].camera_from_world[:3, :3]).as_quat(canonical=True)
    values = [float(value) for value in lines[3].split()[:8]]
    np.testing.assert_allclose(values, [5, w, x, y, z, 1, 2.5, -1e-3], atol=1e-12)
    assert lines[4] == "0.500 1.500 7 2.500 3.500 -1"  # the first pixel's centre is (0.5, 0.5)
    assert (tmp_path / "cameras.txt").read_text().splitlines()[2] == "5 PINHOLE 48 36 40.0 41.0 0.5 0.5"
    points = (tmp_path / "points3D.txt").read_text().splitlines()
    assert points[1] == "7 1.0 2.0 3.0 1 2 255 1.0000 4 0 5 0 6 0"
    assert points[2] == "9 4.0 5.0 6.5 0 9 9 1.0000 6 2"


def test_keypoint_lines_may_be_empty(model: ColmapModel, tmp_path: Path) -> None:
    write_model(tmp_path, model, as_text=True)
    lines = (tmp_path / "images.txt").read_text().splitlines()
    lines[2] = lines[6] = ""
    (tmp_path / "images.txt").write_text("\n".join(lines[:7]))
    assert [image.id for image in read_model(tmp_path).images] == [4, 5, 6]


@pytest.mark.parametrize("name", ["cameras.bin", "images.bin"])
def test_a_file_that_is_cut_off_anywhere_is_refused(name: str, model: ColmapModel, tmp_path: Path) -> None:
    write_model(tmp_path, model)
    content = (tmp_path / name).read_bytes()
    for length in range(0, len(content), 3):
        (tmp_path / name).write_bytes(content[:length])
        with pytest.raises(SourceError, match=name):
            read_model(tmp_path)


@pytest.mark.parametrize(
    ("name", "content", "expected"),
    [
        ("cameras.bin", struct.pack("<Q", 2**60), "announced"),
        ("cameras.bin", struct.pack("<QiiQQ", 1, 1, 99, 6, 4) + bytes(64), "number 99"),
        ("images.bin", struct.pack("<Qi7diQ", 1, 1, *[0.0] * 7, 2, 0) + bytes(8), "quaternion"),
        ("images.bin", struct.pack("<Qi7diQQ", 1, 1, 1.0, *[0.0] * 6, 3, 0, 0), "camera 3"),
        ("cameras.txt", "1 PINHOLE 640\n", "line 1: expected CAMERA_ID"),
        ("images.txt", "1 1 0 0 0 0 0 0 1\n", "line 1: expected IMAGE_ID"),
        ("images.txt", "1 0 0 0 0 0 0 0 1 a.png\n", "line 1: expected a finite quaternion"),
    ],
)
def test_the_defect_is_named(
    name: str, content: bytes | str, expected: str, model: ColmapModel, tmp_path: Path
) -> None:
    write_model(tmp_path, model, as_text=isinstance(content, str))
    (tmp_path / name).write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(SourceError, match=expected):
        read_model(tmp_path)
