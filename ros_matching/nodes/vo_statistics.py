"""Counts and timings of ``vo_node``."""

from __future__ import annotations

from ros_matching.msg import VoStatus
from ros_matching.nodes.statistics import Statistics
from ros_matching.tracking.result import TrackingResult, TrackingStatus


class VoStatistics(Statistics):
    """What became of the images."""

    def __init__(self) -> None:
        super().__init__()
        self.tracked = 0
        self.lost = 0
        self.refused = 0
        self.last: TrackingResult | None = None

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
            status.frames_dropped = self.dropped
            status.frames_tracked = self.tracked
            status.frames_lost = self.lost
