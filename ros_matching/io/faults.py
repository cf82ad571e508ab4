"""Faulty frames of a source: missing or incomplete ones are skipped and reported, and reading continues."""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from ros_matching.datatypes import Frame
from ros_matching.errors import SourceError

_LOGGER = logging.getLogger(__name__)
_AHEAD = 4  # later frames that a stamp is compared with
_LOGGED = 5
_REPORTED = 20


@dataclass(frozen=True)
class FrameFault:
    """A fault of one frame: its ``index`` in the recording and a ``reason`` that names the file or topic.

    ``skipped`` is False for a frame that was delivered incomplete: without its depth, right image or ground truth.
    """

    index: int
    reason: str
    skipped: bool = True


@dataclass(frozen=True)
class Loaded:
    """One frame as it was read; ``frame`` is ``None`` where ``faults`` has the reason."""

    frame: Frame | None
    faults: tuple[FrameFault, ...] = ()


def deliver(loaded: Iterable[Loaded], faults: list[FrameFault], name: str) -> Iterator[Frame]:
    """Yield the frames that were read and whose stamps increase; log the others and append them to ``faults``.

    Frames are held back until the next few are read: of a frame from the future and those that follow, the one frame
    is wrong. Raises ``SourceError`` when no frame could be delivered; ``name`` is that of the recording.
    """
    order = _Order(faults)
    for item in loaded:
        for fault in item.faults:
            order.report(fault)
        if item.frame is not None:
            yield from order.take(item.frame)
    yield from order.finish()
    skipped = [fault for fault in faults if fault.skipped]
    if skipped and not order.delivered:
        raise SourceError(f"none of the {len(skipped)} frames of {name} can be used; the first: {skipped[0].reason}")
    if len(skipped) > order.delivered:
        _LOGGER.warning(
            "%s: %d frames were skipped and only %d used; check the recording", name, len(skipped), order.delivered
        )


def fault_values(faults: Sequence[FrameFault]) -> dict[str, Any]:
    """The numbers of skipped and incomplete frames and the first reasons, ready for JSON."""
    skipped = sum(fault.skipped for fault in faults)
    first = [{"frame": fault.index, "reason": fault.reason} for fault in faults[:_REPORTED]]
    return {"skipped": skipped, "incomplete": len(faults) - skipped, "first": first}


def fault_summary(faults: Sequence[FrameFault]) -> str:
    """The number of faulty frames and the first reason, in words; empty if there are none."""
    parts = []
    for words, is_skipped in (("skipped", True), ("incomplete", False)):
        some = [fault for fault in faults if fault.skipped == is_skipped]
        if some:
            more = f"; and {len(some) - 1} more" if len(some) > 1 else ""
            parts.append(f"{len(some)} {words} ({some[0].reason}{more})")
    return ", ".join(parts)


class _Order:
    """Holds frames back until their stamps can be judged by those of the next ones."""

    def __init__(self, faults: list[FrameFault]) -> None:
        self.delivered = 0
        self._faults = faults
        self._waiting: deque[Frame] = deque()
        self._last: Frame | None = None

    def report(self, fault: FrameFault) -> None:
        self._faults.append(fault)
        if len(self._faults) <= _LOGGED:
            _LOGGER.warning("frame %d: %s", fault.index, fault.reason)
        if len(self._faults) == _LOGGED:
            _LOGGER.warning("further faulty frames are counted, but not logged")

    def take(self, frame: Frame) -> Iterator[Frame]:
        self._waiting.append(frame)
        if len(self._waiting) > _AHEAD:
            yield from self._release()

    def finish(self) -> Iterator[Frame]:
        while self._waiting:
            yield from self._release()

    def _release(self) -> Iterator[Frame]:
        frame, last = self._waiting.popleft(), self._last
        earlier = sum(later.stamp_ns < frame.stamp_ns for later in self._waiting)
        if last is not None and frame.stamp_ns <= last.stamp_ns:
            relation = "equals" if frame.stamp_ns == last.stamp_ns else "is before"
            self._refuse(frame, f"{relation} that of frame {last.index}")
        elif 2 * earlier > len(self._waiting):
            self._refuse(frame, "is after those of the frames that follow")
        else:
            self._last = frame
            self.delivered += 1
            yield frame

    def _refuse(self, frame: Frame, problem: str) -> None:
        self.report(FrameFault(frame.index, f"the stamp {frame.stamp_ns / 1e9:.6f} s of frame {frame.index} {problem}"))
