"""The subscriptions of ``vo_node`` to a camera, and what keeps its messages from coming."""

from __future__ import annotations

from collections.abc import Callable

from rclpy.node import Node
from sensor_msgs.msg import CameraInfo, CompressedImage, Image

from ros_matching.nodes.problems import Problem, ProblemLog
from ros_matching.nodes.sensor_subscription import SensorSubscription
from ros_matching.nodes.vo_config import VoConfig

_TYPES = {"raw": (Image, "image"), "compressed": (CompressedImage, "image/compressed")}
_MUCH_LOSS = 0.1  # of the images


class ImageInput:
    """Subscribes to images and CameraInfo: the newest only, as reliable as offered; ``qos_overrides`` hold."""

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
        # A subscription that asks for what was sent before would get nothing from an ordinary (volatile) publisher.
        self._camera_info = SensorSubscription(node, CameraInfo, "camera_info", on_camera_info, problems, latched=True)
        self._images = SensorSubscription(node, *_TYPES[config.transport], on_image, problems)

    @property
    def topics(self) -> tuple[str, str]:
        """The topics of the images and of their CameraInfo, after remapping."""
        return self._images.topic_name, self._camera_info.topic_name

    def destroy(self) -> None:
        """Take the subscriptions off the node."""
        for subscription in (self._images, self._camera_info):
            subscription.destroy()

    def watch(self, is_silent: bool, recent_loss: tuple[int, int]) -> None:
        """Follow the publishers, and report what keeps images from coming.

        ``recent_loss``: how many of the recent images did not arrive, and how many there were.
        """
        for subscription in (self._images, self._camera_info):
            subscription.follow()
        publishers = self._images.publishers
        self._report(Problem.INPUT, is_silent and self._silence(publishers))
        self._report(Problem.PUBLISHERS, len(publishers) > 1 and self._crowd(publishers))
        missing, taken = recent_loss
        self._report(Problem.LOSS, missing > _MUCH_LOSS * taken and self._loss(missing, taken))

    def _report(self, problem: Problem, text: str | bool) -> None:
        if text:
            self._problems.report(problem, text)
        else:
            self._problems.clear(problem)

    def _silence(self, publishers: list[str]) -> str:
        topic = self._images.topic_name
        remedy = (
            f"it has {len(publishers)} publisher(s); check that they send (ros2 topic hz {topic}) and that their "
            "quality of service fits (ros2 topic info -v)"
            if publishers
            else f"nobody publishes it; start the camera, or remap `{topic.rsplit('/', 1)[-1]}` to the camera's topic"
        )
        return f"no image has come on {topic} for a while: {remedy}"

    def _crowd(self, publishers: list[str]) -> str:
        return (
            f"{len(publishers)} publishers send images on {self._images.topic_name} ({', '.join(publishers)}), and the "
            "odometry follows one camera; stop or remap all but one"
        )

    def _loss(self, missing: int, taken: int) -> str:
        images = self._images
        if images.is_reliable:
            remedy = "send them compressed (parameter transport), smaller, or at a lower rate"
        elif images.is_overridden:
            remedy = f"remove qos_overrides.{images.topic_name}.subscription.reliability, or set it to reliable"
        else:
            remedy = (
                "let their publisher offer reliable, send them compressed (parameter transport), or raise "
                "net.core.rmem_max"
            )
        return (
            f"{missing} of the last {taken} images of {images.topic_name} did not arrive, by the gaps between the "
            f"stamps: {remedy}"
        )
