"""Checks of image stamps: order in time, and missing images.

A single image with an odd stamp is dropped. Only stamps that stay back restart the odometry.
"""

from __future__ import annotations

import statistics
from collections import deque
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from ros_matching.succession import Step, Succession

_LONG_NS = 1_000_000_000  # largest step that is accepted at once, or _LONG_STEPS usual steps
_LONG_STEPS = 10
_FASTER = 2.0  # factor between a step of stamps and its arrival time for a pause, also in a replay at twice the speed
_REMEMBERED = 15
_NEEDED, _MOST_NEEDED = 3, 12
_SINGLE = "it is dropped; several in a row would be accepted"


class _Arrival(NamedTuple):
    stamp_ns: int
    received_s: float


@dataclass(frozen=True)
class StampCheck:
    """Result of a check: the ``reason`` to refuse the image, or the seconds that time jumped back (a restart)."""

    reason: str = ""
    back_s: float = 0.0


class StampOrder:
    """Checks the stamps of one topic's images, in order of arrival.

    A stamp that is zero, negative, far ahead, or before the last one is refused. Three consecutive ones are accepted:
    as a gap if they lie ahead, as a restart if they lie back.
    """

    def __init__(self) -> None:
        self._series: Succession[_Arrival] = Succession(self._follows, _NEEDED, _MOST_NEEDED)
        self._steps_ns: deque[int] = deque(maxlen=_REMEMBERED)
        self._before_ns: int | None = None  # the stamp before the last
        self._newest_ns: int | None = None  # newest stamp, including refused images

    def restart(self) -> None:
        """Forget the elapsed time: any stamp may come next."""
        self._series.reset()
        self._steps_ns.clear()
        self._before_ns = self._newest_ns = None

    def check(self, stamp_ns: int, received_s: float) -> StampCheck:
        """Check the next stamp; ``received_s`` is the arrival time of its image by a steady clock."""
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
            # Two images were swapped, or the last stamp was ahead: time did not jump back.
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


_NO_TIME = "the image has no time (its stamp is zero); let the driver set header.stamp to the time of exposure"
_NEGATIVE = (
    "the stamp of the image is negative ({seconds:.3f} s); let the driver set header.stamp to the time of exposure"
)
_REPEATED = (
    "the image repeats the stamp of the last one; check that only one publisher sends images on this topic "
    "(ros2 topic info -v) and that its stamps advance"
)


def _ahead(ns: int) -> str:
    return (
        f"the stamp of the image is {ns * 1e-9:.3f} s ahead of the last one: {_SINGLE} after a gap; check the clock "
        "of the driver"
    )


def _back(ns: int) -> str:
    return f"the stamp of the image is {ns * 1e-9:.3f} s before the last one: {_SINGLE} as time that jumped back"


_REMEMBERED_ARRIVALS = 50
_FEWEST = 3  # fewest steps to estimate the period
_LONGEST_NS = 10_000_000_000  # a longer step is a pause, or an odd stamp
_ROUNDS = 3
_SAME = 1.6  # largest step that counts as one period, with jitter
_REGULAR = 0.15  # in periods: median distance of steps from whole periods; 0.25 for random steps


class ArrivalMeter:
    """Estimates the camera's period from the steps between stamps, and counts missing images in longer steps.

    ``missing`` is their number. A camera without a period, such as one triggered by events, has no missing images.
    """

    def __init__(self) -> None:
        self.missing = 0
        self._settled = 0  # missing images in steps outside the window
        self._last_ns: int | None = None
        self._steps_ns: deque[int] = deque(maxlen=_REMEMBERED_ARRIVALS)
        self._recent = np.zeros(0, np.int64)

    def add(self, stamp_ns: int) -> None:
        """Add the stamp of an arrived image."""
        last, self._last_ns = self._last_ns, stamp_ns
        if last is None or stamp_ns <= 0 or not 0 < stamp_ns - last < _LONGEST_NS:
            return
        if len(self._steps_ns) == _REMEMBERED_ARRIVALS:
            self._settled += int(self._recent[0])
        self._steps_ns.append(stamp_ns - last)
        self._recent = self._missing_by_step()
        # A better estimate of the period also corrects earlier counts, but never decreases them.
        self.missing = max(self.missing, self._settled + int(self._recent.sum()))

    def pause(self) -> None:
        """Count nothing as missing between the last image and the next."""
        self._last_ns = None

    @property
    def recent_loss(self) -> tuple[int, int]:
        """Number of recent images that did not arrive, and number of recent images."""
        missing = int(self._recent.sum())
        return missing, missing + len(self._recent)

    def _missing_by_step(self) -> np.ndarray:
        """The number of images missing in each of the remembered steps."""
        steps = np.array(self._steps_ns, dtype=np.float64)
        if len(steps) < _FEWEST:
            return np.zeros(len(steps), np.int64)
        # The most common step: a low percentile, refined to the median of the steps of about one period.
        period = float(np.percentile(steps, 10, method="lower"))
        for _ in range(_ROUNDS):
            period = float(np.median(steps[steps <= _SAME * period]))
        whole = np.maximum(1, np.round(steps / period))
        if np.median(np.abs(steps / period - whole)) > _REGULAR:
            return np.zeros(len(steps), np.int64)
        return whole.astype(np.int64) - 1
