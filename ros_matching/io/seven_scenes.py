"""7-Scenes (Shotton et al., CVPR 2013): a folder of ``frame-000000.color.png`` and ``.pose.txt`` a sequence.

Its colour camera was never calibrated: without a calibration file the focal length is 525 px, the usual choice. The
depth maps are not registered to the colour images and are left out; the poses (KinectFusion) are those of the depth
camera, some centimetres beside.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from ros_matching.errors import SourceError
from ros_matching.io.calibration import Calibration, CalibrationChoice
from ros_matching.io.faults import FrameFault
from ros_matching.io.folder import CALIBRATION_NAMES, DEFAULT_FPS, find_calibration
from ros_matching.io.format import SourceFormat, stamps_at_rate
from ros_matching.io.images import list_images
from ros_matching.io.poses import read_pose
from ros_matching.io.sequence import ImageRecord, ImageSequence

_PATTERN = "frame-*.color.*"
_CALIBRATION = Calibration("the usual calibration of 7-Scenes", 525.0, 525.0, 320.0, 240.0, image_size=(640, 480))


def matches(path: Path) -> bool:
    """Whether the path is a folder with ``frame-*.color.png``."""
    return next(iter(list_images(path, _PATTERN)), None) is not None


def open_seven_scenes(path: Path, *, calibration: Path | CalibrationChoice | None = None) -> ImageSequence:
    """Open a sequence; a frame without a good ``.pose.txt`` while others have one is incomplete (``faults``)."""
    path = path.resolve()
    images = list_images(path, _PATTERN)
    poses, faults = _poses(images)
    stamps_ns = stamps_at_rate(len(images), DEFAULT_FPS, str(path))
    records = [ImageRecord(index, *fields) for index, fields in enumerate(zip(stamps_ns, images, poses, strict=True))]
    known = _CALIBRATION
    if calibration is not None or any((path / name).is_file() for name in CALIBRATION_NAMES):
        known = find_calibration(path, calibration)
    return ImageSequence(f"{path.parent.name}_{path.name}", records, known, faults=faults)


def _poses(images: list[Path]) -> tuple[list[np.ndarray | None], list[FrameFault]]:
    paths = [image.with_name(f"{image.name.split('.')[0]}.pose.txt") for image in images]
    poses: list[np.ndarray | None] = [None] * len(paths)
    faults: list[FrameFault] = []
    if not any(path.is_file() for path in paths):
        return poses, faults
    for index, path in enumerate(paths):
        poses[index], fault = _pose_or_fault(index, path)
        faults += [fault] if fault is not None else []
    return poses, faults


def _pose_or_fault(index: int, path: Path) -> tuple[np.ndarray | None, FrameFault | None]:
    try:
        return read_pose(path), None
    except SourceError as error:
        return None, FrameFault(index, str(error), skipped=False)


FORMAT = SourceFormat(
    name="7-Scenes",
    looks_for="frame-000000.color.png",
    matches=matches,
    open=open_seven_scenes,
    has_own_calibration_file=True,
)
