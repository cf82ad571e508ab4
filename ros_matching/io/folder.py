"""A folder of images: ``images/`` (or the images themselves), ``K.txt``, and optional files.

``poses.txt`` holds one camera-to-world 4x4 or 3x4 a line, row-major (NaN: unknown), ``times.txt`` a stamp in seconds a
line; without it stamps are the names of the images where those can be (``name_stamps``), or else frames come at ``fps``
from 1 s on. ``depth/`` holds 16-bit PNG in millimetres by the names of the images,
registered to them; a ``K_depth.txt`` means that they are of a separate camera, and they are ignored unless
``register_depth`` is set: then that camera is assumed to have the pose of the colour camera,
with images of the same size, and the depth is brought into the image. ``imu.csv``, with ``T_imu_cam.txt`` and
``imu.yaml``, is the IMU (see ``imu``).
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from ros_matching.errors import CalibrationError, SourceError
from ros_matching.io.calibration import Calibration, CalibrationChoice, read_calibration
from ros_matching.io.faults import FrameFault
from ros_matching.io.images import list_images
from ros_matching.io.imu import read_imu_folder
from ros_matching.io.listing import read_stamps, stamps_of_names
from ros_matching.io.poses import pose_or_none, read_matrices
from ros_matching.io.sequence import ImageRecord, ImageSequence
from ros_matching.io.source_format import SourceFormat, stamps_at_rate

_LOGGER = logging.getLogger(__name__)
DEFAULT_FPS = 30.0
DEPTH_CALIBRATION = "K_depth.txt"
CALIBRATION_NAMES = ("K.txt", "calibration.yaml", "camera.yaml", "ost.yaml", "sensor.yaml", "camchain.yaml")
CALIBRATION_NAMES += (
    "calibration.yml",
    "camera.yml",
    "calibration.json",
    "camera.json",
    "calibration.txt",
    "camera.txt",
)


def matches(path: Path) -> bool:
    """Return True for a folder with images in it or in ``images/``."""
    return path.is_dir() and bool(list_images(path / "images") or list_images(path))


def open_folder(
    path: Path,
    *,
    calibration: Path | CalibrationChoice | None = None,
    fps: float | None = None,
    register_depth: bool = False,
) -> ImageSequence:
    """Open a folder of images; raises ``SourceError`` when its files do not fit each other."""
    images = list_images(path / "images") or list_images(path)
    if not images:
        raise SourceError(f"{path} holds no images, neither itself nor in images/")
    images, stamps_ns = _with_stamps(path, images, fps)
    poses = _poses(path, images)
    depth_calibration = read_calibration(path / DEPTH_CALIBRATION) if register_depth else None
    depths = _depths(path, register_depth)
    records = [
        ImageRecord(index, stamp_ns, image, pose, depths.get(image.stem))
        for index, (stamp_ns, image, pose) in enumerate(zip(stamps_ns, images, poses, strict=True))
        if stamp_ns is not None
    ]
    return ImageSequence(
        path.resolve().name,
        records,
        find_calibration(path, calibration),
        depth_calibration=depth_calibration,
        faults=without_stamp(images, stamps_ns),
        imu=lambda: read_imu_folder(path),
    )


def find_calibration(
    folder: Path, given: Path | CalibrationChoice | None, names: tuple[str, ...] = CALIBRATION_NAMES
) -> Calibration:
    """The given calibration, or the first of ``names`` in the folder.

    Raises ``CalibrationError`` without one, and where another of the usual names holds a different calibration.
    """
    choice = given if isinstance(given, CalibrationChoice) else CalibrationChoice(given)
    if choice.path is not None:
        return read_calibration(choice)
    found = [folder / name for name in names if (folder / name).is_file()]
    if not found:
        raise CalibrationError(
            f"no calibration in {folder}: expected one of {', '.join(names)}, or give calibration=PATH"
        )
    known = read_calibration(replace(choice, path=found[0]))
    if found[0].name in CALIBRATION_NAMES:
        _check_others(known, found[1:], choice)
    return known


def _check_others(known: Calibration, others: list[Path], choice: CalibrationChoice) -> None:
    for path in others:
        try:
            other = read_calibration(replace(choice, path=path))
        except CalibrationError as error:
            _LOGGER.warning("%s is used, and another file is not: %s", known.origin, error)
            continue
        if not known.agrees_with(other):
            raise CalibrationError(
                f"{known.origin} and {path.name} next to it are different calibrations; give the right one as "
                "calibration=PATH, or remove the other"
            )


def _with_stamps(folder: Path, images: list[Path], fps: float | None) -> tuple[list[Path], Sequence[int | None]]:
    """The images in order, and their stamps: of ``fps``, of ``times.txt``, of their names, or at the usual rate."""
    path = folder / "times.txt"
    if fps is None and path.is_file():
        return images, read_times(path, images)
    of_names = stamps_of_names(images) if fps is None else None
    if of_names is None:
        return images, stamps_at_rate(len(images), DEFAULT_FPS if fps is None else fps, str(folder))
    order = np.argsort(of_names, kind="stable")
    return [images[row] for row in order], [of_names[row] for row in order]


def read_times(path: Path, images: list[Path]) -> list[int | None]:
    """The stamps (ns) of the images in a file with one in seconds a line; ``None`` if it has none for an image.

    Of fewer lines than images, the last images have none. Raises ``SourceError`` as ``rows_of_images``.
    """
    stamps_ns = read_stamps(path)
    stamps_ns += [None] * (len(images) - len(stamps_ns))
    return [stamps_ns[row] for row in rows_of_images(path, len(stamps_ns), images)]


def without_stamp(images: list[Path], stamps_ns: Sequence[int | None]) -> list[FrameFault]:
    """The faults of images whose stamp is ``None``."""
    return [
        FrameFault(index, f"{image} has no stamp in times.txt")
        for index, (image, stamp_ns) in enumerate(zip(images, stamps_ns, strict=True))
        if stamp_ns is None
    ]


def rows_of_images(path: Path, count: int, images: list[Path]) -> Sequence[int]:
    """The line of a file of ``count`` lines that each image has, counted from 0.

    Of more lines than images, as where an image was lost, the images' names must be the numbers of their lines, from 0
    or from 1. Raises ``SourceError`` if it is not clear which line belongs to which image.
    """
    if count == len(images):
        return range(count)
    if count > len(images) and all(image.stem.isdecimal() for image in images):
        numbers = [int(image.stem) for image in images]
        for first in (0, 1):
            if numbers[0] == first and numbers[-1] < count + first and (first == 0 or numbers[-1] == count):
                return [number - first for number in numbers]
    raise SourceError(f"{path} holds {count} lines for {len(images)} images; it needs one line an image")


def _poses(folder: Path, images: list[Path]) -> list[np.ndarray | None]:
    path = folder / "poses.txt"
    if not path.is_file():
        return [None] * len(images)
    poses = read_matrices(path)
    return [pose_or_none(poses[row]) for row in rows_of_images(path, len(poses), images)]


def _depths(folder: Path, register: bool) -> dict[str, Path]:
    if (folder / DEPTH_CALIBRATION).is_file() and not register:
        return {}
    return {path.stem: path for path in list_images(folder / "depth")}


FORMAT = SourceFormat(
    name="image folder",
    looks_for="images/ (or images in the folder itself) with K.txt",
    matches=matches,
    open=open_folder,
    options=("calibration", "fps", "register_depth"),
    is_plain=True,
    has_own_calibration_file=True,
)
