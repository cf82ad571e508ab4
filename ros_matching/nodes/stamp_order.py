"""The order in time of the images: odd stamps are refused, and only time that stays back is a new start."""

from __future__ import annotations

import statistics
from collections import deque
from dataclasses import dataclass
from typing import NamedTuple

from ros_matching.tracking.succession import Step, Succession

_LONG_NS = 1_000_000_000  # a step that no stamp need explain, or _LONG_STEPS usual ones
_LONG_STEPS = 10
_FASTER = 2.0  # a step of the stamps that took half as long to arrive is a pause, in a replay at twice the speed too
_REMEMBERED = 15
_NEEDED, _MOST_NEEDED = 3, 12
_SINGLE = "it is left out, and several in a row would be taken"


class _Arrival(NamedTuple):
    stamp_ns: int
    received_s: float


@dataclass(frozen=True)
class StampCheck:
    """What a stamp means: ``reason`` to refuse the image, or by how many seconds time stays back (a new start)."""

    reason: str = ""
    back_s: float = 0.0


class StampOrder:
    """Checks the stamps of one topic's images, in order of arrival.

    A stamp that is zero, negative, far ahead, or before the last is refused. Three in a row that follow on each other
    are taken: after a gap where they lie ahead, as a new start where they lie back.
    """

    def __init__(self) -> None:
        self._series: Succession[_Arrival] = Succession(self._follows, _NEEDED, _MOST_NEEDED)
        self._steps_ns: deque[int] = deque(maxlen=_REMEMBERED)
        self._before_ns: int | None = None  # the stamp before the last
        self._newest_ns: int | None = None  # of the images, refused ones too

    def restart(self) -> None:
        """Forget the time that has passed: any stamp may come next."""
        self._series.reset()
        self._steps_ns.clear()
        self._before_ns = self._newest_ns = None

    def check(self, stamp_ns: int, received_s: float) -> StampCheck:
        """Take the next stamp and the time, by a steady clock, at which its image arrived."""
        if stamp_ns <= 0:
            return StampCheck(_NO_TIME if stamp_ns == 0 else _NEGATIVE.format(seconds=stamp_ns * 1e-9))
        check = self._check_order(_Arrival(stamp_ns, received_s))
        if self._newest_ns is not None and stamp_ns > self._newest_ns:
            self._steps_ns.append(stamp_ns - self._newest_ns)
        self._newest_ns = stamp_ns
        return check

    def _check_order(self, new: _Arrival) -> StampCheck:
        last, odd = self._series.last, self._series.odd
        if last is None:
            self._series.offer(new)
            return StampCheck()
        ahead_ns = new.stamp_ns - last.stamp_ns
        if ahead_ns == 0:
            return StampCheck(_REPEATED)
        if self._before_ns is not None and self._before_ns < new.stamp_ns < last.stamp_ns:
            # Two images were swapped, or the last stamp was ahead: this one is no sign that time stays back.
            return StampCheck(_back(-ahead_ns))
        step = self._series.offer(new)
        if step is Step.ODD:
            return StampCheck(_ahead(ahead_ns) if ahead_ns > 0 else _back(-ahead_ns))
        self._before_ns = last.stamp_ns if step is Step.NEXT else odd[-1].stamp_ns
        return StampCheck(back_s=max(0, -ahead_ns) * 1e-9)

    def _follows(self, last: _Arrival, new: _Arrival) -> bool:
        step_ns = new.stamp_ns - last.stamp_ns
        usual_ns = statistics.median_low(self._steps_ns) if self._steps_ns else 0
        longest_ns = max(_LONG_NS, _LONG_STEPS * usual_ns, _FASTER * 1e9 * (new.received_s - last.received_s))
        return 0 < step_ns <= longest_ns


_NO_TIME = "the image carries no time (its stamp is zero); have the driver set header.stamp to the time of exposure"
_NEGATIVE = (
    "the stamp of the image is negative ({seconds:.3f} s); have the driver set header.stamp to the time of exposure"
)
_REPEATED = (
    "an image came with the stamp of the one before; check that only one publisher sends images on this topic "
    "(ros2 topic info -v) and that its stamps advance"
)


def _ahead(ns: int) -> str:
    return (
        f"the stamp of the image is {ns * 1e-9:.3f} s ahead of the last one's: {_SINGLE} after a gap; check the clock "
        "of the driver"
    )


def _back(ns: int) -> str:
    return f"the stamp of the image is {ns * 1e-9:.3f} s before the last one's: {_SINGLE} for time that jumped back"
