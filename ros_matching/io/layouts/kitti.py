"""KITTI odometry, and the layout of visual odometry tutorials.

KITTI odometry (Geiger et al., CVPR 2012): ``sequences/NN/image_0`` to ``image_3``, ground truth in ``poses/NN.txt``.

The images are rectified. The poses are those of camera 0. Camera i sits at ``-K^-1 p4`` in its frame, where
``calib.txt`` gives ``Pi = [K | p4]``; the ground truth is transformed to it.


The layout of visual odometry tutorials: ``image_l/`` and perhaps ``image_r/``, ``calib.txt``, ``poses.txt``.

``calib.txt`` holds the 3x4 projection matrices of the left and the right camera, a line each, with or without a name in
front; ``poses.txt`` KITTI's 3x4 poses of the left camera. The images are rectified.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np

from ros_matching.errors import CalibrationError, SourceError
from ros_matching.geometry.se3 import invert, pose_from
from ros_matching.io.calibration import Calibration, calibration_from_values, read_calibration
from ros_matching.io.folder import read_times, rows_of_images, without_stamp
from ros_matching.io.images import list_images
from ros_matching.io.poses import pose_or_none, read_matrices
from ros_matching.io.sequence import ImageRecord, ImageSequence, RightCamera
from ros_matching.io.source_format import SourceFormat, stamps_at_rate
from ros_matching.io.text import COMMAS_OR_SPACES, read_table
from ros_matching.io.trajectory import read_kitti

OTHER_CAMERAS = {"image_0": "image_1", "image_1": "image_0", "image_2": "image_3", "image_3": "image_2"}
CAMERAS = ("image_2", "image_0", "image_3", "image_1")  # in order of preference: colour, then left


def matches_kitti(path: Path) -> bool:
    """Return True for a sequence, or one of its image folders."""
    sequence = path.parent if path.name in CAMERAS else path
    return (sequence / "calib.txt").is_file() and any((sequence / name).is_dir() for name in CAMERAS)


def open_kitti(path: Path, *, calibration: Path | None = None, stereo: bool = False) -> ImageSequence:
    """Open a sequence (its left colour camera, if present) or the image folder of one of its cameras.

    ``stereo`` adds the images of the other camera of the pair.
    """
    path = path.resolve()
    if path.name not in CAMERAS:
        path = next((path / name for name in CAMERAS if list_images(path / name)), path / CAMERAS[0])
    sequence = path.parent
    images = list_images(path)
    if not images:
        raise SourceError(f"{path} holds no images")
    k, camera0_from_camera = _projection(sequence / "calib.txt", f"P{path.name[-1]}")
    stamps_ns = read_times(sequence / "times.txt", images)
    poses = _poses(sequence, camera0_from_camera, images)
    records = [
        ImageRecord(index, stamp_ns, image, pose)
        for index, (stamp_ns, image, pose) in enumerate(zip(stamps_ns, images, poses, strict=True))
        if stamp_ns is not None
    ]
    known, right = k if calibration is None else read_calibration(calibration), None
    if stereo:
        right_folder = path.parent / OTHER_CAMERAS[path.name]
        records = [replace(record, right=right_folder / record.image.name) for record in records]
        right_k, camera0_from_right = _projection(sequence / "calib.txt", f"P{OTHER_CAMERAS[path.name][-1]}")
        right = RightCamera(right_k, invert(camera0_from_right) @ camera0_from_camera)
    faults = without_stamp(images, stamps_ns)
    return ImageSequence(f"kitti_{sequence.name}", records, known, right=right, faults=faults)


def _projection(path: Path, key: str) -> tuple[Calibration, np.ndarray]:
    """The calibration of one camera, and its pose (4, 4) in camera 0."""
    try:
        table = read_table(path, 13, "a name and a row-major 3x4 matrix")
    except SourceError as error:
        raise CalibrationError(str(error)) from error
    row = next((row for row, cells in enumerate(table.rows) if cells[0].rstrip(":") == key), None)
    if row is None:
        raise CalibrationError(f"{path} has no line {key}: for this camera")
    projection = table.numbers(first=1)[row].reshape(3, 4)
    calibration = calibration_from_values(table.where(row), projection[:, :3])
    camera0_from_camera = np.eye(4)
    camera0_from_camera[:3, 3] = -np.linalg.solve(projection[:, :3], projection[:, 3])
    return calibration, camera0_from_camera


def _poses(sequence: Path, camera0_from_camera: np.ndarray, images: list[Path]) -> list[np.ndarray] | list[None]:
    path = sequence.parent.parent / "poses" / f"{sequence.name}.txt"
    if not path.is_file():
        return [None] * len(images)
    world_from_camera0 = read_kitti(path).world_from_camera
    rows = rows_of_images(path, len(world_from_camera0), images)
    return list(world_from_camera0[list(rows)] @ camera0_from_camera)


KITTI = SourceFormat(
    name="KITTI odometry",
    looks_for="calib.txt, times.txt and image_0 or image_2 (sequences/NN)",
    matches=matches_kitti,
    open=open_kitti,
    options=("calibration", "stereo"),
)


FPS = 10.0  # KITTI's, which these sequences are cut from


def matches_tutorial(path: Path) -> bool:
    """Return True for a folder with ``image_l/``."""
    return bool(list_images(path / "image_l"))


def open_tutorial(
    path: Path, *, calibration: Path | None = None, fps: float | None = None, stereo: bool = False
) -> ImageSequence:
    """Open a sequence; ``stereo`` adds the images of ``image_r`` that have the same names."""
    path = path.resolve()
    images = list_images(path / "image_l")
    poses: list[np.ndarray | None] = [None] * len(images)
    if (path / "poses.txt").is_file():
        matrices = read_matrices(path / "poses.txt", 12)
        poses = [pose_or_none(matrices[row]) for row in rows_of_images(path / "poses.txt", len(matrices), images)]
    stamps_ns = stamps_at_rate(len(images), FPS if fps is None else fps, str(path))
    records = [ImageRecord(index, *fields) for index, fields in enumerate(zip(stamps_ns, images, poses, strict=True))]
    projections = None if calibration is not None and not stereo else _projections(path / "calib.txt")
    right = None
    if stereo:
        if len(projections) < 2:
            raise CalibrationError(f"{path / 'calib.txt'} has one projection matrix; stereo needs a second line")
        records = [replace(record, right=path / "image_r" / record.image.name) for record in records]
        left, right = (_camera0_from_camera(projection) for projection in projections[:2])
        right = RightCamera(
            calibration_from_values(f"{path / 'calib.txt'}, line 2", projections[1][:, :3]), invert(right) @ left
        )
    if calibration is not None:
        known = read_calibration(calibration)
    else:
        known = calibration_from_values(f"{path / 'calib.txt'}, line 1", projections[0][:, :3])
    return ImageSequence(path.name, records, known, right=right)


def _projections(path: Path) -> np.ndarray:
    """The projection matrices (N, 3, 4) of a file with one a line."""
    try:
        table = read_table(path, 12, "a row-major 3x4 projection matrix", separator=COMMAS_OR_SPACES, is_ragged=True)
    except SourceError as error:
        raise CalibrationError(str(error)) from error
    if any(len(row) > 13 for row in table.rows):
        raise CalibrationError(f"{path}: expected 12 numbers a line, with a name in front or without")
    table = replace(table, rows=[row[-12:] for row in table.rows])
    return table.numbers().reshape(-1, 3, 4)


def _camera0_from_camera(projection: np.ndarray) -> np.ndarray:
    return pose_from(np.eye(3), -np.linalg.solve(projection[:, :3], projection[:, 3]))


TUTORIAL = SourceFormat(
    name="tutorial",
    looks_for="image_l/ with calib.txt",
    matches=matches_tutorial,
    open=open_tutorial,
    options=("calibration", "fps", "stereo"),
)
