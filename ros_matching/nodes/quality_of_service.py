"""Quality of service: overrides by parameter, and subscriptions that report an incompatible publisher."""

from __future__ import annotations

from collections.abc import Callable

from rclpy.node import Node
from rclpy.qos import qos_policy_name_from_kind

from ros_matching.errors import NodeError
from ros_matching.nodes.problems import Problem, ProblemLog

try:
    from rclpy.event_handler import SubscriptionEventCallbacks
except ImportError:  # Humble
    from rclpy.qos_event import SubscriptionEventCallbacks


_PREFIX = "qos_overrides."
_CHOICES = {
    "reliability": ("reliable", "best_effort", "system_default"),
    "history": ("keep_last", "keep_all", "system_default"),
}
_LARGEST_DEPTH = 10_000


def check_overrides(node: Node) -> None:
    """Raise ``NodeError`` for a ``qos_overrides`` parameter that rclpy would refuse only when a topic is created.

    rclpy has no public access to parameters that were given and not declared.
    """
    for name, parameter in node._parameter_overrides.items():
        if name.startswith(_PREFIX):
            reason = _why_wrong(name, parameter.value)
            if reason:
                raise NodeError(f"parameter {name} cannot be used: {reason}")


def _why_wrong(name: str, value: object) -> str:
    topic, *rest = name.removeprefix(_PREFIX).rsplit(".", 2)
    if len(rest) != 2 or not topic.startswith("/") or rest[0] not in ("subscription", "publisher"):
        return "its name must be qos_overrides./full/topic.subscription.POLICY, or publisher in place of subscription"
    policy = rest[1]
    if policy == "depth":
        # Not a bool, which is an int in Python.
        if type(value) is int and 0 < value <= _LARGEST_DEPTH:
            return ""
        return f"depth must be a whole number from 1 to {_LARGEST_DEPTH}, got {value!r}"
    if policy not in _CHOICES:
        return f"there is no policy {policy!r} to override; there are: depth, {', '.join(_CHOICES)}"
    if isinstance(value, str) and value.lower() in _CHOICES[policy]:
        return ""
    return f"{policy} must be one of {', '.join(_CHOICES[policy])}, got {value!r}"


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
