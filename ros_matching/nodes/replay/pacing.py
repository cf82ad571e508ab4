"""Pace of a replay: by the stamps of the frames, or as fast as the consumer answers."""

from __future__ import annotations

import threading
import time
from typing import Protocol

from ros_matching.errors import NodeError


class Pace(Protocol):
    """Interface that decides when the next frame is published; ``stop`` may be called from any thread."""

    def wait(self, stamp_ns: int | None) -> bool:
        """Block until the frame with this stamp is due, or with ``None`` until the last one is processed.

        Returns False if stopped.
        """

    def stop(self) -> None:
        """End every wait, now and later."""


class RealTimePace:
    """Publishes frames at the intervals of their stamps, divided by ``rate``.

    ``largest_lag_s`` is the largest delay of a frame: a source may be slower to read than its camera was.
    """

    def __init__(self, rate: float) -> None:
        self.largest_lag_s = 0.0
        self._rate = rate
        self._origin: tuple[float, int] | None = None
        self._stopped = threading.Event()

    def wait(self, stamp_ns: int | None) -> bool:
        """Sleep until the frame is due; a late one goes out at once. After the end, the next frame starts a new run."""
        if stamp_ns is None:
            self._origin = None
            return not self._stopped.is_set()
        now = time.monotonic()
        if self._origin is None:
            self._origin = (now, stamp_ns)
        start, first_stamp_ns = self._origin
        remaining_s = start + (stamp_ns - first_stamp_ns) * 1e-9 / self._rate - now
        self.largest_lag_s = max(self.largest_lag_s, -remaining_s)
        return not self._stopped.wait(max(remaining_s, 0.0))

    def stop(self) -> None:
        """End every wait, now and later."""
        self._stopped.set()


class ConsumerPace:
    """Publishes the next frame when the consumer has acknowledged the last one."""

    def __init__(self, timeout_s: float) -> None:
        self._timeout_s = timeout_s
        self._pending: int | None = None
        self._stopped = False
        self._changed = threading.Condition()

    def wait(self, stamp_ns: int | None) -> bool:
        """Block until the last frame is acknowledged and expect this one next; ``NodeError`` if it takes too long."""
        with self._changed:
            if not self._changed.wait_for(lambda: self._stopped or self._pending is None, self._timeout_s):
                raise NodeError(
                    f"no vo_status came for the image with stamp {self._pending} ns within {self._timeout_s:g} s; "
                    "the consumer must publish one for every image. See its log; if it is only slow, raise "
                    "consumer_timeout_s; for a consumer without vo_status replay at a rate (wait_for_consumer:=false)"
                )
            self._pending = stamp_ns
            return not self._stopped

    def acknowledge(self, stamp_ns: int) -> None:
        """Acknowledge the frame with this stamp; other stamps are ignored."""
        with self._changed:
            if stamp_ns == self._pending:
                self._pending = None
                self._changed.notify_all()

    def stop(self) -> None:
        """End every wait, now and later."""
        with self._changed:
            self._stopped = True
            self._changed.notify_all()
