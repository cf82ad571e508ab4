"""The calibration of a stereo partner camera: its lens, and where it sits beside the camera."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from sensor_msgs.msg import CameraInfo

from ros_matching.datatypes import Camera
from ros_matching.errors import NodeError, RosMatchingError
from ros_matching.geometry.camera import Undistorter
from ros_matching.geometry.se3 import pose_from
from ros_matching.nodes.conversions import camera_from_msg

Lookup = Callable[[str, str], "np.ndarray | None"]
"""target_from_source (4, 4) of two frames by /tf_static, or ``None``."""


class PartnerCalibration:
    """Keeps the last CameraInfo of both cameras; written by one thread, read by another."""

    def __init__(self, rectified: bool, baseline_m: float, lookup: Lookup) -> None:
        """``baseline_m`` is that of rectified images, where CameraInfo does not tell it; 0 for none."""
        self._rectified = rectified
        self._baseline_m = baseline_m
        self._lookup = lookup
        self.camera_info: CameraInfo | None = None
        self.partner_info: CameraInfo | None = None
        self._made_of: CameraInfo | None = None
        self._undistorter: Undistorter | None = None

    def undistorter(self, width: int, height: int) -> Undistorter:
        """That of the partner's images of this size; ``NodeError`` with the remedy without a usable CameraInfo."""
        info = self.partner_info
        if info is None:
            raise NodeError("no CameraInfo of the partner camera has come; remap `right/camera_info` to it")
        if self._undistorter is None or info is not self._made_of:
            try:
                camera = camera_from_msg(info, self._rectified)
                self._require_size(camera, width, height)  # before the undistorter takes memory for every pixel
                if self._undistorter is None or self._undistorter.source != camera:
                    self._undistorter = Undistorter(camera)
            except RosMatchingError as error:
                raise NodeError(f"the CameraInfo of the partner camera cannot be used: {error}") from error
            self._made_of = info
        self._require_size(self._undistorter.source, width, height)
        return self._undistorter

    @staticmethod
    def _require_size(camera: Camera, width: int, height: int) -> None:
        if (camera.width, camera.height) != (width, height):
            raise NodeError(
                f"the partner's image is {width}x{height}, its CameraInfo describes {camera.width}x{camera.height}; "
                "use the CameraInfo of this very image"
            )

    def partner_from_camera(self, camera_frame: str, partner_frame: str) -> np.ndarray:
        """The camera in the partner's axes (4, 4), by parameter, CameraInfo or TF; ``NodeError`` if none knows."""
        if self._baseline_m > 0:
            return pose_from(np.eye(3), np.array([-self._baseline_m, 0.0, 0.0]))
        if self.camera_info is not None and self.partner_info is not None:
            by_info = partner_from_infos(self.camera_info, self.partner_info, self._rectified)
            if by_info is not None:
                return by_info
        by_tf = self._lookup(partner_frame, camera_frame)
        if by_tf is None or not np.linalg.norm(by_tf[:3, 3]) > 0:
            raise NodeError(
                f"it is not known where the partner camera ({partner_frame or 'no frame_id'}) sits beside the camera "
                f"({camera_frame or 'no frame_id'}): P of its CameraInfo has no baseline and /tf_static no transform; "
                "calibrate the pair, or set the parameter stereo_baseline_m"
            )
        return by_tf


def partner_from_infos(camera: CameraInfo, partner: CameraInfo, rectified: bool) -> np.ndarray | None:
    """The camera in the partner's axes (4, 4), as a stereo calibration states it; ``None`` if both P are monocular.

    P = [K' | K' t]: t takes rectified points of the first camera into those of this one; R rectifies the raw axes. Of
    images that are rectified already R plays no part.
    """
    offset = _offset(partner) - _offset(camera)
    if not np.linalg.norm(offset) > 0:
        return None
    if rectified:
        return pose_from(np.eye(3), offset)
    back = _rectification(partner).T
    return pose_from(back @ _rectification(camera), back @ offset)


def _offset(info: CameraInfo) -> np.ndarray:
    """The baseline that P states, or zero. P must be finite: what a message holds need not be."""
    p = np.reshape(info.p, (3, 4))
    is_usable = np.isfinite(p).all() and np.linalg.matrix_rank(p[:, :3]) == 3
    return np.linalg.solve(p[:, :3], p[:, 3]) if is_usable else np.zeros(3)


def _rectification(info: CameraInfo) -> np.ndarray:
    rotation = np.reshape(info.r, (3, 3))
    return rotation if rotation.any() else np.eye(3)
