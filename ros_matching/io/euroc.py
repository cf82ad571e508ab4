"""EuRoC MAV (Burri et al., IJRR 2016): ``mav0/cam0`` with ``data.csv``, ``sensor.yaml`` and ``data/``.

The truth in ``mav0/state_groundtruth_estimate0`` is of the body (the IMU); ``T_BS`` of the camera's ``sensor.yaml``,
its pose in the body, moves it to the camera.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from ros_matching.errors import CalibrationError, SourceError
from ros_matching.io.calibration import read_calibration
from ros_matching.io.format import SourceFormat
from ros_matching.io.poses import pose_or_none, poses_from_quaternions, rigid_transforms
from ros_matching.io.sequence import ImageRecord, ImageSequence
from ros_matching.io.text import read_table
from ros_matching.io.trajectory import Trajectory

CAMERAS = ("cam0", "cam1")
TRUTH = Path("state_groundtruth_estimate0", "data.csv")


def matches(path: Path) -> bool:
    """Whether the path is a sequence, its ``mav0``, or one of its cameras."""
    return (_camera_folder(path) / "data.csv").is_file()


def open_euroc(path: Path, *, calibration: Path | None = None) -> ImageSequence:
    """Open a sequence (its ``cam0``) or one of its cameras; ``calibration`` replaces the intrinsics, not ``T_BS``."""
    folder = _camera_folder(path.resolve())
    table = read_table(folder / "data.csv", 2, "a stamp in nanoseconds and the name of an image", separator=",")
    stamps_ns = table.integers()
    backward = np.flatnonzero(np.diff(stamps_ns) <= 0)
    if backward.size:
        raise SourceError(f"{table.where(int(backward[0]) + 1)}: expected stamps that increase")
    sensor = read_calibration(folder / "sensor.yaml")
    poses = _poses(folder, sensor.body_from_camera, stamps_ns)
    records = [
        ImageRecord(index, int(stamps_ns[index]), folder / "data" / table.rows[index][1], pose_or_none(poses[index]))
        for index in range(len(table))
    ]
    name = f"{folder.parent.parent.name}_{folder.name}"
    return ImageSequence(name, records, sensor if calibration is None else read_calibration(calibration))


def _camera_folder(path: Path) -> Path:
    if path.name in CAMERAS:
        return path
    return (path if path.name == "mav0" else path / "mav0") / CAMERAS[0]


def _poses(folder: Path, body_from_camera: np.ndarray | None, stamps_ns: np.ndarray) -> np.ndarray:
    """The truth at the images' stamps, (N, 4, 4), NaN where there is none."""
    path = folder.parent / TRUTH
    if not path.is_file():
        return np.full((len(stamps_ns), 4, 4), np.nan)
    if body_from_camera is None:
        raise CalibrationError(f"{folder / 'sensor.yaml'} has no T_BS, which the truth of the camera needs")
    body_from_camera = rigid_transforms(body_from_camera[None], lambda _: f"{folder / 'sensor.yaml'}, T_BS")[0]
    table = read_table(path, 8, "stamp, position x y z, quaternion w x y z", separator=",")
    values = table.numbers(first=1, last=8)[:, [0, 1, 2, 4, 5, 6, 3]]  # w goes last
    world_from_body = poses_from_quaternions(values, table.where)
    return Trajectory(table.integers(), world_from_body).in_order().at(stamps_ns) @ body_from_camera


FORMAT = SourceFormat(name="EuRoC", looks_for="mav0/cam0/data.csv with sensor.yaml", matches=matches, open=open_euroc)
