"""A back end that is late by a fixed number of frames, whatever the speed of the machine."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ros_matching.visual_odometry import VisualOdometry


class DelayedScheduler:
    """Runs a job at once, and returns its result only when it was asked for it ``delay`` times."""

    runs_in_frame = False

    def __init__(self, delay: int) -> None:
        self._delay = delay
        self._result: Any = None
        self._left = 0
        self.waits = 0  # results that were waited for

    @property
    def is_idle(self) -> bool:
        return self._result is None

    def submit(self, job: Callable[[], Any]) -> None:
        self._result, self._left = job(), self._delay

    def take(self, *, wait: bool = False) -> Any:
        self._left -= 1
        if self._result is None or (self._left >= 0 and not wait):
            return None
        self.waits += self._left >= 0
        result, self._result = self._result, None
        return result

    def cancel(self) -> None:
        self._result = None

    close = cancel


def delay_back_end(odometry: VisualOdometry, frames: int) -> VisualOdometry:
    """Make the back end late by so many frames."""
    back_end = odometry._back_end
    back_end._scheduler, back_end.runs_in_frame = DelayedScheduler(frames), False
    return odometry
