"""Subscriptions with the quality of service of their publishers."""

from __future__ import annotations

import pytest

pytest.importorskip("rclpy", reason="needs ROS 2 (rclpy)")

from node_peer import wait_until
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node
from rclpy.parameter import Parameter
from rclpy.qos import DurabilityPolicy, QoSProfile, ReliabilityPolicy
from std_msgs.msg import String

from ros_matching.nodes.common.endpoints import SensorSubscription
from ros_matching.nodes.common.problems import Problem, ProblemLog
from ros_matching.nodes.common.spinning import spinning

pytestmark = pytest.mark.ros

RELIABLE = QoSProfile(depth=1, reliability=ReliabilityPolicy.RELIABLE)
BEST_EFFORT = QoSProfile(depth=1, reliability=ReliabilityPolicy.BEST_EFFORT)
LATCHED = QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL)


@pytest.fixture
def subscribe(context):
    """Subscribe to ``topic`` with these overrides; yields (subscription, messages, publisher, problems)."""
    executor = SingleThreadedExecutor(context=context)
    peer = Node("camera", namespace="front", context=context)

    def start(latched=False, **overrides):
        parameters = [
            Parameter(f"qos_overrides./topic.subscription.{name}", value=value) for name, value in overrides.items()
        ]
        node = Node("sample", context=context, parameter_overrides=parameters)
        problems, came = ProblemLog(lambda text: None, lambda text: None), []
        subscription = SensorSubscription(
            node, String, "topic", lambda msg: came.append(msg.data), problems, latched=latched
        )
        executor.add_node(node)
        return subscription, came, peer, problems

    with spinning(executor, peer):
        yield start


def assert_arrives(publisher, came, text):
    def sent_again():
        publisher.publish(String(data=text))
        return text in came

    wait_until(sent_again, f"{text} did not come")


def test_it_is_reliable_as_long_as_every_publisher_is(subscribe):
    subscription, came, peer, _ = subscribe()
    assert subscription.is_reliable
    first = peer.create_publisher(String, "/topic", RELIABLE)
    assert_arrives(first, came, "first")
    second = peer.create_publisher(String, "/topic", BEST_EFFORT)
    wait_until(lambda: not subscription.is_reliable)
    assert_arrives(second, came, "second")
    assert_arrives(first, came, "first again")
    assert subscription.publishers == ["/front/camera", "/front/camera"]
    peer.destroy_publisher(second)
    wait_until(lambda: subscription.is_reliable)
    assert_arrives(first, came, "first once more")


def test_it_asks_for_what_was_sent_before_only_if_all_offer_that(subscribe):
    subscription, came, peer, _ = subscribe(latched=True)
    peer.create_publisher(String, "/topic", LATCHED).publish(String(data="before"))
    wait_until(lambda: "before" in came)
    ordinary = peer.create_publisher(String, "/topic", RELIABLE)
    assert_arrives(ordinary, came, "now")
    assert subscription.is_reliable


@pytest.mark.parametrize(("override", "offered"), [("best_effort", RELIABLE), ("reliable", RELIABLE)])
def test_an_override_takes_precedence(subscribe, override, offered):
    subscription, came, peer, _ = subscribe(reliability=override)
    assert_arrives(peer.create_publisher(String, "/topic", offered), came, "sent")
    subscription.match_publishers()
    assert subscription.is_overridden
    assert subscription.is_reliable == (override == "reliable")


def test_an_override_that_no_publisher_fits_is_reported(subscribe):
    subscription, _, peer, problems = subscribe(reliability="reliable")
    peer.create_publisher(String, "/topic", BEST_EFFORT)
    wait_until(lambda: "qos_overrides./topic.subscription.reliability" in problems.present().get(Problem.QOS, ""))
    assert subscription.is_reliable


def test_it_is_quiet_once_destroyed(subscribe):
    subscription, _, peer, _ = subscribe()
    subscription.destroy()
    subscription.destroy()
    peer.create_publisher(String, "/topic", BEST_EFFORT)
    subscription.match_publishers()
    assert not subscription.is_reliable
