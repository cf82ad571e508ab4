"""A back end that is late by a fixed number of frames, whatever the speed of the machine."""

from __future__ import annotations

from typing import Any

from ros_matching.backend.scheduler import Job
from ros_matching.visual_odometry import VisualOdometry


class DelayedScheduler:
    """Runs a job at once, and returns its last result only when it was asked ``delay`` times; early ones evenly before.

    With ``early`` false, early results are not delivered.
    """

    runs_in_frame = False

    def __init__(self, delay: int, *, early: bool = True) -> None:
        self._delay, self._early = delay, early
        self._results: list[tuple[int, Any]] = []  # the number of the request from which it is returned
        self._asked = 0
        self.waits = 0  # results that were waited for

    @property
    def is_idle(self) -> bool:
        return not self._results

    def submit(self, job: Job) -> None:
        early: list[Any] = []
        last = job(lambda make: early.append(make()) if self._early else None)
        results = [*early, last]
        self._results = [(-(-self._delay * (k + 1) // len(results)), each) for k, each in enumerate(results)]
        self._asked = 0

    def take(self, *, wait: bool = False) -> Any:
        self._asked += 1
        if not self._results:
            return None
        due, result = self._results[0]
        if self._asked <= due and not wait:
            return None
        self.waits += self._asked <= due
        self._asked = max(self._asked, due)
        self._results.pop(0)
        return result

    def cancel(self) -> None:
        self._results = []

    close = cancel


def delay_back_end(odometry: VisualOdometry, frames: int) -> VisualOdometry:
    """Make the back end late by so many frames."""
    back_end = odometry._back_end
    back_end._scheduler, back_end.runs_in_frame = DelayedScheduler(frames), False
    return odometry
