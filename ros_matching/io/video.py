"""A video file with its calibration beside it: for ``clip.mp4`` it is ``clip.yaml``, ``clip.K.txt`` or ``K.txt``."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence
from contextlib import closing
from pathlib import Path

import cv2

from ros_matching.datatypes import Camera, Frame
from ros_matching.errors import SourceError
from ros_matching.geometry.camera import Undistorter
from ros_matching.io.calibration import CalibrationChoice, UsedCalibration
from ros_matching.io.faults import FrameFault
from ros_matching.io.folder import CALIBRATION_NAMES, find_calibration
from ros_matching.io.format import SourceFormat, stamps_at_rate
from ros_matching.io.read_ahead import read_ahead

SUFFIXES = (".mp4", ".m4v", ".mov", ".avi", ".mkv", ".webm", ".mpg", ".mpeg", ".mjpeg", ".ts")
# Containers round their frame count; what is missing beyond that was cut off.
_COUNT_TOLERANCE = 0.02


def matches(path: Path) -> bool:
    """Whether the path is a file with the suffix of a video."""
    return path.is_file() and path.suffix.lower() in SUFFIXES


def open_video(
    path: Path, *, calibration: Path | CalibrationChoice | None = None, fps: float | None = None
) -> VideoSource:
    """Open a video; ``fps`` replaces the rate that the file states. Stamps start at 1 s, evenly spaced."""
    names = (f"{path.stem}.yaml", f"{path.stem}.yml", f"{path.stem}.K.txt", *CALIBRATION_NAMES)
    known = find_calibration(path.parent, calibration, names)
    capture = _capture(path)
    try:
        count = int(capture.get(cv2.CAP_PROP_FRAME_COUNT))
        rate_hz = capture.get(cv2.CAP_PROP_FPS) if fps is None else fps
        found, first = capture.read()
    finally:
        capture.release()
    if not found or count < 1:
        raise SourceError(f"{path} holds no frame that can be decoded; is the file cut off?")
    camera = known.camera(first.shape[1], first.shape[0])
    return VideoSource(path, Undistorter(camera), known.origin, stamps_at_rate(count, rate_hz, str(path)))


class VideoSource:
    """The ``FrameSource`` of a video file. Frames that are not selected are decoded, but not converted."""

    def __init__(self, path: Path, undistorter: Undistorter, calibration_origin: str, stamps_ns: list[int]) -> None:
        self._path = path
        self._undistorter = undistorter
        self._calibration_origin = calibration_origin
        self._stamps_ns = stamps_ns
        self._rows = range(len(stamps_ns))

    @property
    def name(self) -> str:
        """The name of the file."""
        return self._path.stem

    @property
    def camera(self) -> Camera:
        """The pinhole camera of the delivered images."""
        return self._undistorter.camera

    @property
    def faults(self) -> Sequence[FrameFault]:
        """None so far: a faulty frame ends the iteration with an error."""
        return ()

    @property
    def calibration(self) -> UsedCalibration:
        """The calibration of the images as they are stored."""
        return UsedCalibration(self._calibration_origin, self._undistorter.source)

    def __len__(self) -> int:
        """The number of frames, by what the container states."""
        return len(self._rows)

    def __iter__(self) -> Iterator[Frame]:
        capture = _capture(self._path)
        try:
            with closing(read_ahead(lambda row: self._load(capture, *row), self._skips())) as frames:
                for frame in frames:
                    if frame is None:
                        return
                    yield frame
        finally:
            capture.release()

    def select(self, rows: range) -> VideoSource:
        """The same video, reduced to some of its frames, which keep their index."""
        selected = copy.copy(self)
        selected._rows = self._rows[rows.start : rows.stop : rows.step]
        return selected

    def _skips(self) -> Iterator[tuple[int, int]]:
        """The selected frames, and how many lie between each and the one before."""
        following = 0
        for index in self._rows:
            yield index, index - following
            following = index + 1

    def _load(self, capture: cv2.VideoCapture, index: int, skip: int) -> Frame | None:
        """The next frame after skipping some, or ``None`` at the end."""
        for _ in range(skip):
            capture.grab()
        found, image = capture.read()
        if not found:
            self._check_end(index)
            return None
        rgb = cv2.cvtColor(image, cv2.COLOR_BGR2RGB)
        return Frame(index, self._stamps_ns[index], self._undistorter.undistort(rgb), self.camera)

    def _check_end(self, index: int) -> None:
        count = len(self._stamps_ns)
        if count - index > max(2, _COUNT_TOLERANCE * count):
            raise SourceError(f"{self._path} ends after {index} frames, but states {count}; the file is cut off")


def _capture(path: Path) -> cv2.VideoCapture:
    if not path.is_file():
        raise SourceError(f"there is no video {path}")
    capture = cv2.VideoCapture(str(path))
    if not capture.isOpened():
        raise SourceError(f"{path} cannot be opened as a video; is it cut off, or of a codec that OpenCV lacks?")
    return capture


FORMAT = SourceFormat(
    name="video",
    looks_for=", ".join(SUFFIXES),
    matches=matches,
    open=open_video,
    options=("calibration", "fps"),
    has_own_calibration_file=True,
)
