"""Images that a camera took and that did not arrive, by the gaps between the stamps of those that did."""

from __future__ import annotations

from collections import deque

import numpy as np

_REMEMBERED = 50
_FEWEST = 3  # steps, before anything is known of the camera's period
_LONGEST_NS = 10_000_000_000  # a longer step is a pause, or an odd stamp
_ROUNDS = 3
_SAME = 1.6  # a step of so many periods is still one period, with jitter
_REGULAR = 0.15  # of a period: median distance of the steps from whole periods; it is 0.25 for random steps


class ArrivalMeter:
    """Estimates the camera's period from the steps between stamps, and counts the images missing in longer steps.

    ``missing`` is their number so far. A camera without a period, such as one triggered by events, misses none.
    """

    def __init__(self) -> None:
        self.missing = 0
        self._settled = 0  # missing in steps that are no longer remembered
        self._last_ns: int | None = None
        self._steps_ns: deque[int] = deque(maxlen=_REMEMBERED)
        self._recent = np.zeros(0, np.int64)

    def add(self, stamp_ns: int) -> None:
        """Take the stamp of an image that has arrived."""
        last, self._last_ns = self._last_ns, stamp_ns
        if last is None or stamp_ns <= 0 or not 0 < stamp_ns - last < _LONGEST_NS:
            return
        if len(self._steps_ns) == _REMEMBERED:
            self._settled += int(self._recent[0])
        self._steps_ns.append(stamp_ns - last)
        self._recent = self._missing_by_step()
        # A better estimate of the period also corrects what was counted with the one before, but takes nothing back.
        self.missing = max(self.missing, self._settled + int(self._recent.sum()))

    def pause(self) -> None:
        """Count nothing as missing between the last image and the next."""
        self._last_ns = None

    @property
    def recent_loss(self) -> tuple[int, int]:
        """How many of the recent images did not arrive, and how many there were."""
        missing = int(self._recent.sum())
        return missing, missing + len(self._recent)

    def _missing_by_step(self) -> np.ndarray:
        """The number of images missing in each of the remembered steps."""
        steps = np.array(self._steps_ns, dtype=np.float64)
        if len(steps) < _FEWEST:
            return np.zeros(len(steps), np.int64)
        # The most usual step: a low percentile, refined to the median of the steps of about one period.
        period = float(np.percentile(steps, 10, method="lower"))
        for _ in range(_ROUNDS):
            period = float(np.median(steps[steps <= _SAME * period]))
        whole = np.maximum(1, np.round(steps / period))
        if np.median(np.abs(steps / period - whole)) > _REGULAR:
            return np.zeros(len(steps), np.int64)
        return whole.astype(np.int64) - 1
