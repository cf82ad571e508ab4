"""Reader of one video file by PyAV: its frames in order of time, with their faults."""

from __future__ import annotations

import heapq
import logging
import re
from bisect import bisect_left
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING

import numpy as np

from ros_matching.errors import SourceError
from ros_matching.io.source_format import FIRST_STAMP_NS, foreign_content
from ros_matching.io.video_packets import MAX_PIXELS, PacketDecoder, import_av, rgb_of

if TYPE_CHECKING:
    import av

_DEFAULT_RATE_HZ = Fraction(30)
_MAX_FAILURES = 10  # packets in succession that cannot be read
_MAX_DURATION_S = 10**8
_SEEK_FROM = 100  # frames that are decoded rather than looked for
_THREADS = 4
_UNKNOWN_ORDER, _PROGRESSIVE = 0, 1  # of FFmpeg's AVFieldOrder
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class VideoEntry:
    """One frame of a video in order of time, or the ``reason`` why it cannot be used."""

    index: int
    stamp_ns: int
    frame: av.VideoFrame | None
    reason: str

    def image(self) -> tuple[np.ndarray | None, str]:
        """Return the image, or ``None`` and the fault."""
        if self.reason or self.frame is None:
            return None, self.reason
        try:
            return rgb_of(self.frame), ""
        except (ValueError, MemoryError, OSError) as error:  # FFmpeg's errors are among them
            return None, f"its pixel format {self.frame.format.name} cannot be converted ({error})"


class VideoReader:
    """An open video; ``problem`` is the reason for an early end of its packets, ``count`` the number of frames so far.

    Only frames from number ``start`` on are needed; those before may be skipped without decoding.
    """

    def __init__(self, path: Path, start: int = 0) -> None:
        self._path = path
        self._container, self._stream = _open(path)
        self._first_pts: int | None = None
        self._seek_pts: int | None = None  # of the keyframe that reading begins at
        self.reached_s = 0.0
        self.problem = ""
        self.count = 0
        self._is_interlaced = False  # then a packet may be half a frame
        field_order = getattr(self._stream.codec_context, "field_order", _UNKNOWN_ORDER)  # PyAV 17
        if start >= _SEEK_FROM and not self._is_avi and field_order in (_UNKNOWN_ORDER, _PROGRESSIVE):
            self._seek(start)
        self._decoder = PacketDecoder(self._stream.codec_context)
        self._entries = self._read()

    @property
    def stated_count(self) -> int:
        """The number of frames that the container states; 0 if it states none."""
        return max(0, self._stream.frames)

    @property
    def stated_s(self) -> float:
        """The duration of the video that the container states; 0 if it states none, or that of another stream."""
        stated = self._stream.metadata.get("DURATION", "")
        if found := re.fullmatch(r"(\d+):(\d+):(\d+\.\d+)", stated):
            hours, minutes, seconds = map(float, found.groups())
            return 3600 * hours + 60 * minutes + seconds
        return max(0, self._container.duration or 0) / 1e6 if len(self._container.streams) == 1 else 0.0

    def next(self) -> VideoEntry | None:
        """The next frame in order of time; ``None`` at the end."""
        return next(self._entries, None)

    def close(self) -> None:
        """Close the file. The decoder's threads end with this object, which may be in no reference cycle for that."""
        self._entries.close()
        self._entries = (entry for entry in ())
        self._container.close()

    def _seek(self, start: int) -> None:
        """Begin at the last keyframe before a frame, found by the times of all packets; else at the beginning."""
        packets = list(_list_packets(self._path))
        times = sorted(pts for pts, _ in packets if pts is not None)
        if len(set(times)) != len(packets) or start >= len(times):
            return
        keyframe_pts = max(
            (pts for pts, is_keyframe in packets if is_keyframe and pts <= times[start]), default=times[0]
        )
        if keyframe_pts == times[0]:
            return
        av = import_av()
        try:
            self._container.seek(keyframe_pts, stream=self._stream)
            first = next((packet.pts for packet in self._container.demux(self._stream) if packet.size), None)
            self._container.seek(keyframe_pts, stream=self._stream)
        except av.error.FFmpegError:
            first = None
        if first is None or first > keyframe_pts:
            self._container.close()
            self._container, self._stream = _open(self._path)
            return
        self._first_pts, self._seek_pts = times[0], keyframe_pts
        self.count = bisect_left(times, keyframe_pts)

    def _read(self) -> Iterator[VideoEntry]:
        """The frames in order of time; packets that complete none are entries too, found by their times."""
        waiting: list[int] = []  # times of packets whose frames have not come yet
        failure = ""
        for packet in self._packets():
            if packet is not None and self._is_tracked(packet):
                heapq.heappush(waiting, packet.pts)
            for frame, reason in self._decoder.decode(packet):
                if frame is None:
                    failure = reason
                    if waiting and self._is_avi:
                        heapq.heappop(waiting)
                        yield self._lost(failure)
                    elif packet is not None and packet.pts is None:
                        yield self._lost(failure)
                    continue
                if self._is_before_seek(frame.pts):
                    continue
                if frame.interlaced_frame:
                    self._is_interlaced = True
                    waiting.clear()
                if waiting and self._is_avi:
                    frame.pts = waiting[0]
                while waiting and frame.pts is not None and waiting[0] <= frame.pts:
                    self._first_pts = waiting[0] if self._first_pts is None else self._first_pts
                    if heapq.heappop(waiting) < frame.pts:
                        yield self._lost(failure)
                yield self._entry(frame, reason)
        for _ in waiting:
            yield self._lost(failure)

    def _is_tracked(self, packet: av.Packet) -> bool:
        """Return True if a packet completes one frame of a known time."""
        is_whole = packet.pts is not None and not self._is_interlaced and not packet.is_discard
        return is_whole and not self._is_before_seek(packet.pts)

    def _is_before_seek(self, pts: int | None) -> bool:
        return self._seek_pts is not None and pts is not None and pts < self._seek_pts

    @property
    def _is_avi(self) -> bool:
        """Return True for AVI: its packets have their times in order of decoding, so the next frame has the least."""
        return "avi" in self._container.format.name.split(",")

    def _entry(self, frame: av.VideoFrame, reason: str) -> VideoEntry:
        stamp_ns = 0
        try:
            stamp_ns = self._stamp_ns(frame)
        except SourceError as error:
            reason = reason or str(error)
        self.count += 1
        return VideoEntry(self.count - 1, stamp_ns, frame, reason)

    def _lost(self, failure: str) -> VideoEntry:
        self.count += 1
        return VideoEntry(self.count - 1, 0, None, failure or "its packet holds no frame")

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


def _metadata_options(av: ModuleType) -> dict[str, str]:
    """Options with which text that is no UTF-8 does not matter; PyAV 19 takes any and has no option for it."""
    return {"metadata_errors": "ignore"} if int(av.__version__.split(".")[0]) < 19 else {}


def _open(path: Path) -> tuple[av.container.InputContainer, av.VideoStream]:
    """Open a video file, and choose its video stream."""
    av = import_av()
    if not path.is_file():
        raise SourceError(f"there is no video {path}")
    problem = foreign_content(path)
    if problem:
        raise SourceError(f"{path} {problem}")
    try:
        container = av.open(f"file:{path}", options={"protocol_whitelist": "file"}, **_metadata_options(av))
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
            packets = container.demux(stream)  # continues after it
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


def count_packets(path: Path) -> int:
    """The number of frames of a container that does not state it, without decoding."""
    container, stream = _open(path)
    with closing(container):
        return sum(not isinstance(packet, str) and not packet.is_discard for packet in _demux(container, stream))


def _list_packets(path: Path) -> Iterator[tuple[int | None, bool]]:
    """Time and keyframe flag of the packets of a video, in order of decoding; no time where one cannot be read."""
    container, stream = _open(path)
    with closing(container):
        for packet in _demux(container, stream):
            if isinstance(packet, str):
                yield None, False
            elif not packet.is_discard:
                yield packet.pts, packet.is_keyframe
