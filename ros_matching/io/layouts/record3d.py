"""Exports of Record3D, an app for phones with a depth sensor: ``rgb/`` with ``metadata.json``, or a ``.r3d`` file.

Poses are ``qx qy qz qw tx ty tz`` of the camera with OpenGL's axes, by ARKit. K is stored column by column. Stamps are
``frameTimestamps``, or come at the rate of the metadata. Depth (EXR, or compressed by LZFSE) is not read.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ros_matching.errors import CalibrationError, SourceError
from ros_matching.io.calibration import Calibration, CalibrationChoice, calibration_from_values, read_calibration
from ros_matching.io.folder import DEFAULT_FPS
from ros_matching.io.images import (
    ArchivedFile,
    archived_files,
    image_file_size,
    list_archived_images,
    list_images,
    number_of_name,
)
from ros_matching.io.poses import poses_from_quaternions, swap_opengl
from ros_matching.io.sequence import ImageRecord, ImageSequence
from ros_matching.io.source_format import FIRST_STAMP_NS, SourceFormat, stamps_of_numbers
from ros_matching.io.text import read_text

_METADATA_BYTES = 64 << 20
_FOLDERS = ("rgb", "EXR_RGBD/rgb", "rgbd")


def matches(path: Path) -> bool:
    """Return True for a ``.r3d`` file, or a folder with an export of one."""
    if path.is_file():
        return path.suffix.lower() == ".r3d"
    return _record3d_folder(path) is not None


def _record3d_folder(path: Path) -> tuple[Path, Path] | None:
    """The metadata and the folder of the images of an export."""
    for name in _FOLDERS:
        folder = path / name
        for metadata in (folder.parent / "metadata.json", folder.parent / "metadata"):
            if metadata.is_file() and list_images(folder):
                return metadata, folder
    return None


def open_record3d(
    path: Path, *, calibration: Path | CalibrationChoice | None = None, fps: float | None = None
) -> ImageSequence:
    """Open an export: a folder with ``rgb/N.jpg`` and ``metadata.json``, or a ``.r3d`` file, unpacked or not."""
    path = path.resolve()
    if path.is_file():
        metadata = next((file for file in archived_files(path) if file.member == "metadata"), None)
        images: Sequence[Path | ArchivedFile] = list_archived_images(path, "rgbd")
        if metadata is None or not images:
            raise SourceError(f"{path}: expected metadata and rgbd/0.jpg, ... in it; is it an export of Record3D?")
        text = metadata.read_bytes().decode(errors="replace")
    else:
        found = _record3d_folder(path)
        if found is None:
            raise SourceError(f"{path}: expected metadata.json next to rgb/0.jpg, ...")
        metadata, images = found[0], list_images(found[1])
        text = read_text(found[0], _METADATA_BYTES)
    values = _json_object(str(metadata), text)
    numbers = [number_of_name(image) for image in images]
    poses = _record3d_poses(str(metadata), values, numbers[-1] + 1)
    stamps_ns = _record3d_stamps(str(metadata), values, numbers, fps)
    size = image_file_size(images[0])
    known, own = _record3d_calibrations(str(metadata), values, size, numbers)
    if calibration is not None:
        known, own = read_calibration(calibration), [None] * len(images)
    records = [
        ImageRecord(index, stamp_ns, image, None if poses is None else poses[number], calibration=record_own)
        for index, (image, number, stamp_ns, record_own) in enumerate(zip(images, numbers, stamps_ns, own, strict=True))
    ]
    return ImageSequence(path.stem, records, known)


def _json_object(origin: str, text: str) -> Mapping[str, Any]:
    try:
        content = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise SourceError(f"{origin} cannot be read as JSON ({error})") from error
    if not isinstance(content, dict):
        raise SourceError(f"{origin}: expected a JSON object, got {type(content).__name__}")
    return content


def _array(origin: str, values: Mapping[str, Any], name: str, width: int) -> np.ndarray | None:
    """The rows (N, ``width``) of a list, ``None`` if it is absent or empty."""
    given = values.get(name)
    if not given:
        return None
    try:
        array = np.array(given, dtype=np.float64)
    except (TypeError, ValueError):
        array = np.zeros(0)
    if array.ndim != 2 or array.shape[1] != width:
        raise SourceError(f"{origin}: expected {width} numbers in each entry of {name}")
    return array


def _record3d_poses(origin: str, values: Mapping[str, Any], count: int) -> np.ndarray | None:
    poses = _array(origin, values, "poses", 7)
    if poses is None:
        return None
    if len(poses) < count:
        raise SourceError(f"{origin} holds {len(poses)} poses, but there is an image number {count - 1}")
    return swap_opengl(poses_from_quaternions(poses[:, [4, 5, 6, 0, 1, 2, 3]], lambda row: f"{origin}, pose {row}"))


def _record3d_stamps(origin: str, values: Mapping[str, Any], numbers: Sequence[int], fps: float | None) -> list[int]:
    given = values.get("frameTimestamps")
    if fps is None and isinstance(given, list) and len(given) > numbers[-1]:
        try:
            seconds = np.array(given, dtype=np.float64)[list(numbers)]
        except (TypeError, ValueError):
            seconds = np.full(1, np.nan)
        if not np.isfinite(seconds).all() or np.abs(seconds).max() > 9e9:
            raise SourceError(f"{origin}: expected frameTimestamps in seconds")
        return [FIRST_STAMP_NS + round(float(second) * 1e9) for second in seconds - seconds[0]]
    rate_hz = values.get("fps", DEFAULT_FPS) if fps is None else fps
    if not isinstance(rate_hz, (int, float)):
        raise SourceError(f"{origin}: expected a number for fps, got {rate_hz!r}")
    return stamps_of_numbers(numbers, rate_hz, origin)


def _record3d_calibrations(
    origin: str, values: Mapping[str, Any], size: tuple[int, int], numbers: Sequence[int]
) -> tuple[Calibration, list[Calibration | None]]:
    """The calibration of the first image, and those of the images, where each has its own."""
    coefficients = _array(origin, values, "perFrameIntrinsicCoeffs", 4)
    if coefficients is not None and len(coefficients) > numbers[-1]:
        found = [
            calibration_from_values(f"{origin}, frame {number}", (fx, 0, cx, 0, fy, cy, 0, 0, 1), image_size=size)
            for number in numbers
            for fx, fy, cx, cy in [coefficients[number]]
        ]
        return found[0], [None, *found[1:]]
    if "K" not in values:
        raise CalibrationError(f"{origin} has no K; give calibration=PATH")
    stated = values.get("w"), values.get("h")
    if None not in stated and stated != size:
        raise CalibrationError(f"{origin} is for images of {stated[0]}x{stated[1]}, but they are {size[0]}x{size[1]}")
    k = values["K"]  # column by column
    matrix = (
        [k[3 * column + row] for row in range(3) for column in range(3)] if isinstance(k, list) and len(k) == 9 else k
    )
    return calibration_from_values(origin, matrix, image_size=size), [None] * len(numbers)


FORMAT = SourceFormat(
    name="Record3D",
    looks_for="rgb/ with metadata.json, rgbd/ with metadata, or a .r3d file",
    matches=matches,
    open=open_record3d,
    options=("calibration", "fps"),
)
