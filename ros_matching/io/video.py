"""A video file with its calibration next to it: for ``clip.mp4`` it is ``clip.yaml``, ``clip.K.txt`` or ``K.txt``.

Frames have the stamps of the container, counted from 1 s at the first one, so a variable frame rate is kept; ``fps``
replaces them by evenly spaced ones. Images are rotated according to the metadata. Damaged frames are skipped and
reported as faults, as is the end of a file that was cut off.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

from ros_matching.datatypes import Frame
from ros_matching.errors import SourceError
from ros_matching.geometry.distortion import Undistorter
from ros_matching.io.calibration import CalibrationChoice
from ros_matching.io.faults import FrameFault, Loaded
from ros_matching.io.folder import CALIBRATION_NAMES, find_calibration
from ros_matching.io.source import StreamedSource, read_ahead
from ros_matching.io.source_format import FIRST_STAMP_NS, SourceFormat, stamps_at_rate
from ros_matching.io.video_reader import VideoReader, count_packets

_CONTAINERS = (".mp4", ".m4v", ".mov", ".3gp", ".avi", ".mkv", ".webm", ".mpg", ".mpeg", ".ts", ".mts", ".m2ts")
_CONTAINERS += (".flv", ".wmv", ".ogv", ".gif")
_STREAMS = (".mjpeg", ".h264", ".264", ".h265", ".265", ".hevc", ".y4m")
SUFFIXES = (*_CONTAINERS, *_STREAMS)
# Containers state a few frames more or less than they hold; more missing frames were cut off.
_COUNT_TOLERANCE = 0.02


def matches(path: Path) -> bool:
    """Return True if the path is a file with the suffix of a video."""
    return path.is_file() and path.suffix.lower() in SUFFIXES


def open_video(
    path: Path, *, calibration: Path | CalibrationChoice | None = None, fps: float | None = None
) -> VideoSource:
    """Open a video; ``fps`` replaces the stamps of the file by evenly spaced ones from 1 s."""
    names = (f"{path.stem}.yaml", f"{path.stem}.yml", f"{path.stem}.K.txt", *CALIBRATION_NAMES)
    known = find_calibration(path.parent, calibration, names)
    if fps is not None:
        stamps_at_rate(0, fps, str(path))
    with closing(VideoReader(path)) as reader:
        size, failure = None, ""
        while size is None and (entry := reader.next()) is not None:
            image, reason = entry.image()
            size, failure = None if image is None else image.shape[:2], failure or reason
        if size is None:
            raise SourceError(
                f"{path} holds no frame that can be decoded; {failure or reader.problem or 'it is empty'}"
            )
        count = reader.stated_count or count_packets(path)
    return VideoSource(path, Undistorter(known.camera(size[1], size[0])), known.origin, count, fps)


class VideoSource(StreamedSource):
    """The ``FrameSource`` of a video file. Frames that are not selected are not converted to images.

    Its count is that of the container, or else that of its packets.
    """

    def __init__(
        self, path: Path, undistorter: Undistorter, calibration_origin: str, count: int, fps: float | None = None
    ) -> None:
        super().__init__(path.stem, str(path), undistorter, calibration_origin, count)
        self._path = path
        self._fps = fps

    def _loaded(self) -> Iterator[Loaded]:
        with (
            closing(VideoReader(self._path, self._rows.start)) as reader,
            closing(read_ahead(lambda row: self._load(reader, row), self._wanted())) as items,
        ):
            for loaded in items:
                if loaded is None:
                    break
                yield loaded
            else:
                return
        if problem := self._missing_end(reader):
            reason = f"{self._path} ends after {reader.count} frames, cut off or damaged: {problem}"
            yield Loaded(None, (FrameFault(reader.count, reason),))

    def _missing_end(self, reader: VideoReader) -> str:
        """Return a sentence on frames that the file states beyond its end; empty if it is complete."""
        if reader.problem:
            return reader.problem
        if self._count - reader.count > max(2, _COUNT_TOLERANCE * self._count):
            return f"it states {self._count} frames"
        if reader.stated_s - reader.reached_s > max(1.0, _COUNT_TOLERANCE * reader.stated_s):
            return f"it states {reader.stated_s:.1f} s and has {reader.reached_s:.1f} s"
        return ""

    def _wanted(self) -> Iterator[int]:
        """The selected rows; where they go to the end, also those beyond the number that the container states."""
        yield from self._rows
        if self._rows and self._rows[-1] + self._rows.step >= self._count:
            yield from itertools.count(self._rows[-1] + self._rows.step, self._rows.step)

    def _load(self, reader: VideoReader, row: int) -> Loaded | None:
        """The frame of a row, skipping those before it; ``None`` at the end."""
        while (entry := reader.next()) is not None and entry.index < row:
            pass
        if entry is None:
            return None
        image, problem = entry.image()
        try:
            if image is None:
                raise SourceError(problem)
            source = self._undistorter.source
            if image.shape[:2] != (source.height, source.width):
                raise SourceError(
                    f"it is {image.shape[1]}x{image.shape[0]}, but the video began with {source.width}x{source.height}"
                )
            stamp_ns = entry.stamp_ns
            if self._fps is not None:
                stamp_ns = FIRST_STAMP_NS + round(row * 1e9 / self._fps)
            return Loaded(Frame(row, stamp_ns, self._undistorter.undistort(image), self.camera))
        except SourceError as error:
            return Loaded(None, (FrameFault(row, f"frame {row} of {self._path}: {error}"),))


FORMAT = SourceFormat(
    name="video",
    looks_for=", ".join(SUFFIXES),
    matches=matches,
    open=open_video,
    options=("calibration", "fps"),
    has_own_calibration_file=True,
)
