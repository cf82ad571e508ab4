"""A node is served in the background whatever its other threads do."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from types import SimpleNamespace

import pytest

pytest.importorskip("rclpy", reason="needs ROS 2 (rclpy)")
from rclpy.exceptions import InvalidHandle
from rclpy.executors import MultiThreadedExecutor
from rclpy.node import Node
from rosgraph_msgs.msg import Clock

from ros_matching.errors import NodeError
from ros_matching.nodes.common.spinning import isolate, spinning


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


def test_an_entity_destroyed_during_collection_does_not_end_the_executor():
    executor = Failing()
    with spinning(executor):
        assert executor.went_on.wait(5)


def test_a_callback_that_fails_shuts_the_context_down_and_is_raised():
    executor, shut_down = Failing(), threading.Event()
    executor.context = SimpleNamespace(ok=lambda: True, try_shutdown=shut_down.set)
    executor.spin_once = raise_value_error
    with pytest.raises(ValueError, match="of a callback"), spinning(executor):
        assert shut_down.wait(5)


def raise_value_error(timeout_sec: float) -> None:
    raise ValueError("of a callback")


def test_callbacks_under_way_end_before_their_node_is_destroyed(context):
    node = Node("slow", context=context)
    publisher = node.create_publisher(Clock, "clock", 1)
    began, may_end, published = threading.Event(), threading.Event(), threading.Event()

    def publish_late() -> None:
        began.set()
        assert may_end.wait(30)
        publisher.publish(Clock())
        published.set()

    node.create_timer(0.001, publish_late)
    with spinning(MultiThreadedExecutor(num_threads=2, context=context), node):
        assert began.wait(30)
        threading.Timer(0.3, may_end.set).start()
    assert published.is_set()


ISOLATED_PROCESS = """
import sys
from ros_matching.nodes.common.spinning import isolate
print(isolate(), flush=True)
sys.stdin.read()
"""


def test_a_domain_is_reserved_before_any_ros_context_is_in_it(monkeypatch):
    monkeypatch.setattr(os, "environ", dict(os.environ))
    command = [sys.executable, "-c", ISOLATED_PROCESS]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as other:
        taken = int(other.stdout.readline())
        monkeypatch.setattr("ros_matching.nodes.common.spinning._DOMAINS", [taken])
        with pytest.raises(NodeError, match="no ROS domain"):
            isolate()
        other.stdin.close()
    assert isolate() == taken
    assert isolate() == taken  # its own reservation is given up first
