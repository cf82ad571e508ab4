"""Counts and timings of ``vo_node``."""

from __future__ import annotations

from collections import Counter

from ros_matching.msg import VoStatus
from ros_matching.nodes.arrivals import ArrivalMeter
from ros_matching.nodes.problems import Problem
from ros_matching.nodes.statistics import Statistics
from ros_matching.tracking.result import TrackingResult, TrackingStatus


class VoStatistics(Statistics):
    """What became of the images."""

    def __init__(self) -> None:
        super().__init__()
        self.tracked = 0
        self.lost = 0
        self.refused = 0  # or paused
        self._refusals: Counter[Problem] = Counter()
        self._arrivals = ArrivalMeter()
        self.last: TrackingResult | None = None

    def count_stamp(self, stamp_ns: int) -> None:
        """An image of this stamp has arrived."""
        with self._lock:
            self._arrivals.add(stamp_ns)

    def count_pause(self) -> None:
        """No image was asked for between the last and the next."""
        with self._lock:
            self._arrivals.pause()

    @property
    def missing(self) -> int:
        """Images that did not arrive, by the gaps between the stamps."""
        return self._arrivals.missing

    @property
    def recent_loss(self) -> tuple[int, int]:
        """How many of the recent images did not arrive, and how many there were."""
        with self._lock:
            return self._arrivals.recent_loss

    def count_refusal(self, problem: Problem) -> None:
        """An image was refused for this reason."""
        with self._lock:
            self._refusals[problem] += 1

    @property
    def refusals(self) -> dict[Problem, int]:
        """How many images were refused, by the reason."""
        with self._lock:
            return dict(self._refusals)

    def count_result(self, result: TrackingResult, was_tried: bool) -> None:
        """An image's result is known; ``was_tried`` is False when it did not reach the tracker."""
        with self._lock:
            self.last = result
            self.refused += not was_tried
            self.tracked += was_tried and result.status is TrackingStatus.TRACKING
            self.lost += was_tried and result.status is TrackingStatus.LOST

    def fill(self, status: VoStatus) -> None:
        """Write the counts into a status message."""
        with self._lock:
            status.frames_received = self.received
            status.frames_missing = self._arrivals.missing
            status.frames_dropped = self.dropped
            status.frames_refused = self._refusals.total()
            status.frames_tracked = self.tracked
            status.frames_lost = self.lost
