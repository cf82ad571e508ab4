"""The layout of visual odometry tutorials: ``image_l/`` and perhaps ``image_r/``, ``calib.txt``, ``poses.txt``.

``calib.txt`` holds the 3x4 projection matrices of the left and the right camera, a line each, with or without a name in
front; ``poses.txt`` KITTI's 3x4 poses of the left camera. The images are rectified.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np

from ros_matching.errors import CalibrationError, SourceError
from ros_matching.geometry.se3 import invert, pose_from
from ros_matching.io.calibration import calibration_from_values, read_calibration
from ros_matching.io.folder import rows_of_images
from ros_matching.io.format import SourceFormat, stamps_at_rate
from ros_matching.io.images import list_images
from ros_matching.io.poses import pose_or_none, read_matrices
from ros_matching.io.sequence import ImageRecord, ImageSequence, PartnerCamera
from ros_matching.io.text import COMMAS_OR_SPACES, read_table

FPS = 10.0  # KITTI's, which these sequences are cut from


def matches(path: Path) -> bool:
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
    partner = None
    if stereo:
        if len(projections) < 2:
            raise CalibrationError(f"{path / 'calib.txt'} has one projection matrix; stereo needs a second line")
        records = [replace(record, partner=path / "image_r" / record.image.name) for record in records]
        left, right = (_camera0_from_camera(projection) for projection in projections[:2])
        partner = PartnerCamera(
            calibration_from_values(f"{path / 'calib.txt'}, line 2", projections[1][:, :3]), invert(right) @ left
        )
    if calibration is not None:
        known = read_calibration(calibration)
    else:
        known = calibration_from_values(f"{path / 'calib.txt'}, line 1", projections[0][:, :3])
    return ImageSequence(path.name, records, known, partner=partner)


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


FORMAT = SourceFormat(
    name="tutorial",
    looks_for="image_l/ with calib.txt",
    matches=matches,
    open=open_tutorial,
    options=("calibration", "fps", "stereo"),
)
