"""Image subscription of ``vo_node`` and conversion of its messages to ``Frame``."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from rclpy.node import Node
from sensor_msgs.msg import CameraInfo, CompressedImage, Image

from ros_matching.datatypes import Frame
from ros_matching.errors import NodeError
from ros_matching.geometry.distortion import Undistorter
from ros_matching.nodes.common.conversions import image_from_msg, image_size_from_msg, stamp_ns_from_msg
from ros_matching.nodes.common.endpoints import SensorSubscription
from ros_matching.nodes.common.problems import Problem, ProblemLog, RefusedImageError
from ros_matching.nodes.vo.calibration_input import CalibrationInput
from ros_matching.nodes.vo.config import VoConfig
from ros_matching.nodes.vo.stamp_order import StampOrder
from ros_matching.succession import Step, Succession

_TYPES = {"raw": (Image, "image"), "compressed": (CompressedImage, "image/compressed")}
_MUCH_LOSS = 0.1  # of the images
_NEEDED, _MOST_NEEDED = 3, 24


class ImageInput:
    """Subscriptions to images and CameraInfo: the newest only, as reliable as offered; ``qos_overrides`` apply."""

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
        # A transient-local subscription would get nothing from a volatile publisher.
        self._camera_info = SensorSubscription(node, CameraInfo, "camera_info", on_camera_info, problems, latched=True)
        self._images = SensorSubscription(node, *_TYPES[config.transport], on_image, problems)

    @property
    def topics(self) -> tuple[str, str]:
        """Topics of images and CameraInfo, after remapping."""
        return self._images.topic_name, self._camera_info.topic_name

    def destroy(self) -> None:
        """Remove the subscriptions from the node."""
        for subscription in (self._images, self._camera_info):
            subscription.destroy()

    def watch(self, is_silent: bool, recent_loss: tuple[int, int]) -> None:
        """Match the publishers, and report problems that prevent images.

        ``recent_loss``: number of recent images that did not arrive, and number of recent images.
        """
        for subscription in (self._images, self._camera_info):
            subscription.match_publishers()
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
            else f"it has no publisher; start the camera, or remap `{topic.rsplit('/', 1)[-1]}` to the camera's topic"
        )
        return f"no image has arrived on {topic} for a while: {remedy}"

    def _crowd(self, publishers: list[str]) -> str:
        return (
            f"{len(publishers)} publishers send images on {self._images.topic_name} ({', '.join(publishers)}), and the "
            "odometry uses one camera; stop or remap all but one"
        )

    def _loss(self, missing: int, taken: int) -> str:
        images = self._images
        if images.is_reliable:
            remedy = "send them compressed (parameter transport), smaller, or at a lower rate"
        elif images.is_overridden:
            remedy = f"remove qos_overrides.{images.topic_name}.subscription.reliability, or set it to reliable"
        else:
            remedy = (
                "let the publisher offer reliable, send compressed images (parameter transport), or raise "
                "net.core.rmem_max"
            )
        return (
            f"{missing} of the last {taken} images of {images.topic_name} did not arrive, by the gaps between the "
            f"stamps: {remedy}"
        )


class AuxiliaryInput(Protocol):
    """Messages on other topics that belong to an image."""

    def add_to(self, frame: Frame, undistorter: Undistorter, frame_id: str) -> Frame:
        """Return the frame with its auxiliary data; ``undistorter`` made it from an image of ``frame_id``."""


class FrameInput:
    """Decodes, checks and undistorts the images of one camera, in order of time."""

    def __init__(
        self, calibration: CalibrationInput, problems: ProblemLog, auxiliary: AuxiliaryInput, min_side_px: int = 1
    ) -> None:
        """``auxiliary`` messages are added to the frames."""
        self._calibration = calibration
        self._problems = problems
        self._auxiliary = auxiliary
        self._min_side_px = min_side_px
        self._order = StampOrder()
        # Width, height and frame_id: two publishers on one topic differ in these.
        self._cameras: Succession[tuple[int, int, str]] = Succession(
            lambda last, new: last == new, _NEEDED, _MOST_NEEDED
        )
        self._index = 0

    def check_stamp(self, msg: Image | CompressedImage, received_s: float) -> float:
        """Check the stamp of the next image; return by how many seconds time has jumped back, 0 if it advances.

        Raises ``RefusedImageError`` for a stamp out of order. Any stamp is accepted after ``restart``.
        """
        check = self._order.check(stamp_ns_from_msg(msg.header.stamp), received_s)
        if check.reason:
            raise RefusedImageError(Problem.STAMP, check.reason)
        self._problems.clear(Problem.STAMP)
        return check.back_s

    def restart(self, any_stamp: bool = True) -> None:
        """Reset the frame counter; any stamp may come next, unless the new time is already known."""
        if any_stamp:
            self._order.restart()
        self._index = 0

    def frame(self, msg: Image | CompressedImage) -> Frame:
        """Return the frame of a message; raises ``RefusedImageError`` with the remedy if it cannot be tracked.

        The size in the header is compared with CameraInfo before memory for the pixels is allocated.
        """
        try:
            width, height = image_size_from_msg(msg)
        except NodeError as error:
            raise RefusedImageError(Problem.IMAGE, f"the image cannot be used: {error}") from error
        if min(width, height) < self._min_side_px:
            raise RefusedImageError(
                Problem.IMAGE,
                f"the image is {width}x{height}, and the matcher needs {self._min_side_px} pixels or more per side; "
                "send larger images, or choose another one with the parameter matcher",
            )
        camera = (width, height, msg.header.frame_id)
        if self._cameras.last is not None:
            self._check_camera(camera)
        stamp_ns = stamp_ns_from_msg(msg.header.stamp)
        undistorter = self._calibration.undistorter(width, height, stamp_ns)
        try:
            image = image_from_msg(msg)
        except NodeError as error:
            raise RefusedImageError(Problem.IMAGE, f"the image cannot be used: {error}") from error
        self._problems.clear(Problem.IMAGE, Problem.CAMERA)
        if self._cameras.last is None:
            self._cameras.offer(camera)
        frame = Frame(self._index, stamp_ns, undistorter.undistort(image), undistorter.camera)
        self._index += 1
        return self._auxiliary.add_to(frame, undistorter, msg.header.frame_id)

    def _check_camera(self, camera: tuple[int, int, str]) -> None:
        last = self._cameras.last
        if self._cameras.offer(camera) is Step.ODD:
            raise RefusedImageError(
                Problem.CAMERA,
                f"the image is {_described(camera)}, earlier ones are {_described(last)}; the odometry uses one "
                "camera, and changes to another only after several images in a row; check that the topic has one "
                "publisher (ros2 topic info -v), and remap the others",
            )


def _described(camera: tuple[int, int, str]) -> str:
    width, height, frame_id = camera
    return f"{width}x{height} of frame {frame_id!r}"
