"""Messages of one topic by stamp, to be found by those of another."""

from __future__ import annotations

import threading
import time
from collections import deque
from typing import Generic, Protocol, TypeVar

from std_msgs.msg import Header

from ros_matching.nodes.conversions import stamp_ns_from_msg


class _Stamped(Protocol):
    header: Header


MessageType = TypeVar("MessageType", bound=_Stamped)

_ALIVE_S = 1.0  # a topic that was silent for longer is not waited for


class StampedBuffer(Generic[MessageType]):
    """The newest messages; ``put`` is called by one thread, ``find`` by another."""

    def __init__(self, capacity: int = 10) -> None:
        self._messages: deque[MessageType] = deque(maxlen=capacity)
        self._arrived = threading.Condition()
        self._last_arrival_s = -float("inf")

    def put(self, msg: MessageType) -> None:
        """Take a message; one that lies before the last in time begins anew, as a replay does."""
        with self._arrived:
            if self._messages and _stamp_ns(msg) < _stamp_ns(self._messages[-1]):
                self._messages.clear()
            self._messages.append(msg)
            self._last_arrival_s = time.monotonic()
            self._arrived.notify_all()

    def find(self, stamp_ns: int, tolerance_s: float, wait_s: float) -> MessageType | None:
        """The message nearest to a stamp, within the tolerance; waits a little for it while the topic is alive."""
        tolerance_ns = round(tolerance_s * 1e9)

        def nearest() -> MessageType | None:
            found = min(self._messages, key=lambda msg: abs(_stamp_ns(msg) - stamp_ns), default=None)
            return found if found is not None and abs(_stamp_ns(found) - stamp_ns) <= tolerance_ns else None

        def is_settled() -> bool:
            newest = _stamp_ns(self._messages[-1]) if self._messages else stamp_ns
            return nearest() is not None or newest > stamp_ns + tolerance_ns

        with self._arrived:
            if time.monotonic() - self._last_arrival_s < _ALIVE_S:
                self._arrived.wait_for(is_settled, wait_s)
            return nearest()


def _stamp_ns(msg: _Stamped) -> int:
    return stamp_ns_from_msg(msg.header.stamp)
