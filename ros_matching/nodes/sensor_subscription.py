"""Subscriptions to sensors that ask for what the publishers of the topic offer."""

from __future__ import annotations

import threading
from collections.abc import Callable

from rclpy.node import Node
from rclpy.qos import DurabilityPolicy, QoSPolicyKind, QoSProfile, ReliabilityPolicy
from rclpy.qos_overriding_options import QoSOverridingOptions
from rclpy.subscription import Subscription

from ros_matching.nodes.problems import ProblemLog
from ros_matching.nodes.quality_of_service import on_change, telling_incompatibility

_ALL = (QoSPolicyKind.HISTORY, QoSPolicyKind.DEPTH, QoSPolicyKind.RELIABILITY)


class SensorSubscription:
    """A subscription, keep last ``depth``, that is made again when what the publishers offer changes.

    It is reliable when every publisher is, and best effort otherwise: best effort loses most large images even on one
    machine, and a reliable subscription gets nothing from a best-effort publisher. With ``latched`` it also asks for
    what was sent before, when every publisher offers that. ``qos_overrides`` parameters hold.
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
        # An event must not destroy its own subscription: it wakes the executor, which calls ``follow``.
        self._changed = node.create_guard_condition(self.follow)
        # Reliable until a best-effort publisher is found: no connection that works is cut to change it.
        self._offer = self._what_is_offered() or (ReliabilityPolicy.RELIABLE, DurabilityPolicy.VOLATILE)
        self._subscription: Subscription | None = self._create(*self._offer)

    @property
    def publishers(self) -> list[str]:
        """The full names of the nodes that publish the topic, one for each publisher."""
        return sorted(
            f"{info.node_namespace.rstrip('/')}/{info.node_name}"
            for info in self._node.get_publishers_info_by_topic(self.topic_name)
        )

    @property
    def is_reliable(self) -> bool:
        """True if images that are lost on the way are sent again."""
        with self._lock:
            subscription = self._subscription
            return subscription is not None and subscription.qos_profile.reliability == ReliabilityPolicy.RELIABLE

    def follow(self) -> None:
        """Make the subscription again if the publishers offer something else by now; in the executor's thread."""
        offer = self._what_is_offered()
        with self._lock:
            if self._subscription is None or offer is None or offer == self._offer:
                return
            self._offer = None  # if it cannot be made, the next call tries again
            self._node.destroy_subscription(self._subscription)
            self._subscription = self._create(*offer)
            self._offer = offer

    def destroy(self) -> None:
        """Take the subscription off the node."""
        with self._lock:
            if self._subscription is not None:
                self._node.destroy_subscription(self._subscription)
                self._node.destroy_guard_condition(self._changed)
                self._subscription = None

    def _what_is_offered(self) -> tuple[ReliabilityPolicy, DurabilityPolicy] | None:
        """Reliability and durability that every publisher offers; ``None`` while there is no publisher."""
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
        # Declared once, the parameter of the reliability would hold what was offered first.
        kinds = _ALL if self.is_overridden else _ALL[:2]
        return self._node.create_subscription(
            self._message_type,
            self._topic,
            self._callback,
            qos,
            event_callbacks=(
                telling_incompatibility(self._node, self._topic, self._problems)
                if self.is_overridden
                else on_change(self._changed.trigger)
            ),
            qos_overriding_options=QoSOverridingOptions(kinds),
        )
