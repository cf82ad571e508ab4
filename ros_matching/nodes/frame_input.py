"""From an image message to a ``Frame``, or to a reason why not."""

from __future__ import annotations

from typing import Protocol

from sensor_msgs.msg import CompressedImage, Image

from ros_matching.datatypes import Frame
from ros_matching.errors import NodeError
from ros_matching.geometry.camera import Undistorter
from ros_matching.nodes.calibration import CalibrationInput
from ros_matching.nodes.conversions import image_from_msg, stamp_ns_from_msg
from ros_matching.nodes.problems import Problem, ProblemLog, RefusedImageError


class Companions(Protocol):
    """What comes beside the pictures."""

    def add_to(self, frame: Frame, undistorter: Undistorter, frame_id: str) -> Frame:
        """The frame with what belongs to it; ``undistorter`` made it, of a picture of the camera ``frame_id``."""


class FrameInput:
    """Decodes, checks and undistorts the pictures of one camera, in order of time."""

    def __init__(self, calibration: CalibrationInput, problems: ProblemLog, companions: Companions) -> None:
        """``companions`` are what comes beside the pictures; they are added to the frames."""
        self._calibration = calibration
        self._problems = problems
        self._companions = companions
        self._last_stamp_ns: int | None = None
        self._index = 0

    def jump_back_s(self, msg: Image | CompressedImage) -> float:
        """By how many seconds the stamp of ``msg`` lies before the last one's; 0 when time goes forward."""
        if self._last_stamp_ns is None:
            return 0.0
        return max(0, self._last_stamp_ns - stamp_ns_from_msg(msg.header.stamp)) * 1e-9

    def restart(self) -> None:
        """Forget the time that has passed: any stamp may come next."""
        self._last_stamp_ns = None
        self._index = 0

    def frame(self, msg: Image | CompressedImage) -> Frame:
        """The frame of a message; raises ``RefusedImageError`` with the remedy when the message cannot be tracked."""
        stamp_ns = stamp_ns_from_msg(msg.header.stamp)
        self._check_stamp(stamp_ns)
        try:
            image = image_from_msg(msg)
        except NodeError as error:
            raise RefusedImageError(Problem.IMAGE, f"the picture cannot be used: {error}") from error
        self._problems.clear(Problem.IMAGE)
        undistorter = self._calibration.undistorter(image.shape[1], image.shape[0], stamp_ns)
        frame = Frame(self._index, stamp_ns, undistorter.undistort(image), undistorter.camera)
        self._index += 1
        return self._companions.add_to(frame, undistorter, msg.header.frame_id)

    def _check_stamp(self, stamp_ns: int) -> None:
        last, self._last_stamp_ns = self._last_stamp_ns, stamp_ns
        if stamp_ns != last:
            self._problems.clear(Problem.STAMP)
        elif stamp_ns == 0:
            raise RefusedImageError(
                Problem.STAMP,
                "the pictures carry no time (their stamps are zero); have the driver set header.stamp to the time of "
                "exposure",
            )
        else:
            raise RefusedImageError(
                Problem.STAMP,
                "a picture came with the stamp of the one before; check that only one publisher sends pictures on "
                "this topic (ros2 topic info -v) and that its stamps advance",
            )
