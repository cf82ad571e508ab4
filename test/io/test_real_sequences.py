"""The real sequences, and a rendered one like them: all frames, sound ground truth, and registered depth."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from ros_matching.geometry.se3 import rotation_angle_deg
from ros_matching.io import open_source


@pytest.mark.parametrize(
    ("name", "count", "width", "height", "focal"),
    [
        ("hololens_000", 273, 540, 360, 495.6),
        ("redkitchen", 700, 640, 480, 525.0),
        ("fox", 50, 540, 960, 687.8),
        ("lund_door", 12, 648, 968, 1199.1),
    ],
)
def test_every_tenth_frame(name: str, count: int, width: int, height: int, focal: float, data_dir: Path) -> None:
    assert len(open_source(data_dir / name)) == count
    source = open_source(data_dir / name, stride=10)
    frames = list(source)
    assert [frame.index for frame in frames] == list(range(0, count, 10))
    assert (source.camera.width, source.camera.height) == (width, height)
    assert source.camera.fx == pytest.approx(focal, abs=0.1)
    poses = np.array([frame.true_world_from_camera for frame in frames])
    rotations = poses[:, :3, :3]
    np.testing.assert_allclose(
        rotations @ rotations.transpose(0, 2, 1), np.broadcast_to(np.eye(3), rotations.shape), atol=1e-12
    )
    assert all(20 < frame.image.mean() < 235 for frame in frames)


def test_motion_of_hololens_is_that_of_its_readme(data_dir: Path) -> None:
    poses = np.array([frame.true_world_from_camera for frame in open_source(data_dir / "hololens_000", stop=100)])
    steps = np.linalg.norm(np.diff(poses[:, :3, 3], axis=0), axis=1)
    turns = rotation_angle_deg(np.swapaxes(poses[:-1, :3, :3], 1, 2) @ poses[1:, :3, :3])
    assert 0.02 < np.median(steps) < 0.15
    assert 1 < np.median(turns) < 8


def test_registered_depth_agrees_from_two_sides(sequences_dir: Path) -> None:
    """Points measured in one frame, moved by the true poses, lie at the depth measured in another."""
    first, second = open_source(sequences_dir / "hololens_000", start=20, stop=24, stride=3)
    camera = first.camera
    rows, columns = np.nonzero(np.isfinite(first.depth))
    assert set(np.unique(rows % 2)) == {0}
    assert set(np.unique(columns % 2)) == {0}
    points = camera.unproject(np.column_stack([columns, rows])) * first.depth[rows, columns, None]
    second_from_first = np.linalg.inv(second.true_world_from_camera) @ first.true_world_from_camera
    points = points @ second_from_first[:3, :3].T + second_from_first[:3, 3]
    pixels = np.nan_to_num(camera.project(points), nan=-9.0)
    pixels = 2 * np.round(pixels / 2).astype(int)  # the pixels that are measured
    inside = ((pixels >= 0) & (pixels < (camera.width, camera.height))).all(axis=1)
    measured = second.depth[pixels[inside, 1], pixels[inside, 0]]
    ratio = measured / points[inside, 2]
    assert np.isfinite(ratio).mean() > 0.3
    assert np.nanmedian(np.abs(ratio - 1)) < 0.02


def test_redkitchen_depth_is_not_registered_and_left_out(data_dir: Path) -> None:
    assert all(frame.depth is None for frame in open_source(data_dir / "redkitchen", stop=5))
