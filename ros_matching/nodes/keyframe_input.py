"""The subscription of ``mapping_node`` to the odometry's keyframes, and what keeps them from coming."""

from __future__ import annotations

from collections.abc import Callable

from rclpy.node import Node
from rclpy.qos import QoSProfile
from rclpy.qos_overriding_options import QoSOverridingOptions

from ros_matching.msg import Keyframe as KeyframeMsg
from ros_matching.nodes.problems import Problem, ProblemLog
from ros_matching.nodes.quality_of_service import telling_incompatibility

_TOPIC = "keyframe"


class KeyframeInput:
    """Subscribes to keyframes: reliable, as none is sent twice; ``qos_overrides`` parameters hold."""

    def __init__(
        self, node: Node, queue_length: int, problems: ProblemLog, on_keyframe: Callable[[KeyframeMsg], None]
    ) -> None:
        self._node = node
        self._problems = problems
        self._keyframes = node.create_subscription(
            KeyframeMsg,
            _TOPIC,
            on_keyframe,
            QoSProfile(depth=queue_length),
            event_callbacks=telling_incompatibility(node, _TOPIC, problems),
            qos_overriding_options=QoSOverridingOptions.with_default_policies(),
        )

    @property
    def topic(self) -> str:
        """The topic of the keyframes, after remapping."""
        return self._keyframes.topic_name

    def destroy(self) -> None:
        """Take the subscription off the node."""
        self._node.destroy_subscription(self._keyframes)

    def watch(self) -> None:
        """Report when nobody sends keyframes. A robot that stands still has none to send, which is no problem."""
        if self._node.count_publishers(self.topic):
            self._problems.clear(Problem.INPUT)
        else:
            self._problems.report(
                Problem.INPUT,
                f"nobody publishes {self.topic}; start vo_node (vo.launch.py, ros-matching run), or remap `{_TOPIC}`",
            )
