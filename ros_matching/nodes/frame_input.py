"""From an image message to a ``Frame``, or to a reason why not."""

from __future__ import annotations

from typing import Protocol

from sensor_msgs.msg import CompressedImage, Image

from ros_matching.datatypes import Frame
from ros_matching.errors import NodeError
from ros_matching.geometry.camera import Undistorter
from ros_matching.nodes.calibration import CalibrationInput
from ros_matching.nodes.conversions import image_from_msg, image_size_from_msg, stamp_ns_from_msg
from ros_matching.nodes.problems import Problem, ProblemLog, RefusedImageError
from ros_matching.nodes.stamp_order import StampOrder
from ros_matching.tracking.succession import Step, Succession

_NEEDED, _MOST_NEEDED = 3, 24


class Companions(Protocol):
    """What comes with the images on other topics."""

    def add_to(self, frame: Frame, undistorter: Undistorter, frame_id: str) -> Frame:
        """The frame with what belongs to it; ``undistorter`` made it, of an image of the camera ``frame_id``."""


class FrameInput:
    """Decodes, checks and undistorts the images of one camera, in order of time."""

    def __init__(
        self, calibration: CalibrationInput, problems: ProblemLog, companions: Companions, min_side_px: int = 1
    ) -> None:
        """``companions`` are what comes with the images; they are added to the frames."""
        self._calibration = calibration
        self._problems = problems
        self._companions = companions
        self._min_side_px = min_side_px
        self._order = StampOrder()
        # Width, height and frame_id: two publishers on one topic differ in these.
        self._cameras: Succession[tuple[int, int, str]] = Succession(
            lambda last, new: last == new, _NEEDED, _MOST_NEEDED
        )
        self._index = 0

    def check_stamp(self, msg: Image | CompressedImage, received_s: float) -> float:
        """Take the stamp of the next image; by how many seconds time stays back, 0 where it goes forward.

        Raises ``RefusedImageError`` for a stamp that is not the next one's. Any stamp may come after ``restart``.
        """
        check = self._order.check(stamp_ns_from_msg(msg.header.stamp), received_s)
        if check.reason:
            raise RefusedImageError(Problem.STAMP, check.reason)
        self._problems.clear(Problem.STAMP)
        return check.back_s

    def restart(self, any_stamp: bool = True) -> None:
        """Count from zero again; any stamp may come next, unless the new time is known already."""
        if any_stamp:
            self._order.restart()
        self._index = 0

    def frame(self, msg: Image | CompressedImage) -> Frame:
        """The frame of a message; raises ``RefusedImageError`` with the remedy when the message cannot be tracked.

        Sizes are compared with CameraInfo by the header, before memory is taken for the pixels.
        """
        try:
            width, height = image_size_from_msg(msg)
        except NodeError as error:
            raise RefusedImageError(Problem.IMAGE, f"the image cannot be used: {error}") from error
        if min(width, height) < self._min_side_px:
            raise RefusedImageError(
                Problem.IMAGE,
                f"the image is {width}x{height}, and the matcher needs {self._min_side_px} pixels or more a side; send "
                "larger images, or choose another one with the parameter backend",
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
        return self._companions.add_to(frame, undistorter, msg.header.frame_id)

    def _check_camera(self, camera: tuple[int, int, str]) -> None:
        last = self._cameras.last
        if self._cameras.offer(camera) is Step.ODD:
            raise RefusedImageError(
                Problem.CAMERA,
                f"the image is {_described(camera)}, those before are {_described(last)}: one camera is followed, and "
                "another only when several images in a row are of it; check that one publisher alone sends images on "
                "this topic (ros2 topic info -v), and remap the others away",
            )


def _described(camera: tuple[int, int, str]) -> str:
    width, height, frame_id = camera
    return f"{width}x{height} of frame {frame_id!r}"
