"""Some of the frames of a source."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import islice

from ros_matching.datatypes import Camera, Frame
from ros_matching.errors import SourceError
from ros_matching.io.calibration import UsedCalibration
from ros_matching.io.faults import FrameFault
from ros_matching.io.source import FrameSource


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
        raise SourceError(f"{source.name} has {count} frames, of which start={start} stop={stop} selects none")
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

    def __len__(self) -> int:
        return len(self._rows)

    def __iter__(self) -> Iterator[Frame]:
        return islice(self._source, self._rows.start, self._rows.stop, self._rows.step)
