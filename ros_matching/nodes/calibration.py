"""The camera of the incoming images, from CameraInfo."""

from __future__ import annotations

import threading

import numpy as np
from sensor_msgs.msg import CameraInfo

from ros_matching.datatypes import Camera
from ros_matching.errors import NodeError, RosMatchingError
from ros_matching.geometry.camera import Undistorter
from ros_matching.nodes.conversions import camera_from_msg, stamp_ns_from_msg
from ros_matching.nodes.problems import Problem, ProblemLog, RefusedImageError
from ros_matching.nodes.vo_config import VoConfig
from ros_matching.tracking.succession import Step, Succession

_NEEDED, _MOST_NEEDED = 3, 24


class CalibrationInput:
    """Keeps the last CameraInfo, written by one thread, and the undistorter made of it, used by another.

    A driver may repeat CameraInfo with every image or send it once, latched. Another calibration is taken when several
    images in a row have come with it, or when the one in use does not fit the images: a single odd message changes
    nothing.
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
        """Whether a CameraInfo has come."""
        return self._info is not None

    def update(self, info: CameraInfo) -> None:
        """Take the newest CameraInfo."""
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
        """Read ``info`` for images of this size; raises ``RefusedImageError`` where it is of no use for them."""
        try:
            camera = camera_from_msg(info, self._config.rectified)
        except NodeError as error:
            raise RefusedImageError(Problem.CAMERA_INFO, str(error)) from error
        # Before the undistorter is made, which takes memory for every pixel.
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
                f"CameraInfo was repeated, and then stopped: the last is older than the image by more than "
                f"{self._config.camera_info_max_age_s:g} s; it is still used, but check the driver",
            )
        else:
            self._problems.clear(Problem.CAMERA_INFO_AGE)


def _content(info: CameraInfo) -> tuple:
    """All that a CameraInfo states of its camera, to be compared: NaN, too, equals itself here."""
    roi, arrays = info.roi, (info.d, info.k, info.r, info.p)
    region = (roi.x_offset, roi.y_offset, roi.width, roi.height)
    numbers = tuple(np.asarray(values, dtype=np.float64).tobytes() for values in arrays)
    size = (info.width, info.height, info.binning_x, info.binning_y)
    return (size, region, info.distortion_model, numbers)
