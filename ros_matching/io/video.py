"""A video file with its calibration beside it: for ``clip.mp4`` it is ``clip.yaml``, ``clip.K.txt`` or ``K.txt``.

Frames have the stamps of the container, counted from 1 s at the first one, so a variable frame rate is kept; ``fps``
replaces them by evenly spaced ones. Images are turned as the metadata ask for. Damaged frames are skipped and reported
as faults, as is the end of a file that was cut off.
"""

from __future__ import annotations

import copy
import heapq
import itertools
import logging
import re
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ros_matching.datatypes import Camera, Frame
from ros_matching.errors import SourceError
from ros_matching.geometry.camera import Undistorter
from ros_matching.io.calibration import CalibrationChoice, UsedCalibration
from ros_matching.io.faults import FrameFault, Loaded, deliver
from ros_matching.io.folder import CALIBRATION_NAMES, find_calibration
from ros_matching.io.format import FIRST_STAMP_NS, SourceFormat, foreign_content, stamps_at_rate
from ros_matching.io.packets import MAX_PIXELS, PacketDecoder, import_av, rgb_of
from ros_matching.io.read_ahead import read_ahead

if TYPE_CHECKING:
    import av

_CONTAINERS = (".mp4", ".m4v", ".mov", ".3gp", ".avi", ".mkv", ".webm", ".mpg", ".mpeg", ".ts", ".mts", ".m2ts")
_CONTAINERS += (".flv", ".wmv", ".ogv", ".gif")
_STREAMS = (".mjpeg", ".h264", ".264", ".h265", ".265", ".hevc", ".y4m")
SUFFIXES = (*_CONTAINERS, *_STREAMS)
# Containers state a few frames more or less than they hold; what is missing beyond that was cut off.
_COUNT_TOLERANCE = 0.02
_DEFAULT_RATE_HZ = Fraction(30)
_MAX_FAILURES = 10  # packets in succession that cannot be read
_MAX_DURATION_S = 10**8
_THREADS = 4
_UNKNOWN_ORDER, _PROGRESSIVE = 0, 1  # of FFmpeg's AVFieldOrder
_log = logging.getLogger(__name__)


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
    with closing(_Reader(path)) as reader:
        size, failure = None, ""
        while size is None and (entry := reader.next()) is not None:
            image, reason = entry.image()
            size, failure = None if image is None else image.shape[:2], failure or reason
        if size is None:
            raise SourceError(
                f"{path} holds no frame that can be decoded; {failure or reader.problem or 'it is empty'}"
            )
        count = reader.stated_count or _count_packets(path)
    return VideoSource(path, Undistorter(known.camera(size[1], size[0])), known.origin, count, fps)


class VideoSource:
    """The ``FrameSource`` of a video file. Frames that are not selected are decoded, but not converted.

    ``faults`` lists what the latest iteration left out.
    """

    def __init__(
        self, path: Path, undistorter: Undistorter, calibration_origin: str, count: int, fps: float | None = None
    ) -> None:
        self._path = path
        self._undistorter = undistorter
        self._calibration_origin = calibration_origin
        self._count = count
        self._fps = fps
        self._rows = range(count)
        self.faults: list[FrameFault] = []

    @property
    def name(self) -> str:
        """The name of the file."""
        return self._path.stem

    @property
    def camera(self) -> Camera:
        """The pinhole camera of the delivered images."""
        return self._undistorter.camera

    @property
    def calibration(self) -> UsedCalibration:
        """The calibration of the images as they are stored."""
        return UsedCalibration(self._calibration_origin, self._undistorter.source)

    def __len__(self) -> int:
        """The number of frames that the container states, or of its packets where it states none."""
        return len(self._rows)

    def __iter__(self) -> Iterator[Frame]:
        self.faults = []
        return deliver(self._loaded(), self.faults, str(self._path))

    def select(self, rows: range) -> VideoSource:
        """The same video, reduced to some of its frames, which keep their index."""
        selected = copy.copy(self)
        selected._rows = self._rows[rows.start : rows.stop : rows.step]
        selected.faults = []
        return selected

    def _loaded(self) -> Iterator[Loaded]:
        with (
            closing(_Reader(self._path)) as reader,
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

    def _missing_end(self, reader: _Reader) -> str:
        """What the file states beyond the end that was reached; empty where it is whole."""
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

    def _load(self, reader: _Reader, row: int) -> Loaded | None:
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


@dataclass(frozen=True)
class _Entry:
    """One frame of a video in order of time, or the ``reason`` why it cannot be used."""

    index: int
    stamp_ns: int
    frame: av.VideoFrame | None
    reason: str

    def image(self) -> tuple[np.ndarray | None, str]:
        """The image, or ``None`` and what is wrong."""
        if self.reason or self.frame is None:
            return None, self.reason
        try:
            return rgb_of(self.frame), ""
        except (ValueError, MemoryError, OSError) as error:  # FFmpeg's errors are among them
            return None, f"its pixel format {self.frame.format.name} cannot be converted ({error})"


class _Reader:
    """An open video; ``problem`` says why its packets ended early, ``count`` how many frames came so far."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._container, self._stream = _open(path)
        self._decoder = PacketDecoder(self._stream.codec_context)
        self._first_pts: int | None = None
        self.reached_s = 0.0
        self.problem = ""
        self.count = 0
        self._entries = self._read()

    @property
    def stated_count(self) -> int:
        """The number of frames that the container states; 0 where it states none."""
        return max(0, self._stream.frames)

    @property
    def stated_s(self) -> float:
        """The duration of the video that the container states; 0 where it states none, or that of another stream."""
        stated = self._stream.metadata.get("DURATION", "")
        if found := re.fullmatch(r"(\d+):(\d+):(\d+\.\d+)", stated):
            hours, minutes, seconds = map(float, found.groups())
            return 3600 * hours + 60 * minutes + seconds
        return max(0, self._container.duration or 0) / 1e6 if len(self._container.streams) == 1 else 0.0

    def next(self) -> _Entry | None:
        """The next frame in order of time; ``None`` at the end."""
        return next(self._entries, None)

    def close(self) -> None:
        """Close the file."""
        self._container.close()

    def _read(self) -> Iterator[_Entry]:
        """The frames in order of time; packets that complete none are entries too, found by their times."""
        waiting: list[int] = []  # times of packets whose frames have not come yet
        failure = ""
        for packet in self._packets():
            if packet is not None and packet.pts is not None and self._has_whole_frames and not packet.is_discard:
                heapq.heappush(waiting, packet.pts)
            for frame, reason in self._decoder.decode(packet):
                if frame is None:
                    failure = reason
                    if waiting and self._is_avi:
                        heapq.heappop(waiting)
                        yield self._lost(failure)
                    continue
                if waiting and self._is_avi:
                    frame.pts = waiting[0]
                while waiting and frame.pts is not None and waiting[0] <= frame.pts:
                    if heapq.heappop(waiting) < frame.pts:
                        yield self._lost(failure)
                yield self._entry(frame, reason)
        for _ in waiting:
            yield self._lost(failure)

    @property
    def _is_avi(self) -> bool:
        """Return True for AVI: its packets have their times in order of decoding, so the next frame has the least."""
        return "avi" in self._container.format.name.split(",")

    @property
    def _has_whole_frames(self) -> bool:
        """Return False for interlaced videos, of which a packet may be half a frame."""
        return self._stream.codec_context.field_order in (_UNKNOWN_ORDER, _PROGRESSIVE)

    def _entry(self, frame: av.VideoFrame, reason: str) -> _Entry:
        stamp_ns = 0
        try:
            stamp_ns = self._stamp_ns(frame)
        except SourceError as error:
            reason = reason or str(error)
        self.count += 1
        return _Entry(self.count - 1, stamp_ns, frame, reason)

    def _lost(self, failure: str) -> _Entry:
        self.count += 1
        return _Entry(self.count - 1, 0, None, failure or "its packet holds no frame")

    def _packets(self) -> Iterator[av.Packet | None]:
        """The packets of the stream as far as they can be read, and ``None`` for the end."""
        for packet in _demux(self._container, self._stream):
            if isinstance(packet, str):
                self.problem = packet
            else:
                yield packet
        yield None

    def _stamp_ns(self, frame: av.VideoFrame) -> int:
        if frame.pts is None or not (frame.time_base or self._stream.time_base):
            rate = self._stream.average_rate or self._stream.guessed_rate or _DEFAULT_RATE_HZ
            if self.count == 0:
                _log.warning("%s has no stamps: %g frames a second are assumed; give fps", self._path, float(rate))
            return FIRST_STAMP_NS + round(self.count * 10**9 / rate)
        if self._first_pts is None:
            self._first_pts = frame.pts
        seconds = (frame.pts - self._first_pts) * (frame.time_base or self._stream.time_base)
        if abs(seconds) > _MAX_DURATION_S:
            raise SourceError(f"its stamp is {float(seconds):g} s from the first one")
        self.reached_s = max(self.reached_s, float(seconds))
        return FIRST_STAMP_NS + round(seconds * 10**9)


def _open(path: Path) -> tuple[av.container.InputContainer, av.VideoStream]:
    """Open a video file, and choose its video stream."""
    av = import_av()
    if not path.is_file():
        raise SourceError(f"there is no video {path}")
    problem = foreign_content(path)
    if problem:
        raise SourceError(f"{path} {problem}")
    try:
        container = av.open(f"file:{path}", options={"protocol_whitelist": "file"}, metadata_errors="ignore")
    except (av.error.FFmpegError, ValueError, MemoryError) as error:
        reason = f"cannot be opened as a video ({getattr(error, 'strerror', None) or error})"
        if path.suffix.lower() in (".mp4", ".m4v", ".mov", ".3gp"):
            reason += "; if its recording was cut off, its index (moov) was never written: a tool such as untrunc can "
            reason += "restore it with an intact video of the same camera"
        raise SourceError(f"{path} {reason}") from error
    covers = av.stream.Disposition.attached_pic
    streams = [stream for stream in container.streams.video if not stream.disposition & covers]
    if not streams or streams[0].codec_context is None:
        kinds = ", ".join(sorted({stream.type for stream in container.streams if stream.type})) or "nothing"
        container.close()
        missing = "a video stream of a codec that PyAV lacks" if streams else f"no video stream, but {kinds}"
        raise SourceError(f"{path} holds {missing}")
    streams[0].codec_context.options = {"max_pixels": str(MAX_PIXELS)}
    streams[0].codec_context.thread_type = "AUTO"
    streams[0].codec_context.thread_count = _THREADS
    return container, streams[0]


def _demux(container: av.container.InputContainer, stream: av.VideoStream) -> Iterator[av.Packet | str]:
    """The packets of a stream; where they cannot be read, the reason in a string, and those that follow."""
    packets = container.demux(stream)
    failures = 0
    while failures < _MAX_FAILURES:
        packet = _next_packet(packets)
        if packet is None:
            return
        if isinstance(packet, str):
            failures += 1
            packets = container.demux(stream)  # goes on behind it
            yield packet
        elif packet.size:
            failures = 0
            yield packet


def _next_packet(packets: Iterator[av.Packet]) -> av.Packet | str | None:
    """The next packet, or why it cannot be read; ``None`` at the end."""
    av = import_av()
    try:
        return next(packets, None)
    except av.error.EOFError:
        return None
    except (av.error.FFmpegError, ValueError, MemoryError) as error:
        return str(getattr(error, "strerror", None) or error)


def _count_packets(path: Path) -> int:
    """The number of frames of a container that does not state it, without decoding."""
    container, stream = _open(path)
    with closing(container):
        return sum(not isinstance(packet, str) and not packet.is_discard for packet in _demux(container, stream))


FORMAT = SourceFormat(
    name="video",
    looks_for=", ".join(SUFFIXES),
    matches=matches,
    open=open_video,
    options=("calibration", "fps"),
    has_own_calibration_file=True,
)
