"""Files of an IMU: samples as CSV, Kalibr's ``imu.yaml`` and ``camchain.yaml``, and the IMU of a frame source.

Samples have one line each: a stamp (ns, or seconds), three rates in rad/s, three accelerations in m/s2, as in EuRoC's
``imu0/data.csv``. The stamps are on the clock of the images.
"""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import numpy as np

from ros_matching.datatypes import ImuNoise, ImuRecording, ImuSamples
from ros_matching.errors import CalibrationError, DataTypeError, SourceError
from ros_matching.geometry.se3 import invert
from ros_matching.io.calibration.documents import parse_yaml
from ros_matching.io.calibration.fields import number, numbers
from ros_matching.io.poses import read_matrices, rigid_transforms
from ros_matching.io.source import FrameSource
from ros_matching.io.text import COMMAS_OR_SPACES, TextTable, read_lines, read_table

IMU_CSV = "imu.csv"
IMU_YAML = "imu.yaml"
EXTRINSICS = "T_imu_cam.txt"  # rows of imu_from_camera
CHAIN = "camchain.yaml"

_LOGGER = logging.getLogger(__name__)
_MEANING = "stamp wx wy wz (rad/s) ax ay az (m/s2)"
# Kalibr's names
_NOISE = {
    "gyroscope": "gyroscope_noise_density",
    "accelerometer": "accelerometer_noise_density",
    "gyroscope_walk": "gyroscope_random_walk",
    "accelerometer_walk": "accelerometer_random_walk",
}


def imu_of(source: FrameSource) -> ImuRecording:
    """Return the IMU of a frame source; raises ``SourceError`` if it has none."""
    recording = getattr(source, "imu", None)
    if recording is None:
        raise SourceError(
            f"{source.name} has no IMU that is known; give a file of samples (--imu FILE: {_MEANING}), take a scene "
            "with ?imu=200, or see docs/imu.md for what is recognised"
        )
    return recording


def read_imu_samples(path: Path) -> ImuSamples:
    """Read samples from a CSV file; raises ``SourceError`` for a line that is not one."""
    table = read_table(path, 7, _MEANING, separator=COMMAS_OR_SPACES, has_names=True)
    values = table.numbers(1, 7)
    bad = np.flatnonzero(~np.isfinite(values).all(axis=1))
    if len(bad):
        raise SourceError(f"{table.where(int(bad[0]))}: expected finite numbers ({_MEANING})")
    return ImuSamples(_stamps_ns(table), values[:, :3], values[:, 3:])


def _stamps_ns(table: TextTable) -> np.ndarray:
    """The stamps: nanoseconds if they are whole numbers of an hour or more of them, else seconds."""
    cells = [row[0] for row in table.rows]
    if all(cell.isdecimal() for cell in cells) and int(cells[-1]) >= 3_600 * 10**9:
        return table.integers(0)
    return table.stamps_ns(0)


def read_imu_noise(path: Path) -> ImuNoise:
    """Read the noise from Kalibr's ``imu.yaml``, or EuRoC's ``sensor.yaml`` of an IMU."""
    content = _mapping(path)
    nested = [value for value in content.values() if isinstance(value, dict) and _NOISE["gyroscope"] in value]
    content = nested[0] if _NOISE["gyroscope"] not in content and nested else content
    missing = [key for key in _NOISE.values() if key not in content]
    if missing:
        raise CalibrationError(f"{path} has no {', '.join(missing)}; an imu.yaml as of Kalibr is expected")
    values = {name: number(str(path), key, content[key]) for name, key in _NOISE.items()}
    try:
        return ImuNoise(**values)
    except DataTypeError as error:
        raise CalibrationError(f"{path}: {error}") from error


def read_imu_extrinsics(path: Path, cam: str = "cam0") -> tuple[np.ndarray, float | None]:
    """Read ``imu_from_camera`` (4, 4) and the time offset in seconds, where known.

    Of Kalibr's ``camchain.yaml`` (``T_cam_imu``, ``timeshift_cam_imu``), or of a text file with the rows of
    ``imu_from_camera``.
    """
    if path.suffix.lower() not in (".yaml", ".yml"):
        matrices = read_matrices_of_rows(path)
        return rigid_transforms(matrices, lambda _: str(path))[0], None
    content = _mapping(path)
    camera = content.get(cam, content)
    if not isinstance(camera, dict) or "T_cam_imu" not in camera:
        raise CalibrationError(f"{path}: expected {cam} with T_cam_imu, as of Kalibr")
    matrix = numbers(str(path), "T_cam_imu", camera["T_cam_imu"], 16).reshape(1, 4, 4)
    camera_from_imu = rigid_transforms(matrix, lambda _: f"{path}, {cam}, T_cam_imu")[0]
    shift = camera.get("timeshift_cam_imu")
    return invert(camera_from_imu), None if shift is None else number(str(path), "timeshift_cam_imu", shift)


def read_matrices_of_rows(path: Path) -> np.ndarray:
    """Read a matrix (1, 4, 4) that is written as sixteen numbers in one line, or as rows of four."""
    table = read_table(path, 4, "rows of a 4x4 matrix", separator=COMMAS_OR_SPACES, is_ragged=True)
    if len(table) == 1:
        return read_matrices(path)
    values = table.numbers(0, 4)
    if values.shape not in ((4, 4), (3, 4)):
        raise SourceError(f"{path}: expected four rows of four numbers, got {values.shape[0]} rows")
    return np.vstack([values[:3], [0.0, 0.0, 0.0, 1.0]])[None]


def read_imu_folder(folder: Path) -> ImuRecording | None:
    """Read the IMU beside a folder of images: ``imu.csv``, ``T_imu_cam.txt`` or ``camchain.yaml``, ``imu.yaml``."""
    path = folder / IMU_CSV
    return read_imu_files(path) if path.is_file() else None


def read_imu_files(
    samples: Path, extrinsics: Path | None = None, noise: Path | None = None, cam: str = "cam0"
) -> ImuRecording:
    """Read samples with the calibration given, or with what lies beside them."""
    folder = samples.parent
    known = _extrinsics_beside(folder, cam) if extrinsics is None else read_imu_extrinsics(extrinsics, cam)
    imu_from_camera, offset_s = known
    if noise is None and (folder / IMU_YAML).is_file():
        noise = folder / IMU_YAML
    known_noise = None if noise is None else read_imu_noise(noise)
    return ImuRecording(read_imu_samples(samples), str(samples), imu_from_camera, known_noise, offset_s)


def _extrinsics_beside(folder: Path, cam: str) -> tuple[np.ndarray | None, float | None]:
    """Read the extrinsics and the time offset from a folder; unknown where it has none that can be used."""
    for path in (folder / EXTRINSICS, folder / CHAIN):
        if path.is_file():
            try:
                return read_imu_extrinsics(path, cam)
            except SourceError as error:
                _LOGGER.warning("the extrinsics of the IMU are not known: %s", error)
    return None, None


def _mapping(path: Path) -> dict[str, Any]:
    try:
        content = (parse_yaml(str(path), "\n".join(read_lines(path))) or [None])[0]
    except CalibrationError:
        raise
    except SourceError as error:
        raise CalibrationError(str(error)) from error
    if not isinstance(content, dict):
        raise CalibrationError(f"{path}: expected keys with values, as of Kalibr")
    return content
