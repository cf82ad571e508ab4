"""Counts and timings of ``vo_node``."""

from __future__ import annotations

import threading
import time
from collections import defaultdict
from dataclasses import dataclass, field

from ros_matching.msg import VoStatus
from ros_matching.tracking.result import TrackingResult, TrackingStatus


@dataclass(frozen=True)
class Window:
    """What happened in the last ``seconds``: counts, and the time that each stage took."""

    seconds: float
    received: int
    processed: int
    latencies_ms: list[float] = field(default_factory=list)
    stages_ms: dict[str, list[float]] = field(default_factory=dict)


class VoStatistics:
    """Written by the executor (arrivals) and the worker (results), read by the diagnostics."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self.received = 0
        self.tracked = 0
        self.lost = 0
        self.dropped = 0
        self.refused = 0
        self.last: TrackingResult | None = None
        self.last_activity_s = float("-inf")  # an arrival or a result, by time.monotonic
        self._start_window()

    def count_arrival(self, is_drop: bool) -> None:
        """An image has come; ``is_drop`` when it took the place of one that was still waiting."""
        with self._lock:
            self.received += 1
            self.dropped += is_drop
            self._window_received += 1
            self.last_activity_s = time.monotonic()

    def count_result(self, result: TrackingResult, was_tried: bool) -> None:
        """An image's result is known; ``was_tried`` is False when it did not reach the tracker."""
        with self._lock:
            self.last = result
            self.refused += not was_tried
            self.tracked += was_tried and result.status is TrackingStatus.TRACKING
            self.lost += was_tried and result.status is TrackingStatus.LOST

    def count_latency(self, latency_ms: float, stage_ms: dict[str, float]) -> None:
        """How long an image took in all, and in the stages."""
        with self._lock:
            self.last_activity_s = time.monotonic()
            self._latencies_ms.append(latency_ms)
            for name, duration_ms in stage_ms.items():
                self._stages_ms[name].append(duration_ms)

    def fill(self, status: VoStatus) -> None:
        """Write the counts into a status message."""
        with self._lock:
            status.frames_received = self.received
            status.frames_dropped = self.dropped
            status.frames_tracked = self.tracked
            status.frames_lost = self.lost

    def take_window(self) -> Window:
        """What happened since the last call."""
        with self._lock:
            window = Window(
                seconds=time.monotonic() - self._window_start_s,
                received=self._window_received,
                processed=len(self._latencies_ms),
                latencies_ms=self._latencies_ms,
                stages_ms=dict(self._stages_ms),
            )
            self._start_window()
        return window

    def _start_window(self) -> None:
        self._window_start_s = time.monotonic()
        self._window_received = 0
        self._latencies_ms: list[float] = []
        self._stages_ms: defaultdict[str, list[float]] = defaultdict(list)
