"""Frame sources: ``for frame in source``; selection of frames, sources that read one stream, and reading ahead."""

from __future__ import annotations

import copy
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import islice
from typing import TYPE_CHECKING, Protocol, TypeVar, runtime_checkable

from ros_matching.datatypes import Camera, Frame, ImuRecording
from ros_matching.errors import SourceError
from ros_matching.io.calibration import UsedCalibration
from ros_matching.io.faults import FrameFault, Loaded, deliver

if TYPE_CHECKING:
    from ros_matching.geometry.distortion import Undistorter  # needs OpenCV


@runtime_checkable
class FrameSource(Protocol):
    """A finite sequence of camera frames in order of time. Every iteration yields the same frames.

    A frame that cannot be read, or whose stamp is not after the one before, is skipped and reported in ``faults``.
    """

    @property
    def name(self) -> str:
        """A short name for reports and plots."""

    @property
    def camera(self) -> Camera:
        """The pinhole camera of the delivered (undistorted) images."""

    @property
    def calibration(self) -> UsedCalibration:
        """The calibration of the images before they were undistorted."""

    def __len__(self) -> int:
        """Return the number of frames, the faulty ones included."""

    @property
    def faults(self) -> Sequence[FrameFault]:
        """The faulty frames of the newest iteration so far."""

    def __iter__(self) -> Iterator[Frame]:
        """Yield the frames, each read on demand."""


Source = TypeVar("Source", bound="StreamedSource")


class StreamedSource(ABC):
    """The ``FrameSource`` of a stream of ``count`` frames; ``faults`` lists the faults of the latest iteration."""

    def __init__(self, name: str, description: str, undistorter: Undistorter, calibration_origin: str, count: int):
        """``name`` is for reports and plots, ``description`` names the stream in messages."""
        self._name = name
        self._description = description
        self._undistorter = undistorter
        self._calibration_origin = calibration_origin
        self._count = count
        self._rows = range(count)
        self.faults: list[FrameFault] = []

    @property
    def name(self) -> str:
        """The name of the recording."""
        return self._name

    @property
    def camera(self) -> Camera:
        """The pinhole camera of the delivered images."""
        return self._undistorter.camera

    @property
    def calibration(self) -> UsedCalibration:
        """The calibration of the images as they were recorded."""
        return UsedCalibration(self._calibration_origin, self._undistorter.source)

    def __len__(self) -> int:
        """The number of selected frames, as stated by the stream."""
        return len(self._rows)

    def __iter__(self) -> Iterator[Frame]:
        self.faults = []
        return deliver(self._loaded(), self.faults, self._description)

    def select(self: Source, rows: range) -> Source:
        """The same stream, reduced to some of its frames, which keep their index."""
        selected = copy.copy(self)
        selected._rows = self._rows[rows.start : rows.stop : rows.step]
        selected.faults = []
        return selected

    @abstractmethod
    def _loaded(self) -> Iterator[Loaded]:
        """The selected frames ``_rows``, and the faults found on the way."""


def select_frames(source: FrameSource, start: int = 0, stop: int | None = None, stride: int = 1) -> FrameSource:
    """The frames ``start:stop:stride`` of a source, as a slice selects them; they keep their index.

    A source with a method ``select(rows: range)`` skips in its own way, without decoding; of others the skipped frames
    are dropped. Raises ``SourceError`` when nothing is left.
    """
    if stride < 1:
        raise SourceError(f"stride must be at least 1, got {stride}")
    count = len(source)
    rows = range(count)[start:stop:stride]
    if rows == range(count):
        return source
    if not rows:
        raise SourceError(f"{source.name} has {count} frames; start={start} stop={stop} selects none")
    select = getattr(source, "select", None)
    return _Selection(source, rows) if select is None else select(rows)


class _Selection:
    def __init__(self, source: FrameSource, rows: range) -> None:
        self._source = source
        self._rows = rows

    @property
    def name(self) -> str:
        return self._source.name

    @property
    def camera(self) -> Camera:
        return self._source.camera

    @property
    def faults(self) -> Sequence[FrameFault]:
        return self._source.faults

    @property
    def calibration(self) -> UsedCalibration:
        return self._source.calibration

    @property
    def imu(self) -> ImuRecording | None:
        return getattr(self._source, "imu", None)

    def __len__(self) -> int:
        return len(self._rows)

    def __iter__(self) -> Iterator[Frame]:
        return islice(self._source, self._rows.start, self._rows.stop, self._rows.step)


Item = TypeVar("Item")
Result = TypeVar("Result")


def read_ahead(load: Callable[[Item], Result], items: Iterable[Item], ahead: int = 2) -> Iterator[Result]:
    """Yield ``load(item)`` in order, with up to ``ahead`` results loaded in advance by one thread.

    An error of ``load`` is raised where its result would have come. One thread only, so ``load`` may keep a state.
    """
    pending: deque[Future[Result]] = deque()
    with ThreadPoolExecutor(max_workers=1, thread_name_prefix="read-ahead") as pool:
        try:
            for item in items:
                pending.append(pool.submit(load, item))
                if len(pending) > ahead:
                    yield pending.popleft().result()
            while pending:
                yield pending.popleft().result()
        finally:
            for future in pending:
                future.cancel()
