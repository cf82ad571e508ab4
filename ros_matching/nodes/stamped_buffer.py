"""Messages of one topic by stamp, to be found by those of another."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Sized
from typing import Generic, Protocol, TypeVar

from std_msgs.msg import Header

from ros_matching.nodes.conversions import stamp_ns_from_msg


class _Stamped(Protocol):
    header: Header
    data: Sized


MessageType = TypeVar("MessageType", bound=_Stamped)

_STAYS_BACK = 3
_MOST_BYTES = 2**28
_ALIVE_S = 1.0  # a topic that was silent for longer is not waited for


class StampedBuffer(Generic[MessageType]):
    """The newest messages; ``put`` is called by one thread, ``find`` by another.

    A message without a time (zero or negative) is left out. A single odd stamp does no harm: it takes one place.
    """

    def __init__(self, capacity: int = 10) -> None:
        self._messages: deque[MessageType] = deque(maxlen=capacity)
        self._arrived = threading.Condition()
        self._last_arrival_s = -float("inf")
        self._behind = 0  # messages in a row that lie before the newest

    def put(self, msg: MessageType) -> None:
        """Take a message. Where several in a row lie before the newest, as a replay sends them, that time is over."""
        stamp_ns = _stamp_ns(msg)
        if stamp_ns <= 0:
            return
        with self._arrived:
            newest_ns = max(map(_stamp_ns, self._messages), default=stamp_ns)
            self._behind = self._behind + 1 if stamp_ns < newest_ns else 0
            if self._behind >= _STAYS_BACK:
                earlier = [kept for kept in self._messages if _stamp_ns(kept) < stamp_ns]
                self._messages = deque(earlier, maxlen=self._messages.maxlen)
                self._behind = 0
            self._messages.append(msg)
            while len(self._messages) > 1 and sum(len(kept.data) for kept in self._messages) > _MOST_BYTES:
                self._messages.popleft()
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
