"""Masks of ``vo_node``: a file for all images, and the topic ``mask``, for what must not be used of an image."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
from rclpy.node import Node
from sensor_msgs.msg import Image

from ros_matching.datatypes import Frame
from ros_matching.errors import NodeError, RosMatchingError
from ros_matching.geometry.distortion import Undistorter
from ros_matching.io.masks import read_mask, undistorted_mask
from ros_matching.nodes.common.conversions import image_from_msg, image_size_from_msg
from ros_matching.nodes.common.endpoints import SensorSubscription
from ros_matching.nodes.common.problems import Problem, ProblemLog
from ros_matching.nodes.vo.config import VoConfig
from ros_matching.nodes.vo.scale_input import StampedBuffer

_QUEUE = 5


class MaskInput:
    """Finds the masks of images. An unusable mask is reported once, and its image is used whole."""

    def __init__(self, node: Node, config: VoConfig, problems: ProblemLog) -> None:
        """Raise ``NodeError`` if the file of the configuration does not exist."""
        self._node, self._config, self._problems = node, config, problems
        self._file = Path(config.mask_file).expanduser() if config.mask_file else None
        if self._file is not None and not self._file.is_file():
            raise NodeError(f"mask_file {self._file} is not a file; give an image of the size of the camera's")
        self._static: tuple[Undistorter, np.ndarray | None] | None = None
        self._masks: StampedBuffer[Image] = StampedBuffer()
        self._subscription: SensorSubscription | None = None

    def subscribe(self) -> None:
        """Subscribe to masks."""
        self._subscription = SensorSubscription(
            self._node, Image, "mask", self._masks.put, self._problems, depth=_QUEUE
        )

    def destroy(self) -> None:
        """Remove the subscription from the node."""
        if self._subscription is not None:
            self._subscription.destroy()
            self._subscription = None

    def match_publishers(self) -> None:
        """Adapt to the quality of service of the publishers."""
        if self._subscription is not None:
            self._subscription.match_publishers()

    def add_to(self, frame: Frame, undistorter: Undistorter, frame_id: str) -> Frame:
        """Return the frame with its masks, both where there are two."""
        static, moving = self._of_file(undistorter), self._of_topic(frame, undistorter)
        masks = [mask for mask in (static, moving) if mask is not None]
        return replace(frame, mask=np.logical_and.reduce(masks)) if masks else frame

    def _of_file(self, undistorter: Undistorter) -> np.ndarray | None:
        if self._file is None:
            return None
        if self._static is None or self._static[0] is not undistorter:
            self._static = undistorter, self._read(undistorter)
        return self._static[1]

    def _read(self, undistorter: Undistorter) -> np.ndarray | None:
        try:
            mask = read_mask(self._file, undistorter.source.width, undistorter.source.height)
        except RosMatchingError as error:
            self._problems.report(Problem.MASK, f"mask_file is not used: {error}")
            return None
        return undistorted_mask(mask, undistorter)

    def _of_topic(self, frame: Frame, undistorter: Undistorter) -> np.ndarray | None:
        msg = self._masks.find(frame.stamp_ns, self._config.mask_sync_s, self._config.mask_wait_s)
        if msg is None:
            return None
        expected = undistorter.source.width, undistorter.source.height
        try:
            size = image_size_from_msg(msg)
            if size != expected:
                raise NodeError(f"it is {size[0]}x{size[1]}, and the images are {expected[0]}x{expected[1]}")
            image = image_from_msg(msg)
        except NodeError as error:
            self._problems.report(
                Problem.MASK, f"a mask cannot be used: {error}; send mono8 of the size of the images, 0 is excluded"
            )
            return None
        self._problems.clear(Problem.MASK)
        return undistorted_mask(np.where(image.any(axis=2), np.uint8(255), np.uint8(0)), undistorter)
