"""The client of a lifecycle node copes with requests and answers that get lost while processes find each other."""

from __future__ import annotations

import threading

import pytest

pytest.importorskip("rclpy", reason="needs ROS 2 (rclpy)")

from lifecycle_msgs.msg import State
from lifecycle_msgs.srv import ChangeState, GetState
from rclpy.executors import MultiThreadedExecutor
from rclpy.node import Node

from ros_matching.errors import NodeError
from ros_matching.nodes.common import lifecycle
from ros_matching.nodes.common.lifecycle import LifecycleClient
from ros_matching.nodes.common.spinning import spinning

pytestmark = pytest.mark.ros

TIMEOUT_S = 60.0
GOALS = {1: State.PRIMARY_STATE_INACTIVE, 3: State.PRIMARY_STATE_ACTIVE, 4: State.PRIMARY_STATE_INACTIVE}
STARTS = {1: State.PRIMARY_STATE_UNCONFIGURED, 3: State.PRIMARY_STATE_INACTIVE, 4: State.PRIMARY_STATE_ACTIVE}


class Answer:
    """A future that is answered at once, later by ``set``, or never."""

    def __init__(self, result=None) -> None:
        self._result, self._calls = result, []

    def done(self) -> bool:
        return self._result is not None

    def result(self):
        return self._result

    def add_done_callback(self, call) -> None:
        if self.done():
            call(self)
        self._calls.append(call)


class Lossy:
    """A lifecycle node behind a network that loses some requests and some answers, by their numbers."""

    def __init__(self, requests=(), answers=()) -> None:
        self.state, self.sent = State.PRIMARY_STATE_UNCONFIGURED, 0
        self._lost_requests, self._lost_answers = requests, answers

    def change(self, request) -> Answer:
        self.sent += 1
        if self.sent in self._lost_requests:
            return Answer()
        transition = request.transition.id
        success = self.state == STARTS[transition]
        if success:
            self.state = GOALS[transition]
        return Answer() if self.sent in self._lost_answers else Answer(ChangeState.Response(success=success))


@pytest.fixture
def client_of(context, monkeypatch):
    """Make a client of a lossy node; every third question for its state is lost, too."""
    monkeypatch.setattr(lifecycle, "_ANSWER_S", 0.1)

    def make(lossy: Lossy) -> LifecycleClient:
        client = LifecycleClient(Node("asker", context=context), "target")
        asked = []

        def get_state(request) -> Answer:
            asked.append(request)
            return Answer() if len(asked) % 3 == 1 else Answer(GetState.Response(current_state=State(id=lossy.state)))

        for service, call in ((client._get_state, get_state), (client._change_state, lossy.change)):
            monkeypatch.setattr(service, "service_is_ready", lambda: True)
            monkeypatch.setattr(service, "call_async", call)
        return client

    return make


@pytest.mark.parametrize("lost", [{}, {"requests": (1,)}, {"answers": (1,)}, {"requests": (1, 3), "answers": (2, 4)}])
def test_bringing_up_tolerates_lost_messages(client_of, lost):
    lossy = Lossy(**lost)
    client = client_of(lossy)
    assert client.bring_up(TIMEOUT_S)
    assert lossy.state == State.PRIMARY_STATE_ACTIVE
    assert client.wait_until_active(TIMEOUT_S)
    assert client.deactivate()
    assert lossy.state == State.PRIMARY_STATE_INACTIVE


def test_a_refusal_is_an_error(client_of):
    lossy = Lossy()
    lossy.state = State.PRIMARY_STATE_FINALIZED
    with pytest.raises(NodeError, match="refused to configure"):
        client_of(lossy).bring_up(TIMEOUT_S)


def test_a_silent_node_is_given_up(client_of):
    with pytest.raises(NodeError, match="does not configure"):
        client_of(Lossy(requests=range(1000))).bring_up(0.5)


def test_stopping_ends_a_wait(context):
    stopped = threading.Event()
    node = Node("asker", context=context)
    client = LifecycleClient(node, "nobody", stopped=stopped.is_set)
    threading.Timer(0.1, stopped.set).start()
    with spinning(MultiThreadedExecutor(context=context), node):
        assert not client.wait_until_active(float("inf"))
