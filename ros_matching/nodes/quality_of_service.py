"""Subscriptions that tell when their quality of service keeps messages from coming."""

from __future__ import annotations

from collections.abc import Callable

from rclpy.node import Node
from rclpy.qos import qos_policy_name_from_kind

from ros_matching.nodes.problems import Problem, ProblemLog

try:
    from rclpy.event_handler import SubscriptionEventCallbacks
except ImportError:  # Humble
    from rclpy.qos_event import SubscriptionEventCallbacks


def telling_incompatibility(node: Node, topic: str, problems: ProblemLog) -> SubscriptionEventCallbacks:
    """Event callbacks for a subscription that report a publisher whose offer does not fit, with the remedy."""
    full_name = node.resolve_topic_name(topic)

    def report(event) -> None:
        policy = qos_policy_name_from_kind(event.last_policy_kind)
        problems.report(
            Problem.QOS,
            f"a publisher on {full_name} offers an incompatible quality of service ({policy}), so nothing comes from "
            f"it; set the parameter qos_overrides.{full_name}.subscription.{policy.split('_')[0].lower()} to what it "
            "offers (ros2 topic info -v)",
        )

    return SubscriptionEventCallbacks(incompatible_qos=report)


def on_change(call: Callable[[], None]) -> SubscriptionEventCallbacks:
    """Event callbacks for a subscription that follows its publishers: ``call`` when one comes, goes or does not fit."""
    try:
        return SubscriptionEventCallbacks(incompatible_qos=lambda event: call(), matched=lambda event: call())
    except TypeError:  # Humble has no event for a publisher that comes or goes
        return SubscriptionEventCallbacks(incompatible_qos=lambda event: call())
