"""Executables of the lifecycle nodes: one node in a process of its own, from its start to its exit code."""

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
    """Run a node until a signal asks it to stop, and return the exit code.

    The first signal lets the node finish its work. The second one ends the process at once, with what would be lost
    saved; a third one does not even wait for that. Exit codes: 0 after a signal, 1 when the node could not start, or,
    with ``autostart``, not be configured and activated, or when its work could not be saved. The reason comes last.
    """
    end_with_parent()
    try:
        # ROS's own handling of signals would take the context away before the node is taken down in order.
        with StopSignals() as signals, ros_context(args, signal_handler_options=SignalHandlerOptions.NO):
            node = make()
            with spinning(make_executor(), node):
                _live(node, signals)
    except RosMatchingError as error:
        print(f"{make.NAME}: {error}", file=sys.stderr, flush=True)
        return 1
    return 0


def _live(node: ManagedNode, signals: StopSignals) -> None:
    """Bring the node up if it starts by itself, wait for a signal, and let the node finish."""
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
    """End the process from the thread of the signals, whatever the others are doing."""
    failure = node.close_at_once()
    if failure:
        print(f"{node.get_name()}: {failure}", file=sys.stderr)
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(1 if failure else 0)
