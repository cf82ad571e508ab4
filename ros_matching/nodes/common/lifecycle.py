"""Client of a lifecycle node in another process, and a guard against invalid transitions in rclpy."""

from __future__ import annotations

import math
import threading
import time
import traceback
from collections.abc import Callable
from typing import Any, NamedTuple

from lifecycle_msgs.msg import State, Transition
from lifecycle_msgs.srv import ChangeState, GetState
from rclpy.client import Client
from rclpy.impl.implementation_singleton import rclpy_implementation
from rclpy.lifecycle import LifecycleNode
from rclpy.node import Node
from rclpy.task import Future

from ros_matching.errors import NodeError

_POLL_S = 0.05
# Discovery is not simultaneous in both processes: the first request or response may be lost.
_ANSWER_S = 2.0


class _Step(NamedTuple):
    transition: int
    name: str
    start: int
    goal: int


_CONFIGURE = _Step(
    Transition.TRANSITION_CONFIGURE, "configure", State.PRIMARY_STATE_UNCONFIGURED, State.PRIMARY_STATE_INACTIVE
)
_ACTIVATE = _Step(Transition.TRANSITION_ACTIVATE, "activate", State.PRIMARY_STATE_INACTIVE, State.PRIMARY_STATE_ACTIVE)
_DEACTIVATE = _Step(
    Transition.TRANSITION_DEACTIVATE, "deactivate", State.PRIMARY_STATE_ACTIVE, State.PRIMARY_STATE_INACTIVE
)


class LifecycleClient:
    """Queries and changes the state of the lifecycle node called ``target``.

    The node that it uses must be spun in another thread. An answered call also proves that the target's process knows
    every publisher and subscription that this node had before the client: DDS announces endpoints in order.
    """

    def __init__(self, node: Node, target: str, *, stopped: Callable[[], bool] = lambda: False) -> None:
        """``stopped`` is called many times a second; once it returns True, every method returns False at once."""
        self._node = node
        self._target = target
        self._stopped = stopped
        self._get_state = node.create_client(GetState, f"{target}/get_state")
        self._change_state = node.create_client(ChangeState, f"{target}/change_state")

    def bring_up(self, timeout_s: float) -> bool:
        """Configure and activate the target; ``NodeError`` if it refuses or does not answer in time."""
        deadline = time.monotonic() + timeout_s
        return self._change(_CONFIGURE, deadline) and self._change(_ACTIVATE, deadline)

    def deactivate(self) -> bool:
        """Deactivate the target, which first finishes its work, as long as that takes; ``NodeError`` if it refuses."""
        return self._change(_DEACTIVATE, math.inf)

    def wait_until_active(self, timeout_s: float) -> bool:
        """Block until the target is active; ``NodeError`` with its last state if that takes too long."""
        deadline = time.monotonic() + timeout_s
        while not self._stopped() and self._node.context.ok():
            state = self._state(deadline)
            if state is not None and state.id == State.PRIMARY_STATE_ACTIVE:
                return True
            if time.monotonic() > deadline and not self._stopped():
                label = "silent" if state is None else state.label
                raise NodeError(
                    f"{self._target} is still {label} after {timeout_s:g} s; activate it (launch/vo.launch.py does, "
                    "or `ros2 lifecycle set`)"
                )
            time.sleep(_POLL_S)
        return False

    def _change(self, step: _Step, deadline: float) -> bool:
        """Request a transition. Without an answer, query the state, and repeat the request if it has not changed.

        The target may have received the first request and refuse the second; an answer to either counts.
        """
        request = ChangeState.Request(transition=Transition(id=step.transition))
        futures: list[Future] = []
        is_due = True
        while not self._gave_up(deadline, f"it does not {step.name}; see its log"):
            if is_due:
                future = self._send(self._change_state, request, deadline)
                if future is None:
                    return False
                futures.append(future)
            self._wait_for(futures, min(deadline, time.monotonic() + _ANSWER_S))
            if any(future.result().success for future in futures if future.done()):
                return True
            state = self._state(min(deadline, time.monotonic() + _ANSWER_S))
            if state is not None and state.id == step.goal:
                return True
            if all(future.done() for future in futures):
                raise NodeError(f"{self._target} refused to {step.name}; see its log")
            is_due = state is not None and state.id == step.start
        return False

    def _state(self, deadline: float) -> State | None:
        """Return the state of the target, or ``None`` if it does not answer in time."""
        future = self._send(self._get_state, GetState.Request(), deadline)
        if future is None:
            return None
        self._wait_for([future], min(deadline, time.monotonic() + _ANSWER_S))
        if future.done():
            return future.result().current_state
        self._get_state.remove_pending_request(future)
        return None

    def _send(self, client: Client, request: Any, deadline: float) -> Future | None:
        """Send a request once the service exists; ``None`` if stopped."""
        while not client.service_is_ready():
            if self._gave_up(deadline, f"there is no service {client.srv_name}; is the node running, under that name?"):
                return None
            time.sleep(_POLL_S)
        return client.call_async(request)

    def _wait_for(self, futures: list[Future], until_s: float) -> None:
        """Block until one more answer has arrived, the time is over, or the client is stopped."""
        answered = threading.Event()
        for future in futures:
            if not future.done():
                future.add_done_callback(lambda _: answered.set())
        while not answered.wait(_POLL_S):
            if time.monotonic() > until_s or self._stopped() or not self._node.context.ok():
                return

    def _gave_up(self, deadline: float, problem: str) -> bool:
        if time.monotonic() > deadline:
            raise NodeError(f"gave up waiting for {self._target}: {problem}")
        return self._stopped() or not self._node.context.ok()


def refuse_wrong_transitions(node: LifecycleNode) -> None:
    """Answer a transition that the node's state does not allow with ``success: false``.

    rclpy (seen with Jazzy) raises out of the service callback instead, which ends the executor and the process. A
    second ``ros2 lifecycle set NODE configure`` is enough to trigger that.
    """
    service = node._service_change_state
    change_state = service.callback

    def change_state_or_refuse(request: Any, response: Any) -> Any:
        try:
            return change_state(request, response)
        except rclpy_implementation.RCLError as error:
            node.get_logger().warning(f"a lifecycle transition was refused: {error}")
        except Exception:
            node.get_logger().error(f"a lifecycle transition failed:\n{traceback.format_exc()}")
        response.success = False
        return response

    service.callback = change_state_or_refuse
