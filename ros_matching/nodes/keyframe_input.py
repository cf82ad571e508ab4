"""The subscription of ``mapping_node`` to the odometry's keyframes, and what keeps them from coming."""

from __future__ import annotations

from collections.abc import Callable

from nav_msgs.msg import Path
from rclpy.node import Node
from rclpy.qos import QoSProfile
from rclpy.qos_overriding_options import QoSOverridingOptions
from rclpy.subscription import Subscription

from ros_matching.msg import Keyframe as KeyframeMsg
from ros_matching.nodes.problems import Problem, ProblemLog
from ros_matching.nodes.quality_of_service import telling_incompatibility

_TOPIC = "keyframe"
_PATH_TOPIC = "keyframe_path"


class KeyframeInput:
    """Subscribes to keyframes and to their corrected poses: reliable; ``qos_overrides`` parameters hold."""

    def __init__(
        self,
        node: Node,
        queue_length: int,
        problems: ProblemLog,
        on_keyframe: Callable[[KeyframeMsg], None],
        on_path: Callable[[Path], None],
    ) -> None:
        self._node = node
        self._problems = problems
        self._queue_length = queue_length
        self._path = self._subscribe(Path, _PATH_TOPIC, on_path)
        self._keyframes = self._subscribe(KeyframeMsg, _TOPIC, on_keyframe)

    @property
    def topic(self) -> str:
        """The topic of the keyframes, after remapping."""
        return self._keyframes.topic_name

    def destroy(self) -> None:
        """Take the subscriptions off the node."""
        for subscription in (self._keyframes, self._path):
            self._node.destroy_subscription(subscription)

    def watch(self) -> None:
        """Report when nobody sends keyframes, or several do. A robot that stands still has none to send: no problem."""
        count = self._node.count_publishers(self.topic)
        if count > 1:
            self._problems.report(
                Problem.PUBLISHERS,
                f"{count} publishers send keyframes on {self.topic}, and the map is of one camera; stop or remap all "
                "but one (ros2 topic info -v names them)",
            )
        else:
            self._problems.clear(Problem.PUBLISHERS)
        if count:
            self._problems.clear(Problem.INPUT)
        else:
            self._problems.report(
                Problem.INPUT,
                f"nobody publishes {self.topic}; start vo_node (vo.launch.py, ros-matching run), or remap `{_TOPIC}`",
            )

    def _subscribe(self, message_type: type, topic: str, callback: Callable) -> Subscription:
        return self._node.create_subscription(
            message_type,
            topic,
            callback,
            QoSProfile(depth=self._queue_length),
            event_callbacks=telling_incompatibility(self._node, topic, self._problems),
            qos_overriding_options=QoSOverridingOptions.with_default_policies(),
        )
