"""The other end of a node's topics and services."""

from __future__ import annotations

import threading
import time
from collections import defaultdict
from collections.abc import Callable, Mapping
from typing import Any

from lifecycle_msgs.srv import ChangeState
from rclpy.node import Node
from rclpy.qos import QoSProfile
from std_srvs.srv import SetBool, Trigger

TIMEOUT_S = 30.0


class Peer(Node):
    """Keeps all that a node publishes on these topics, and calls its services."""

    def __init__(self, context, target: str, topics: Mapping[str, type], qos: Mapping[str, QoSProfile] = {}) -> None:
        super().__init__("peer", context=context)
        self.received: defaultdict[str, list] = defaultdict(list)
        self._target = target
        self._arrival = threading.Condition()
        for topic, message_type in topics.items():
            keep = lambda msg, topic=topic: self._keep(topic, msg)  # noqa: E731
            self.create_subscription(message_type, topic, keep, qos.get(topic, 100))

    def _keep(self, topic: str, msg: Any) -> None:
        with self._arrival:
            self.received[topic].append(msg)
            self._arrival.notify_all()

    def wait(self, condition: Callable[[], Any], what: str) -> Any:
        """Wait until ``condition`` is true, and return its value."""
        with self._arrival:
            assert self._arrival.wait_for(condition, TIMEOUT_S), f"{what} did not come; got {self.summary()}"
            return condition()

    def summary(self) -> dict[str, int]:
        return {topic: len(messages) for topic, messages in self.received.items()}

    def wait_until_matched(self, *publishers: Any) -> None:
        """Wait until the node, which is active, has found these publishers, and this peer the node's."""
        wait_until(
            lambda: (
                all(publisher.get_subscription_count() for publisher in publishers)
                and all(self.count_publishers(topic) for topic in self._topics())
            ),
            f"{self._target} was not discovered",
        )

    def _topics(self) -> list[str]:
        return [s.topic_name for s in self.subscriptions if "parameter" not in s.topic_name]

    def last(self, topic: str, count: int = 1) -> Any:
        """The newest message of a topic, once there are ``count``."""
        return self.wait(lambda: len(self.received[topic]) >= count and self.received[topic][-1], topic)

    def diagnosis(self, words: str) -> Any:
        """The first diagnostic status from now on whose message has these words."""
        start = len(self.received["/diagnostics"])
        return self.wait(
            lambda: next(
                (a.status[0] for a in self.received["/diagnostics"][start:] if words in a.status[0].message), None
            ),
            f"a diagnosis with {words!r}",
        )

    def call(self, name: str, request: Any = None) -> Any:
        """Call a service of the node."""
        service_type = {SetBool.Request: SetBool, ChangeState.Request: ChangeState}.get(type(request), Trigger)
        client = self.create_client(service_type, f"{self._target}/{name}")
        assert client.wait_for_service(TIMEOUT_S)
        done = threading.Event()
        future = client.call_async(request or Trigger.Request())
        future.add_done_callback(lambda _: done.set())
        assert done.wait(TIMEOUT_S)
        return future.result()


def figure(diagnosis: Any, key: str) -> str:
    """A figure of a diagnostic status."""
    return next(pair.value for pair in diagnosis.values if pair.key == key)


def wait_until(condition: Callable[[], Any], what: str = "it did not happen") -> None:
    """Wait for something that nothing announces."""
    deadline = time.monotonic() + TIMEOUT_S
    while not condition():
        assert time.monotonic() < deadline, what
        time.sleep(0.005)
