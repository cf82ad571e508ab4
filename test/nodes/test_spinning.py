"""A node is served in the background whatever its other threads do."""

from __future__ import annotations

import threading
from types import SimpleNamespace

import pytest

pytest.importorskip("rclpy", reason="needs ROS 2 (rclpy)")
from rclpy.exceptions import InvalidHandle

from ros_matching.nodes.spinning import spinning


class Failing:
    """An executor that finds something destroyed in its first round."""

    context = SimpleNamespace(ok=lambda: True)

    def __init__(self) -> None:
        self.rounds, self.went_on = 0, threading.Event()

    def spin_once(self, timeout_sec: float) -> None:
        self.rounds += 1
        if self.rounds == 1:
            raise InvalidHandle("destroyed")
        self.went_on.set()

    def shutdown(self) -> None:
        pass


def test_what_is_destroyed_while_the_executor_gathers_does_not_end_it():
    executor = Failing()
    with spinning(executor):
        assert executor.went_on.wait(5)
