"""Counts and timings that every node keeps of its work."""

from __future__ import annotations

import threading
import time
from collections import defaultdict
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Window:
    """What happened in the last ``seconds``: counts, and the time that each stage took."""

    seconds: float
    received: int
    processed: int
    latencies_ms: list[float] = field(default_factory=list)
    stages_ms: dict[str, list[float]] = field(default_factory=dict)


class Statistics:
    """Written by the executor (arrivals) and the worker (results), read by the diagnostics."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self.received = 0
        self.dropped = 0
        self.last_activity_s = float("-inf")  # an arrival or a result, by time.monotonic
        self._start_window()

    def count_arrival(self, is_drop: bool) -> None:
        """A message has come; ``is_drop`` when it took the place of one that was still waiting."""
        with self._lock:
            self.received += 1
            self.dropped += is_drop
            self._window_received += 1
            self.last_activity_s = time.monotonic()

    def count_latency(self, latency_ms: float, stage_ms: dict[str, float]) -> None:
        """How long a message took in all, and in the stages."""
        with self._lock:
            self.last_activity_s = time.monotonic()
            self._latencies_ms.append(latency_ms)
            for name, duration_ms in stage_ms.items():
                self._stages_ms[name].append(duration_ms)

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
