"""The subscriptions of ``vo_node`` to a camera, and what keeps its messages from coming."""

from __future__ import annotations

from collections.abc import Callable

from rclpy.node import Node
from rclpy.qos import DurabilityPolicy, HistoryPolicy, QoSProfile, ReliabilityPolicy
from rclpy.qos_overriding_options import QoSOverridingOptions
from rclpy.subscription import Subscription
from sensor_msgs.msg import CameraInfo, CompressedImage, Image

from ros_matching.nodes.problems import Problem, ProblemLog
from ros_matching.nodes.quality_of_service import telling_incompatibility
from ros_matching.nodes.vo_config import VoConfig

_TYPES = {"raw": (Image, "image"), "compressed": (CompressedImage, "image/compressed")}


class ImageInput:
    """Subscribes to pictures and CameraInfo: best effort, the newest only; ``qos_overrides`` parameters hold."""

    def __init__(
        self,
        node: Node,
        config: VoConfig,
        problems: ProblemLog,
        on_image: Callable[[Image | CompressedImage], None],
        on_camera_info: Callable[[CameraInfo], None],
    ) -> None:
        self._node = node
        self._problems = problems
        self._on_camera_info = on_camera_info
        self._info_is_latched = False
        self._camera_info = self._subscribe(CameraInfo, "camera_info", on_camera_info)
        self._images = self._subscribe(*_TYPES[config.transport], on_image)

    @property
    def topics(self) -> tuple[str, str]:
        """The topics of the pictures and of their CameraInfo, after remapping."""
        return self._images.topic_name, self._camera_info.topic_name

    def destroy(self) -> None:
        """Take the subscriptions off the node."""
        for subscription in (self._images, self._camera_info):
            self._node.destroy_subscription(subscription)

    def report_silence(self) -> None:
        """Report that no picture has come for a while, with what is known of the reason."""
        topic = self._images.topic_name
        count = self._node.count_publishers(topic)
        remedy = (
            f"nobody publishes it; start the camera, or remap `{topic.rsplit('/', 1)[-1]}` to the camera's topic"
            if count == 0
            else f"it has {count} publisher(s); check that they send (ros2 topic hz {topic}) and that their quality of "
            "service fits (ros2 topic info -v)"
        )
        self._problems.report(Problem.INPUT, f"no picture has come on {topic} for a while: {remedy}")

    def follow_latched_camera_info(self) -> None:
        """Ask for what was sent before, when every publisher of CameraInfo offers that. Call while none has come.

        A subscription that asks for it by default would get nothing at all from an ordinary (volatile) publisher.
        """
        publishers = self._node.get_publishers_info_by_topic(self._camera_info.topic_name)
        latched = [p.qos_profile.durability == DurabilityPolicy.TRANSIENT_LOCAL for p in publishers]
        if self._info_is_latched or not latched or not all(latched):
            return
        self._info_is_latched = True
        self._node.destroy_subscription(self._camera_info)
        self._camera_info = self._subscribe(
            CameraInfo, "camera_info", self._on_camera_info, DurabilityPolicy.TRANSIENT_LOCAL
        )

    def _subscribe(
        self,
        message_type: type,
        topic: str,
        callback: Callable,
        durability: DurabilityPolicy = DurabilityPolicy.VOLATILE,
    ) -> Subscription:
        latched = durability == DurabilityPolicy.TRANSIENT_LOCAL
        qos = QoSProfile(
            history=HistoryPolicy.KEEP_LAST,
            depth=1,
            reliability=ReliabilityPolicy.RELIABLE if latched else ReliabilityPolicy.BEST_EFFORT,
            durability=durability,
        )
        return self._node.create_subscription(
            message_type,
            topic,
            callback,
            qos,
            event_callbacks=telling_incompatibility(self._node, topic, self._problems),
            # Those of a latched subscription follow the publisher; the overrides are for the ordinary one.
            qos_overriding_options=None if latched else QoSOverridingOptions.with_default_policies(),
        )
