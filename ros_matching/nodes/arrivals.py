"""Images that a camera took and that did not arrive, by the gaps between the stamps of those that did."""

from __future__ import annotations

from collections import deque

import numpy as np

_REMEMBERED = 50
_FEWEST = 8  # steps, before anything is known of the camera's period
_LONGEST_NS = 10_000_000_000  # a longer step is a pause, or an odd stamp
_ROUNDS = 3
_SAME = 1.6  # a step of so many periods is still one period, with jitter


class ArrivalMeter:
    """Estimates the camera's period from the steps between stamps, and counts the images missing in longer steps."""

    def __init__(self) -> None:
        self.missing = 0
        self._last_ns: int | None = None
        self._steps_ns: deque[int] = deque(maxlen=_REMEMBERED)
        self._missing: deque[int] = deque(maxlen=_REMEMBERED)

    def add(self, stamp_ns: int) -> None:
        """Take the stamp of an image that has arrived."""
        last, self._last_ns = self._last_ns, stamp_ns
        if last is None or stamp_ns <= 0 or not 0 < stamp_ns - last < _LONGEST_NS:
            return
        self._steps_ns.append(stamp_ns - last)
        if len(self._steps_ns) >= _FEWEST:
            missing = max(0, round((stamp_ns - last) / self._period_ns()) - 1)
            self.missing += missing
            self._missing.append(missing)

    @property
    def recent_loss(self) -> tuple[int, int]:
        """How many of the recent images did not arrive, and how many there were."""
        missing = sum(self._missing)
        return missing, missing + len(self._missing)

    def _period_ns(self) -> float:
        """The most usual step: a low percentile, refined to the median of the steps of about one period."""
        steps = np.array(self._steps_ns, dtype=np.float64)
        period = float(np.percentile(steps, 10))
        for _ in range(_ROUNDS):
            period = float(np.median(steps[steps <= _SAME * period]))
        return period
