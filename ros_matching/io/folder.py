"""A folder of images: ``images/`` (or the images themselves), ``K.txt``, and what else is known.

``poses.txt`` holds one camera-to-world 4x4 a line, row-major (NaN: unknown), ``times.txt`` a stamp in seconds a line;
without it frames come at ``fps`` from 1 s on. ``depth/`` holds 16-bit PNG in millimetres by the names of the images,
registered to them; a ``K_depth.txt`` says that they are of a camera of their own, and they are left out, unless
``register_depth`` is asked for: then that camera is taken to sit where the colour camera does and to look the same way,
with images of the same size, and the depth is brought into the image.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from ros_matching.errors import CalibrationError, SourceError
from ros_matching.io.calibration import Calibration, read_calibration
from ros_matching.io.format import SourceFormat, stamps_at_rate
from ros_matching.io.images import list_images
from ros_matching.io.poses import pose_or_none, read_matrices
from ros_matching.io.sequence import ImageRecord, ImageSequence
from ros_matching.io.text import read_table

DEFAULT_FPS = 30.0
DEPTH_CALIBRATION = "K_depth.txt"
CALIBRATION_NAMES = ("K.txt", "calibration.yaml", "camera.yaml", "ost.yaml", "sensor.yaml")


def matches(path: Path) -> bool:
    """Whether the path is a folder with images in it or in ``images/``."""
    return path.is_dir() and bool(list_images(path / "images") or list_images(path))


def open_folder(
    path: Path, *, calibration: Path | None = None, fps: float | None = None, register_depth: bool = False
) -> ImageSequence:
    """Open a folder of images; raises ``SourceError`` when its files do not fit each other."""
    images = list_images(path / "images") or list_images(path)
    if not images:
        raise SourceError(f"{path} holds no images, neither itself nor in images/")
    stamps_ns = _stamps(path, len(images), fps)
    poses = _poses(path, len(images))
    depth_calibration = read_calibration(path / DEPTH_CALIBRATION) if register_depth else None
    depths = _depths(path, register_depth)
    records = [
        ImageRecord(index, stamp_ns, image, pose, depths.get(image.stem))
        for index, (stamp_ns, image, pose) in enumerate(zip(stamps_ns, images, poses, strict=True))
    ]
    return ImageSequence(
        path.resolve().name, records, find_calibration(path, calibration), depth_calibration=depth_calibration
    )


def find_calibration(folder: Path, given: Path | None, names: tuple[str, ...] = CALIBRATION_NAMES) -> Calibration:
    """The given calibration, or the first of ``names`` in the folder; raises ``CalibrationError`` without one."""
    if given is not None:
        return read_calibration(given)
    for name in names:
        if (folder / name).is_file():
            return read_calibration(folder / name)
    raise CalibrationError(f"no calibration in {folder}: expected one of {', '.join(names)}, or give calibration=PATH")


def _stamps(folder: Path, count: int, fps: float | None) -> list[int]:
    path = folder / "times.txt"
    if fps is not None or not path.is_file():
        return stamps_at_rate(count, DEFAULT_FPS if fps is None else fps, str(folder))
    return read_times(path, count)


def read_times(path: Path, count: int) -> list[int]:
    """The stamps (ns) of a file with one in seconds a line, which must be ``count`` and increase."""
    table = read_table(path, 1, "a stamp in seconds")
    stamps_ns = table.stamps_ns()
    if len(stamps_ns) != count:
        raise SourceError(f"{path} holds {len(stamps_ns)} stamps for {count} images")
    backward = np.flatnonzero(np.diff(stamps_ns) <= 0)
    if backward.size:
        raise SourceError(f"{table.where(int(backward[0]) + 1)}: expected stamps that increase")
    return stamps_ns.tolist()


def _poses(folder: Path, count: int) -> list[np.ndarray | None]:
    path = folder / "poses.txt"
    if not path.is_file():
        return [None] * count
    poses = read_matrices(path, 16)
    if len(poses) != count:
        raise SourceError(f"{path} holds {len(poses)} poses for {count} images; it needs one line an image")
    return [pose_or_none(pose) for pose in poses]


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
)
