"""Subscriptions with the quality of service of their publishers, and services that report the reason of a failure."""

from __future__ import annotations

import threading
import traceback
from collections.abc import Callable
from typing import Any

from rclpy.callback_groups import CallbackGroup
from rclpy.node import Node
from rclpy.qos import DurabilityPolicy, QoSPolicyKind, QoSProfile, ReliabilityPolicy, qos_policy_name_from_kind
from rclpy.qos_overriding_options import QoSOverridingOptions
from rclpy.subscription import Subscription

from ros_matching.errors import NodeError, RosMatchingError
from ros_matching.nodes.common.problems import Problem, ProblemLog

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
_ALL = (QoSPolicyKind.HISTORY, QoSPolicyKind.DEPTH, QoSPolicyKind.RELIABILITY)


def check_overrides(node: Node) -> None:
    """Raise ``NodeError`` for a ``qos_overrides`` parameter that rclpy would refuse when the topic is created.

    rclpy has no public access to parameters that were given and not declared.
    """
    for name, parameter in node._parameter_overrides.items():
        if name.startswith(_PREFIX):
            reason = _override_error(name, parameter.value)
            if reason:
                raise NodeError(f"parameter {name} cannot be used: {reason}")


def _override_error(name: str, value: object) -> str:
    topic, *rest = name.removeprefix(_PREFIX).rsplit(".", 2)
    if len(rest) != 2 or not topic.startswith("/") or rest[0] not in ("subscription", "publisher"):
        return "its name must be qos_overrides./full/topic.subscription.POLICY, or publisher in place of subscription"
    policy = rest[1]
    if policy == "depth":
        # Excludes bool, a subclass of int.
        if type(value) is int and 0 < value <= _LARGEST_DEPTH:
            return ""
        return f"depth must be a whole number from 1 to {_LARGEST_DEPTH}, got {value!r}"
    if policy not in _CHOICES:
        return f"there is no policy {policy!r} to override; there are: depth, {', '.join(_CHOICES)}"
    if isinstance(value, str) and value.lower() in _CHOICES[policy]:
        return ""
    return f"{policy} must be one of {', '.join(_CHOICES[policy])}, got {value!r}"


def incompatibility_events(node: Node, topic: str, problems: ProblemLog) -> SubscriptionEventCallbacks:
    """Return event callbacks that report a publisher with an incompatible offer, with the remedy."""
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


def change_events(call: Callable[[], None]) -> SubscriptionEventCallbacks:
    """Return event callbacks that call a function when a publisher appears, disappears or does not match."""
    try:
        return SubscriptionEventCallbacks(incompatible_qos=lambda event: call(), matched=lambda event: call())
    except TypeError:  # Humble has no event for appearing or disappearing publishers
        return SubscriptionEventCallbacks(incompatible_qos=lambda event: call())


class SensorSubscription:
    """Subscription, keep last ``depth``, that is recreated when the offer of its publishers changes.

    It is reliable if every publisher is, and best effort otherwise: best effort loses most large images even on one
    machine, and a reliable subscription gets nothing from a best-effort publisher. With ``latched`` it also requests
    earlier messages if every publisher offers them. ``qos_overrides`` parameters take precedence.
    """

    def __init__(
        self,
        node: Node,
        message_type: type,
        topic: str,
        callback: Callable,
        problems: ProblemLog,
        *,
        depth: int = 1,
        latched: bool = False,
    ) -> None:
        self._node = node
        self._message_type = message_type
        self._topic = topic
        self._callback = callback
        self._problems = problems
        self._depth = depth
        self._may_be_latched = latched
        self._lock = threading.Lock()
        self.topic_name = node.resolve_topic_name(topic)
        override = f"qos_overrides.{self.topic_name}.subscription.reliability"
        self.is_overridden = override in node._parameter_overrides  # no public access to parameters before declaration
        # An event must not destroy its own subscription: it triggers the executor, which calls ``match_publishers``.
        self._changed = node.create_guard_condition(self.match_publishers)
        # Reliable until a best-effort publisher is found: a working connection is not interrupted.
        self._offer = self._offered_qos() or (ReliabilityPolicy.RELIABLE, DurabilityPolicy.VOLATILE)
        self._subscription: Subscription | None = self._create(*self._offer)

    @property
    def publishers(self) -> list[str]:
        """Full node names of the publishers of the topic, one per publisher."""
        return sorted(
            f"{info.node_namespace.rstrip('/')}/{info.node_name}"
            for info in self._node.get_publishers_info_by_topic(self.topic_name)
        )

    @property
    def is_reliable(self) -> bool:
        """True if lost images are sent again."""
        with self._lock:
            subscription = self._subscription
            return subscription is not None and subscription.qos_profile.reliability == ReliabilityPolicy.RELIABLE

    def match_publishers(self) -> None:
        """Recreate the subscription if the publishers' offer has changed; called in the executor's thread."""
        offer = self._offered_qos()
        with self._lock:
            if self._subscription is None or offer is None or offer == self._offer:
                return
            self._offer = None  # if the creation fails, the next call retries
            self._node.destroy_subscription(self._subscription)
            self._subscription = self._create(*offer)
            self._offer = offer

    def destroy(self) -> None:
        """Remove the subscription from the node."""
        with self._lock:
            if self._subscription is not None:
                self._node.destroy_subscription(self._subscription)
                self._node.destroy_guard_condition(self._changed)
                self._subscription = None

    def _offered_qos(self) -> tuple[ReliabilityPolicy, DurabilityPolicy] | None:
        """Return reliability and durability that every publisher offers; ``None`` without a publisher."""
        profiles = [info.qos_profile for info in self._node.get_publishers_info_by_topic(self.topic_name)]
        if not profiles:
            return None
        reliable = all(profile.reliability == ReliabilityPolicy.RELIABLE for profile in profiles)
        latched = self._may_be_latched and all(p.durability == DurabilityPolicy.TRANSIENT_LOCAL for p in profiles)
        return (
            ReliabilityPolicy.RELIABLE if reliable else ReliabilityPolicy.BEST_EFFORT,
            DurabilityPolicy.TRANSIENT_LOCAL if latched and reliable else DurabilityPolicy.VOLATILE,
        )

    def _create(self, reliability: ReliabilityPolicy, durability: DurabilityPolicy) -> Subscription:
        qos = QoSProfile(depth=self._depth, reliability=reliability, durability=durability)
        # A declared reliability parameter would keep the first offer.
        kinds = _ALL if self.is_overridden else _ALL[:2]
        return self._node.create_subscription(
            self._message_type,
            self._topic,
            self._callback,
            qos,
            event_callbacks=(
                incompatibility_events(self._node, self._topic, self._problems)
                if self.is_overridden
                else change_events(self._changed.trigger)
            ),
            qos_overriding_options=QoSOverridingOptions(kinds),
        )


def create_service(
    node: Node,
    service_type: type,
    name: str,
    action: Callable[[Any], str | dict[str, Any]],
    group: CallbackGroup | None = None,
) -> None:
    """Create a service that responds with ``success`` and ``message``: the result of ``action``, or its error.

    ``action`` returns the message, or all fields of the response by name.
    """

    def answer(request: Any, response: Any) -> Any:
        try:
            result = action(request)
            for field, value in ({"message": result} if isinstance(result, str) else result).items():
                setattr(response, field, value)
            response.success = True
        except RosMatchingError as error:
            response.success, response.message = False, str(error)
        except Exception as error:  # an exception in a service would end the executor and the process
            node.get_logger().error(f"the service {name} failed:\n{traceback.format_exc()}")
            response.success = False
            response.message = f"the service failed ({type(error).__name__}: {error}); please report this"
        return response

    node.create_service(service_type, name, answer, callback_group=group)
