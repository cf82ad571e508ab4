"""TUM RGB-D (Sturm et al., IROS 2012): ``rgb.txt``, ``depth.txt`` and ``groundtruth.txt``, each with its own stamps.

An image takes the depth map nearest in time and the truth interpolated to its stamp. Depth is registered to the colour
camera, 5000 units a metre. The benchmark keeps its calibration on its web page: it is known here by the camera's name
(freiburg1 to 3) in the path, and taken from ``K.txt`` or another calibration file in the folder when there is one.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from ros_matching.datatypes import DistortionModel
from ros_matching.errors import CalibrationError
from ros_matching.io.calibration import Calibration, CalibrationChoice
from ros_matching.io.folder import CALIBRATION_NAMES, find_calibration
from ros_matching.io.format import SourceFormat
from ros_matching.io.listing import Listing, read_listing
from ros_matching.io.poses import pose_or_none
from ros_matching.io.sequence import ImageRecord, ImageSequence
from ros_matching.io.trajectory import read_tum

DEPTH_UNITS_PER_METRE = 5000
MAX_DIFFERENCE_NS = 20_000_000  # as in the benchmark's associate.py

# fx fy cx cy, then k1 k2 p1 p2 k3; freiburg3 is delivered undistorted.
_KNOWN = {
    "freiburg1": ((517.3, 516.5, 318.6, 255.3), (0.2624, -0.9531, -0.0054, 0.0026, 1.1633)),
    "freiburg2": ((520.9, 521.0, 325.1, 249.7), (0.2312, -0.7849, -0.0033, -0.0001, 0.9172)),
    "freiburg3": ((535.4, 539.2, 320.1, 247.6), ()),
}


def matches(path: Path) -> bool:
    """Whether the path is a folder with ``rgb.txt``."""
    return (path / "rgb.txt").is_file()


def open_tum(path: Path, *, calibration: Path | CalibrationChoice | None = None) -> ImageSequence:
    """Open a sequence; images without a depth map or truth close enough in time come without it."""
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
        if name in folder.name.lower():
            model = DistortionModel.PLUMB_BOB if distortion else DistortionModel.NONE
            return Calibration(f"the known calibration of {name}", *intrinsics, model, distortion, (640, 480))
    raise CalibrationError(
        f"no calibration for {folder}: expected {', '.join(_KNOWN)} in its name, one of "
        f"{', '.join(CALIBRATION_NAMES)} in it, or give calibration=PATH"
    )


FORMAT = SourceFormat(
    name="TUM RGB-D", looks_for="rgb.txt", matches=matches, open=open_tum, has_own_calibration_file=True
)
