"""ROS contexts, background executors, and isolated ROS graphs.

An isolated graph is limited to this machine, in an unused domain.
"""

from __future__ import annotations

import contextlib
import logging
import os
import random
import socket
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import rclpy
from rclpy.exceptions import InvalidHandle
from rclpy.executors import Executor, ExternalShutdownException
from rclpy.node import Node

from ros_matching.errors import NodeError

_LOG = logging.getLogger(__name__)
_POLL_S = 0.1
_PORTS_PER_DOMAIN = 250


@contextlib.contextmanager
def ros_context(args: list[str] | None = None, **options: Any) -> Iterator[None]:
    """Context manager of ``rclpy.init`` with these arguments, and of the shutdown unless a signal has done it.

    Raises ``NodeError`` for invalid ROS arguments.
    """
    try:
        rclpy.init(args=args, **options)
    except RuntimeError as error:
        given = " ".join(sys.argv[1:] if args is None else args)
        raise NodeError(f"ROS cannot be started with the arguments {given!r}: {error}") from error
    try:
        yield
    finally:
        if rclpy.ok():  # try_shutdown is not in Humble
            rclpy.shutdown()


@contextlib.contextmanager
def spinning(executor: Executor, *nodes: Node) -> Iterator[None]:
    """Context manager that spins nodes in a thread, and destroys them at the end.

    An exception in a callback shuts the context down, which ends all waiting for the nodes, and is raised at the end
    of the block.
    """
    for node in nodes:
        executor.add_node(node)
    stopping = threading.Event()
    failures: list[Exception] = []
    thread = threading.Thread(target=_spin, args=(executor, stopping, failures), name="executor", daemon=True)
    thread.start()
    try:
        yield
    finally:
        stopping.set()
        thread.join()
        executor.shutdown()
        _finish_callbacks(executor)
        _drop_failures_of_the_end(executor)
        for node in nodes:
            node.destroy_node()
        if failures:
            raise failures[0]


def _finish_callbacks(executor: Executor) -> None:
    """Wait for running callbacks, which use the nodes; a MultiThreadedExecutor of Jazzy does not."""
    pool = getattr(executor, "_executor", None)
    if isinstance(pool, ThreadPoolExecutor):
        pool.shutdown(wait=True)


def _drop_failures_of_the_end(executor: Executor) -> None:
    """Retrieve exceptions of callbacks that met a destroyed publisher or subscription during the shutdown.

    Otherwise rclpy prints them when the tasks are collected, after the last output of the process.
    """
    tasks = [task for task, *_ in getattr(executor, "_tasks", ())] + list(getattr(executor, "_futures", ()))
    for task in tasks:
        error = task.exception() if task.done() else None
        if error is not None and not isinstance(error, InvalidHandle):
            _LOG.error("a callback failed while its node ended", exc_info=error)


def _spin(executor: Executor, stopping: threading.Event, failures: list[Exception]) -> None:
    """Spin until stopped; Jazzy's executors raise if they are shut down while they wait.

    They also raise if another thread destroys a publisher or subscription while they collect entities. The next round
    works without it.
    """
    try:
        while not stopping.is_set() and executor.context.ok():
            with contextlib.suppress(InvalidHandle):
                executor.spin_once(timeout_sec=_POLL_S)
    except ExternalShutdownException:
        pass
    except Exception as error:
        failures.append(error)
        executor.context.try_shutdown()


# Above 101 the ports of DDS collide with the ephemeral ports of Linux.
_DOMAINS = range(1, 102)

# RTPS 2.5, 9.6.2.3: the port of the first participant's discovery is 7400 + 250 domain + 10; 2 to 9 are not used.
_FIRST_PORT = 7410
_RESERVATION_PORT = 7405
_reservations: list[socket.socket] = []


def isolate(domain_id: int | None = None) -> int:
    """Limit ROS contexts created from now on, here and in child processes, to this machine and this domain.

    Without ``domain_id``, a free domain is taken. It is reserved until this process ends or calls this again: no other
    process gets it from this function, also before the first ROS context in it.
    """
    while _reservations:
        _reservations.pop().close()
    domain_id = _reserve_domain() if domain_id is None else domain_id
    os.environ["ROS_DOMAIN_ID"] = str(domain_id)
    if os.environ.get("ROS_DISTRO") == "humble":
        os.environ["ROS_LOCALHOST_ONLY"] = "1"
    else:
        os.environ.pop("ROS_LOCALHOST_ONLY", None)  # would override what follows
        os.environ["ROS_AUTOMATIC_DISCOVERY_RANGE"] = "LOCALHOST"
    os.environ.pop("ROS_STATIC_PEERS", None)
    return domain_id


def _reserve_domain() -> int:
    for domain_id in random.sample(_DOMAINS, len(_DOMAINS)):
        reservation = _bound(_RESERVATION_PORT, domain_id)
        if reservation is None:
            continue
        probe = _bound(_FIRST_PORT, domain_id)
        if probe is None:  # the domain is in use on this machine
            reservation.close()
            continue
        probe.close()
        _reservations.append(reservation)
        return domain_id
    raise NodeError(f"no ROS domain from {_DOMAINS[0]} to {_DOMAINS[-1]} is free on this machine; choose one yourself")


def _bound(port: int, domain_id: int) -> socket.socket | None:
    """Return a UDP socket on this port of the domain, or ``None`` if another has it."""
    bound = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    try:
        bound.bind(("", port + _PORTS_PER_DOMAIN * domain_id))
    except OSError:
        bound.close()
        return None
    return bound
