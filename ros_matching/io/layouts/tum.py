"""Data sets of TUM: RGB-D and monoVO.

TUM RGB-D (Sturm et al., IROS 2012): ``rgb.txt``, ``depth.txt`` and ``groundtruth.txt``, each with its own stamps.

An image takes the depth map nearest in time and the ground truth interpolated to its stamp. Depth is registered to the
colour camera, 5000 units a metre. The benchmark keeps its calibration on its web page: it is known here by the camera's
name (freiburg1 to 3, or fr1 to fr3) in the name of the folder, and taken from ``K.txt`` or another calibration file in
the folder when there is one.


TUM monoVO (Engel et al., 2016) and other input of DSO: ``images.zip`` or ``images/``, ``times.txt``, ``camera.txt``.

``times.txt`` holds an id, a stamp in seconds and perhaps the exposure of each image; ``camera.txt`` DSO's calibration.
``groundtruthSync.txt`` is ``stamp tx ty tz qx qy qz qw`` with NaN where the motion capture did not see the camera: at
the start and the end alone, which suffices to measure drift. The photometric calibration
(``pcalib.txt``, ``vignette.png``) is not applied.
"""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np

from ros_matching.datatypes import DistortionModel
from ros_matching.errors import CalibrationError, SourceError
from ros_matching.io.calibration import Calibration, CalibrationChoice, read_calibration
from ros_matching.io.folder import CALIBRATION_NAMES, find_calibration
from ros_matching.io.images import ArchivedFile, list_archived_images, list_images
from ros_matching.io.listing import Listing, read_listing
from ros_matching.io.poses import pose_or_none, poses_from_quaternions
from ros_matching.io.sequence import ImageRecord, ImageSequence
from ros_matching.io.source_format import SourceFormat
from ros_matching.io.text import TextTable, read_table
from ros_matching.io.trajectory import Trajectory, read_tum

DEPTH_UNITS_PER_METRE = 5000
MAX_DIFFERENCE_NS = 20_000_000  # as in the benchmark's associate.py

# fx fy cx cy, then k1 k2 p1 p2 k3; freiburg3 is delivered undistorted.
_KNOWN = {
    "freiburg1": ((517.3, 516.5, 318.6, 255.3), (0.2624, -0.9531, -0.0054, 0.0026, 1.1633)),
    "freiburg2": ((520.9, 521.0, 325.1, 249.7), (0.2312, -0.7849, -0.0033, -0.0001, 0.9172)),
    "freiburg3": ((535.4, 539.2, 320.1, 247.6), ()),
}


def matches_rgbd(path: Path) -> bool:
    """Return True for a folder with ``rgb.txt``."""
    return (path / "rgb.txt").is_file()


def open_tum(path: Path, *, calibration: Path | CalibrationChoice | None = None) -> ImageSequence:
    """Open a sequence; images without a depth map or ground truth close in time come without it."""
    path = path.resolve()
    listing = read_listing(path / "rgb.txt")
    stamps_ns, order = _in_order(listing)
    poses = np.full((len(order), 4, 4), np.nan)
    if (path / "groundtruth.txt").is_file():
        poses = read_tum(path / "groundtruth.txt").at(stamps_ns)
    depths = _nearest_depths(path, stamps_ns)
    records = [
        ImageRecord(listing.indices[row], int(stamp_ns), path / listing.names[row], pose_or_none(pose), depth)
        for row, stamp_ns, pose, depth in zip(order, stamps_ns, poses, depths, strict=True)
    ]
    return ImageSequence(
        path.name,
        records,
        _calibration(path, calibration),
        depth_units_per_metre=DEPTH_UNITS_PER_METRE,
        faults=listing.faults,
    )


def _in_order(listing: Listing) -> tuple[np.ndarray, np.ndarray]:
    """The stamps (N,) of a list, in order of time, and the rows that they were in."""
    stamps_ns = np.array(listing.stamps_ns, dtype=np.int64)
    order = np.argsort(stamps_ns, kind="stable")
    return stamps_ns[order], order


def _nearest_depths(folder: Path, stamps_ns: np.ndarray) -> list[Path | None]:
    if not (folder / "depth.txt").is_file():
        return [None] * len(stamps_ns)
    listing = read_listing(folder / "depth.txt")
    depth_stamps_ns, order = _in_order(listing)
    depths = [folder / listing.names[row] for row in order]
    after = np.searchsorted(depth_stamps_ns, stamps_ns).clip(1, max(1, len(depths) - 1))
    candidates = np.stack([after - 1, np.minimum(after, len(depths) - 1)])
    differences = np.abs(depth_stamps_ns[candidates] - stamps_ns)
    columns = np.arange(len(stamps_ns))
    nearest = candidates[differences.argmin(axis=0), columns]
    close = differences.min(axis=0) <= MAX_DIFFERENCE_NS
    return [depths[row] if near else None for row, near in zip(nearest, close, strict=True)]


def _calibration(folder: Path, given: Path | CalibrationChoice | None) -> Calibration:
    is_given = given is not None and not (isinstance(given, CalibrationChoice) and given.path is None)
    if is_given or any((folder / name).is_file() for name in CALIBRATION_NAMES):
        return find_calibration(folder, given)
    for name, (intrinsics, distortion) in _KNOWN.items():
        if re.search(rf"{name}|(?<![a-z0-9])fr{name[-1]}(?![a-z0-9])", folder.name.lower()):
            model = DistortionModel.PLUMB_BOB if distortion else DistortionModel.NONE
            return Calibration(f"the known calibration of {name}", *intrinsics, model, distortion, (640, 480))
    raise CalibrationError(
        f"no calibration for {folder}: expected {', '.join(_KNOWN)} in its name, one of "
        f"{', '.join(CALIBRATION_NAMES)} in it, or give calibration=PATH"
    )


TUM_RGBD = SourceFormat(
    name="TUM RGB-D", looks_for="rgb.txt", matches=matches_rgbd, open=open_tum, has_own_calibration_file=True
)


GROUND_TRUTHS = ("groundtruthSync.txt", "groundtruth.txt")


def matches_mono_vo(path: Path) -> bool:
    """Return True for a folder with ``camera.txt``, ``times.txt`` and images."""
    has_images = (path / "images.zip").is_file() or (path / "images").is_dir()
    return has_images and (path / "camera.txt").is_file() and (path / "times.txt").is_file()


def open_mono_vo(path: Path, *, calibration: Path | CalibrationChoice | None = None) -> ImageSequence:
    """Open a sequence; images in ``images/`` go before those in ``images.zip``, which is not unpacked."""
    path = path.resolve()
    images: list[Path] | list[ArchivedFile] = list_images(path / "images")
    if not images and (path / "images.zip").is_file():
        images = list_archived_images(path / "images.zip") or list_archived_images(path / "images.zip", "images")
    if not images:
        raise SourceError(f"{path} holds no images, neither in images/ nor in images.zip")
    times = read_table(path / "times.txt", 2, "an id, a stamp in seconds and the exposure", is_ragged=True)
    stamps_ns = times.stamps_ns(column=1)
    rows = _rows(times, [image.stem for image in images])
    poses = _poses(path, stamps_ns)
    records = [
        ImageRecord(index, int(stamps_ns[row]), image, pose_or_none(poses[row]))
        for index, (image, row) in enumerate(zip(images, rows, strict=True))
    ]
    choice = CalibrationChoice() if calibration is None else calibration
    if isinstance(choice, CalibrationChoice) and choice.path is None:
        choice = CalibrationChoice(path / "camera.txt", choice.cam, choice.off_center)
    return ImageSequence(path.name, records, read_calibration(choice))


def _rows(times: TextTable, stems: list[str]) -> list[int]:
    """The line of ``times.txt`` of each image: that of its name, or in order where names and ids differ."""
    by_id = {cells[0]: row for row, cells in enumerate(times.rows)}
    if all(stem in by_id for stem in stems):
        return [by_id[stem] for stem in stems]
    if len(times) == len(stems):
        return list(range(len(stems)))
    raise SourceError(
        f"{times.path} holds {len(times)} lines for {len(stems)} images, and their names ({stems[0]}, ...) are not its "
        f"ids ({times.rows[0][0]}, ...)"
    )


def _poses(folder: Path, stamps_ns: np.ndarray) -> np.ndarray:
    """The true poses (N, 4, 4) at stamps, NaN where unknown."""
    path = next((folder / name for name in GROUND_TRUTHS if (folder / name).is_file()), None)
    if path is None:
        return np.full((len(stamps_ns), 4, 4), np.nan)
    table = read_table(path, 8, "a pose: stamp tx ty tz qx qy qz qw")
    values = table.numbers(first=1)
    known = np.flatnonzero(np.isfinite(values).all(axis=1))
    poses = poses_from_quaternions(values[known], lambda row: table.where(int(known[row])))
    return Trajectory(table.stamps_ns()[known], poses).in_order_of(path).at(stamps_ns)


MONO_VO = SourceFormat(
    name="TUM monoVO",
    looks_for="images.zip or images/ with times.txt and DSO's camera.txt",
    matches=matches_mono_vo,
    open=open_mono_vo,
    has_own_calibration_file=True,
)
