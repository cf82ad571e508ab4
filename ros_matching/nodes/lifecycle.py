"""Driving a lifecycle node in another process, through the services that every such node has."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable
from typing import Any

from lifecycle_msgs.msg import State, Transition
from lifecycle_msgs.srv import ChangeState, GetState
from rclpy.client import Client
from rclpy.node import Node

from ros_matching.errors import NodeError

_POLL_S = 0.05
_BRING_UP = ((Transition.TRANSITION_CONFIGURE, "configure"), (Transition.TRANSITION_ACTIVATE, "activate"))


class LifecycleClient:
    """Asks for and changes the state of the lifecycle node called ``target``.

    The node it is built on must be spun in another thread. An answered call also proves that the target's process knows
    every publisher and subscription this node had before the client: DDS announces a participant's endpoints in order.
    """

    def __init__(self, node: Node, target: str, *, stopped: Callable[[], bool] = lambda: False) -> None:
        """``stopped`` is asked many times a second; once it is true, every method returns False at once."""
        self._node = node
        self._target = target
        self._stopped = stopped
        self._get_state = node.create_client(GetState, f"{target}/get_state")
        self._change_state = node.create_client(ChangeState, f"{target}/change_state")

    def bring_up(self, timeout_s: float) -> bool:
        """Configure and activate the target; ``NodeError`` if it refuses or does not answer in time."""
        deadline = time.monotonic() + timeout_s
        return all(self._change(transition, name, deadline) for transition, name in _BRING_UP)

    def deactivate(self) -> bool:
        """Deactivate the target, which first finishes its work, as long as that takes; ``NodeError`` if it refuses."""
        return self._change(Transition.TRANSITION_DEACTIVATE, "deactivate", math.inf)

    def wait_until_active(self, timeout_s: float) -> bool:
        """Block until the target is active; ``NodeError`` with its last state if that takes too long."""
        deadline = time.monotonic() + timeout_s
        while (response := self._call(self._get_state, GetState.Request(), deadline)) is not None:
            if response.current_state.id == State.PRIMARY_STATE_ACTIVE:
                return True
            if time.monotonic() > deadline:
                raise NodeError(
                    f"{self._target} is still {response.current_state.label} after {timeout_s:g} s; activate it "
                    "(launch/vo.launch.py does, or `ros2 lifecycle set`)"
                )
            time.sleep(_POLL_S)
        return False

    def _change(self, transition: int, name: str, deadline: float) -> bool:
        request = ChangeState.Request(transition=Transition(id=transition))
        response = self._call(self._change_state, request, deadline)
        if response is not None and not response.success:
            raise NodeError(f"{self._target} refused to {name}; its log tells why")
        return response is not None

    def _call(self, client: Client, request: Any, deadline: float) -> Any | None:
        """The answer of a service, or ``None`` when stopped."""
        while not client.service_is_ready():
            if self._gave_up(deadline, f"there is no service {client.srv_name}; is the node running, under that name?"):
                return None
            time.sleep(_POLL_S)
        answered = threading.Event()
        future = client.call_async(request)
        future.add_done_callback(lambda _: answered.set())
        while not answered.wait(_POLL_S):
            if self._gave_up(deadline, f"service {client.srv_name} does not answer; its log may tell why"):
                return None
        return future.result()

    def _gave_up(self, deadline: float, problem: str) -> bool:
        if time.monotonic() > deadline:
            raise NodeError(f"gave up waiting for {self._target}: {problem}")
        return self._stopped() or not self._node.context.ok()
