"""Executables of the lifecycle nodes: one node in a process, from its start to its exit code."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable

from rclpy.executors import Executor, SingleThreadedExecutor
from rclpy.signals import SignalHandlerOptions

from ros_matching.errors import NodeError, RosMatchingError
from ros_matching.nodes.common.managed_node import ManagedNode
from ros_matching.nodes.common.process import StopSignals, end_with_parent
from ros_matching.nodes.common.spinning import ros_context, spinning

_POLL_S = 0.2


def run_node(
    make: type[ManagedNode],
    args: list[str] | None = None,
    make_executor: Callable[[], Executor] = SingleThreadedExecutor,
) -> int:
    """Run a node until a signal stops it, and return the exit code.

    The first signal lets the node finish its work. The second one saves the results and ends the process at once. A
    third one ends it without saving. Exit codes: 0 after a signal; 1 if the node could not start, if ``autostart``
    could not configure and activate it, or if its work could not be saved. The reason is printed last.
    """
    end_with_parent()
    try:
        # The signal handlers of ROS would destroy the context before the node is shut down in order.
        with StopSignals() as signals, ros_context(args, signal_handler_options=SignalHandlerOptions.NO):
            node = make()
            with spinning(make_executor(), node):
                _run_until_stopped(node, signals)
    except RosMatchingError as error:
        print(f"{make.NAME}: {error}", file=sys.stderr, flush=True)
        return 1
    return 0


def _run_until_stopped(node: ManagedNode, signals: StopSignals) -> None:
    """Bring the node up if ``autostart`` is set, wait for a signal, and let the node finish."""
    signals.on(1, lambda: node.get_logger().info("asked to stop; a second signal (Ctrl-C, SIGTERM) ends at once"))
    signals.on(2, lambda: _end_at_once(node))
    signals.on(3, lambda: os._exit(1))
    if node.get_parameter("autostart").value and not node.bring_up(lambda: signals.count > 0) and not signals.count:
        raise NodeError(node.failure)
    while not signals.wait(_POLL_S) and node.context.ok():  # the executor shuts the context down when it fails
        pass
    if failure := node.close():
        raise NodeError(failure)


def _end_at_once(node: ManagedNode) -> None:
    """End the process from the signal thread, without waiting for other threads."""
    failure = node.close_at_once()
    if failure:
        print(f"{node.get_name()}: {failure}", file=sys.stderr)
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(1 if failure else 0)
