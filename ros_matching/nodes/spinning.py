"""Serving a node's callbacks in the background, while the caller's thread does something in order."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator

from rclpy.executors import Executor, ExternalShutdownException
from rclpy.node import Node


@contextlib.contextmanager
def spinning(executor: Executor, *nodes: Node) -> Iterator[None]:
    """Spin the nodes in a thread of its own until the block is left, then destroy them."""
    for node in nodes:
        executor.add_node(node)
    thread = threading.Thread(target=_spin, args=(executor,), name="executor", daemon=True)
    thread.start()
    try:
        yield
    finally:
        executor.shutdown()
        thread.join()
        for node in nodes:
            node.destroy_node()


def _spin(executor: Executor) -> None:
    with contextlib.suppress(ExternalShutdownException):
        executor.spin()
