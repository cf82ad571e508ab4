"""Folders of Stray Scanner, an app for phones with a depth sensor: ``rgb.mp4`` with ``odometry.csv`` and more.

``odometry.csv`` contains the stamp and the pose of each frame, with our camera axes. Depth (``depth/N.png``) is in
millimetres, of the whole view in fewer pixels; pixels of the lowest confidence (``confidence/N.png``) are unknown.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from ros_matching.datatypes import Camera, Frame
from ros_matching.errors import SourceError
from ros_matching.io.calibration import CalibrationChoice, UsedCalibration
from ros_matching.io.depth_images import register_depth
from ros_matching.io.faults import FrameFault, Loaded, deliver
from ros_matching.io.images import image_file_size, list_images, number_of_name, read_depth, read_image
from ros_matching.io.poses import poses_from_quaternions
from ros_matching.io.source_format import SourceFormat
from ros_matching.io.text import read_table
from ros_matching.io.video import VideoSource, open_video

_UNITS_PER_METRE = 1000.0
_MIN_CONFIDENCE = 1  # of 0, 1 and 2


def matches(path: Path) -> bool:
    """Return True for a folder with ``rgb.mp4`` and ``odometry.csv``."""
    return (path / "rgb.mp4").is_file() and (path / "odometry.csv").is_file()


def open_stray(path: Path, *, calibration: Path | CalibrationChoice | None = None) -> StraySource:
    """Open a folder with a video, ``camera_matrix.csv`` and ``odometry.csv``."""
    path = path.resolve()
    choice = CalibrationChoice(path / "camera_matrix.csv") if calibration is None else calibration
    if isinstance(choice, CalibrationChoice) and choice.path is None:
        choice = replace(choice, path=path / "camera_matrix.csv")
    video = open_video(path / "rgb.mp4", calibration=choice)
    return StraySource(path, video, _read_odometry(path / "odometry.csv"))


@dataclass(frozen=True)
class _Odometry:
    """The stamps (ns, none in old files) and the poses of frames by their numbers."""

    stamps_ns: Mapping[int, int]
    poses: Mapping[int, np.ndarray]


def _read_odometry(path: Path) -> _Odometry:
    """Lines of ``timestamp, frame, x, y, z, qx, qy, qz, qw, ...``; old files have the last seven alone."""
    table = read_table(path, 7, "timestamp, frame, x, y, z, qx, qy, qz, qw", separator=",", has_names=True)
    if all(len(row) == 7 for row in table.rows):
        poses = poses_from_quaternions(table.numbers(), table.where)
        return _Odometry({}, dict(enumerate(poses)))
    if any(len(row) < 9 for row in table.rows):
        raise SourceError(f"{path}: expected timestamp, frame, x, y, z, qx, qy, qz, qw in each line; is it cut off?")
    numbers = table.integers(column=1).tolist()
    poses = poses_from_quaternions(table.numbers(first=2, last=9), table.where)
    return _Odometry(
        dict(zip(numbers, table.stamps_ns().tolist(), strict=True)), dict(zip(numbers, poses, strict=True))
    )


class StraySource:
    """The ``FrameSource`` of a Stray Scanner folder: a video with depth and poses from its other files."""

    def __init__(self, folder: Path, video: VideoSource, odometry: _Odometry) -> None:
        self._folder, self._video, self._odometry = folder, video, odometry
        self._depths = {number_of_name(file): file for file in list_images(folder / "depth")}
        self._depth_faults: list[FrameFault] = []

    @property
    def name(self) -> str:
        """The name of the folder."""
        return self._folder.name

    @property
    def camera(self) -> Camera:
        """The pinhole camera of the delivered images."""
        return self._video.camera

    @property
    def calibration(self) -> UsedCalibration:
        """The calibration of the images as they are stored, and the unit of the depth images."""
        units = _UNITS_PER_METRE if self._depths else None
        return replace(self._video.calibration, depth_units_per_metre=units)

    @property
    def faults(self) -> Sequence[FrameFault]:
        """The faulty frames of the newest iteration."""
        return [*self._video.faults, *self._depth_faults]

    def __len__(self) -> int:
        return len(self._video)

    def __iter__(self) -> Iterator[Frame]:
        self._depth_faults = []
        return deliver(map(self._completed, self._video), self._depth_faults, self.name)

    def select(self, rows: range) -> StraySource:
        """The same recording, reduced to some of its frames, which keep their index."""
        selected = copy.copy(self)
        selected._video, selected._depth_faults = self._video.select(rows), []
        return selected

    def _completed(self, frame: Frame) -> Loaded:
        """The frame with its stamp, pose and depth."""
        stamp_ns = self._odometry.stamps_ns.get(frame.index)
        if self._odometry.stamps_ns and stamp_ns is None:
            reason = f"frame {frame.index} of the video has no line in odometry.csv"
            return Loaded(None, (FrameFault(frame.index, reason),))
        depth, faults = None, ()
        try:
            depth = self._depth(frame.index)
        except SourceError as error:
            faults = (FrameFault(frame.index, str(error), skipped=False),)
        frame = replace(
            frame,
            stamp_ns=frame.stamp_ns if stamp_ns is None else stamp_ns,
            true_world_from_camera=self._odometry.poses.get(frame.index),
            depth=depth,
        )
        return Loaded(frame, faults)

    def _depth(self, number: int) -> np.ndarray | None:
        file = self._depths.get(number)
        if file is None:
            return None
        width, height = image_file_size(file)
        if width > self.camera.width or height > self.camera.height:
            raise SourceError(f"{file} is {width}x{height}, larger than the images")
        depth = read_depth(file, _UNITS_PER_METRE, width, height)
        confidence = self._folder / "confidence" / file.name
        if confidence.is_file():
            values = read_image(confidence)[..., 0]
            if values.shape != depth.shape:
                raise SourceError(f"{confidence} is of another size than {file}")
            depth[values < _MIN_CONFIDENCE] = np.nan
        return register_depth(depth, self.camera.scaled(width, height), self.camera)


FORMAT = SourceFormat(
    name="Stray Scanner",
    looks_for="rgb.mp4 with odometry.csv and camera_matrix.csv",
    matches=matches,
    open=open_stray,
    has_own_calibration_file=True,
)
