"""Camera models from CameraInfo: the camera of the images, and the right camera of a stereo pair."""

from __future__ import annotations

import threading
from collections.abc import Callable

import numpy as np
from sensor_msgs.msg import CameraInfo

from ros_matching.datatypes import Camera
from ros_matching.errors import NodeError, RosMatchingError
from ros_matching.geometry.distortion import Undistorter
from ros_matching.geometry.se3 import pose_from
from ros_matching.nodes.common.conversions import camera_from_msg, stamp_ns_from_msg
from ros_matching.nodes.common.problems import Problem, ProblemLog, RefusedImageError
from ros_matching.nodes.vo.config import VoConfig
from ros_matching.succession import Step, Succession

_NEEDED, _MOST_NEEDED = 3, 24


class CalibrationInput:
    """Stores the last CameraInfo, written by one thread, and its undistorter, used by another.

    A driver may repeat CameraInfo with every image or send it once, latched. Another calibration is used after several
    images in a row with it, or if the current one does not fit the images: a single odd message changes nothing.
    """

    def __init__(self, config: VoConfig, problems: ProblemLog) -> None:
        self._config = config
        self._problems = problems
        self._arrived = threading.Condition()
        self._info: CameraInfo | None = None
        self._count = 0
        self._waited = False
        self._series: Succession[tuple] = Succession(lambda last, new: last == new, _NEEDED, _MOST_NEEDED)
        self._read: tuple | None = None
        self._camera: Camera | None = None
        self._undistorter: Undistorter | None = None

    @property
    def is_known(self) -> bool:
        """True if a CameraInfo has arrived."""
        return self._info is not None

    def update(self, info: CameraInfo) -> None:
        """Store the newest CameraInfo."""
        with self._arrived:
            self._info = info
            self._count += 1
            self._arrived.notify_all()

    def undistorter(self, width: int, height: int, stamp_ns: int) -> Undistorter:
        """The undistorter for images of ``width`` x ``height`` pixels; raises ``RefusedImageError`` with the remedy.

        The first image waits a little for its CameraInfo: the two topics come in no order.
        """
        info = self._wait()
        if info is None:
            raise RefusedImageError(
                Problem.CAMERA_INFO,
                "no CameraInfo has come; check that the topic `camera_info` is remapped to the camera's and that "
                "the camera publishes it",
            )
        content = _content(info)
        is_odd, fits = self._series.offer(content) is Step.ODD, self._fits(width, height)
        if not fits or (content != self._read and not is_odd):
            self._read_camera(info, width, height)
            self._read = content
            if is_odd:
                self._series.start_from(content)
        self._problems.clear(Problem.CAMERA_INFO)
        self._check_age(info, stamp_ns)
        return self._undistorter

    def _wait(self) -> CameraInfo | None:
        with self._arrived:
            if self._info is None and not self._waited:
                self._waited = True
                self._arrived.wait_for(lambda: self._info is not None, self._config.camera_info_wait_s)
            return self._info

    def _fits(self, width: int, height: int) -> bool:
        camera = self._camera
        return self._undistorter is not None and (camera.width, camera.height) == (width, height)

    def _read_camera(self, info: CameraInfo, width: int, height: int) -> None:
        """Read ``info`` for images of this size; raises ``RefusedImageError`` if it does not fit them."""
        try:
            camera = camera_from_msg(info, self._config.rectified)
        except NodeError as error:
            raise RefusedImageError(Problem.CAMERA_INFO, str(error)) from error
        # Checked first: the undistorter allocates memory for every pixel.
        if (camera.width, camera.height) != (width, height):
            raise RefusedImageError(
                Problem.CAMERA_INFO,
                f"the image is {width}x{height} but CameraInfo (with its binning and region of interest) describes "
                f"{camera.width}x{camera.height}; use the CameraInfo of this very image: calibrate at its size, or "
                "remap `camera_info` to the topic of the resized image",
            )
        if camera != self._camera:
            try:
                self._undistorter = Undistorter(camera)
            except RosMatchingError as error:
                raise RefusedImageError(Problem.CAMERA_INFO, f"CameraInfo cannot be used: {error}") from error
            self._camera = camera

    def _check_age(self, info: CameraInfo, stamp_ns: int) -> None:
        info_ns = stamp_ns_from_msg(info.header.stamp)
        age_s = (stamp_ns - info_ns) * 1e-9
        if self._count > 1 and info_ns > 0 and age_s > self._config.camera_info_max_age_s:
            self._problems.report(
                Problem.CAMERA_INFO_AGE,
                f"CameraInfo is no longer repeated: the last one is older than the image by more than "
                f"{self._config.camera_info_max_age_s:g} s; it is still used; check the driver",
            )
        else:
            self._problems.clear(Problem.CAMERA_INFO_AGE)


def _content(info: CameraInfo) -> tuple:
    """Return all camera data of a CameraInfo for comparison; NaN equals itself here."""
    roi, arrays = info.roi, (info.d, info.k, info.r, info.p)
    region = (roi.x_offset, roi.y_offset, roi.width, roi.height)
    numbers = tuple(np.asarray(values, dtype=np.float64).tobytes() for values in arrays)
    size = (info.width, info.height, info.binning_x, info.binning_y)
    return (size, region, info.distortion_model, numbers)


Lookup = Callable[[str, str], "np.ndarray | None"]
"""target_from_source (4, 4) of two frames by /tf_static, or ``None``."""


class RightCameraCalibration:
    """Stores the last CameraInfo of both cameras; written by one thread, read by another."""

    def __init__(self, rectified: bool, baseline_m: float, lookup: Lookup) -> None:
        """``baseline_m`` is used for rectified images without a baseline in CameraInfo; 0 for none."""
        self._rectified = rectified
        self._baseline_m = baseline_m
        self._lookup = lookup
        self.camera_info: CameraInfo | None = None
        self.right_info: CameraInfo | None = None
        self._made_of: CameraInfo | None = None
        self._undistorter: Undistorter | None = None

    def undistorter(self, width: int, height: int) -> Undistorter:
        """Return the undistorter of right images of this size; ``NodeError`` without a usable CameraInfo."""
        info = self.right_info
        if info is None:
            raise NodeError("no CameraInfo of the right camera has arrived; remap `right/camera_info` to it")
        if self._undistorter is None or info is not self._made_of:
            try:
                camera = camera_from_msg(info, self._rectified)
                self._require_size(camera, width, height)  # before the undistorter allocates memory for every pixel
                if self._undistorter is None or self._undistorter.source != camera:
                    self._undistorter = Undistorter(camera)
            except RosMatchingError as error:
                raise NodeError(f"the CameraInfo of the right camera cannot be used: {error}") from error
            self._made_of = info
        self._require_size(self._undistorter.source, width, height)
        return self._undistorter

    @staticmethod
    def _require_size(camera: Camera, width: int, height: int) -> None:
        if (camera.width, camera.height) != (width, height):
            raise NodeError(
                f"the right image is {width}x{height}, its CameraInfo describes {camera.width}x{camera.height}; "
                "use the CameraInfo of this very image"
            )

    def right_from_camera(self, camera_frame: str, right_frame: str) -> np.ndarray:
        """Return ``right_from_camera`` (4, 4) by parameter, CameraInfo or TF; ``NodeError`` if none has it."""
        if self._baseline_m > 0:
            return pose_from(np.eye(3), np.array([-self._baseline_m, 0.0, 0.0]))
        if self.camera_info is not None and self.right_info is not None:
            by_info = right_from_camera_infos(self.camera_info, self.right_info, self._rectified)
            if by_info is not None:
                return by_info
        by_tf = self._lookup(right_frame, camera_frame)
        if by_tf is None or not np.linalg.norm(by_tf[:3, 3]) > 0:
            raise NodeError(
                f"the pose of the right camera ({right_frame or 'no frame_id'}) relative to the camera "
                f"({camera_frame or 'no frame_id'}) is unknown: P of its CameraInfo has no baseline, and /tf_static "
                "has no transform; calibrate the pair, or set the parameter stereo_baseline_m"
            )
        return by_tf


def right_from_camera_infos(camera: CameraInfo, right: CameraInfo, rectified: bool) -> np.ndarray | None:
    """Return ``right_from_camera`` (4, 4) of a stereo calibration; ``None`` if both P are monocular.

    P = [K' | K' t]: t takes rectified points of the first camera into those of this one; R rectifies the raw axes. For
    images that are already rectified, R has no effect.
    """
    offset = _offset(right) - _offset(camera)
    if not np.linalg.norm(offset) > 0:
        return None
    if rectified:
        return pose_from(np.eye(3), offset)
    back = _rectification(right).T
    return pose_from(back @ _rectification(camera), back @ offset)


def _offset(info: CameraInfo) -> np.ndarray:
    """Return the baseline in P, or zero. P of a message may be non-finite."""
    p = np.reshape(info.p, (3, 4))
    is_usable = np.isfinite(p).all() and np.linalg.matrix_rank(p[:, :3]) == 3
    return np.linalg.solve(p[:, :3], p[:, 3]) if is_usable else np.zeros(3)


def _rectification(info: CameraInfo) -> np.ndarray:
    rotation = np.reshape(info.r, (3, 3))
    return rotation if rotation.any() else np.eye(3)
