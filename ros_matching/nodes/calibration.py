"""The camera of the incoming pictures, from CameraInfo."""

from __future__ import annotations

import threading

from sensor_msgs.msg import CameraInfo

from ros_matching.datatypes import Camera
from ros_matching.errors import NodeError, RosMatchingError
from ros_matching.geometry.camera import Undistorter
from ros_matching.nodes.conversions import camera_from_msg, stamp_ns_from_msg
from ros_matching.nodes.problems import Problem, ProblemLog, RefusedImageError
from ros_matching.nodes.vo_config import VoConfig


class CalibrationInput:
    """Keeps the last CameraInfo, written by one thread, and the undistorter made of it, used by another.

    A driver may repeat CameraInfo with every picture or send it once, latched. The undistorter is made anew only when
    the calibration itself changes.
    """

    def __init__(self, config: VoConfig, problems: ProblemLog) -> None:
        self._config = config
        self._problems = problems
        self._arrived = threading.Condition()
        self._info: CameraInfo | None = None
        self._count = 0
        self._waited = False
        self._read: CameraInfo | None = None
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
        """The undistorter for pictures of ``width`` x ``height`` pixels; raises ``RefusedImageError`` with the remedy.

        The first picture waits a little for its CameraInfo: the two topics come in no order.
        """
        info = self._wait()
        if info is None:
            raise RefusedImageError(
                Problem.CAMERA_INFO,
                "no CameraInfo has come; check that the topic `camera_info` is remapped to the camera's and that "
                "the camera publishes it",
            )
        if info is not self._read:
            self._read_camera(info)
        camera = self._camera
        if camera is None or (camera.width, camera.height) != (width, height):
            described = "nothing usable" if camera is None else f"{camera.width}x{camera.height}"
            raise RefusedImageError(
                Problem.CAMERA_INFO,
                f"the picture is {width}x{height} but CameraInfo (with its binning and region of interest) describes "
                f"{described}; use the CameraInfo of this very picture: calibrate at its size, or remap "
                "`camera_info` to the topic beside the resized picture",
            )
        self._problems.clear(Problem.CAMERA_INFO)
        self._check_age(info, stamp_ns)
        return self._undistorter

    def _wait(self) -> CameraInfo | None:
        with self._arrived:
            if self._info is None and not self._waited:
                self._waited = True
                self._arrived.wait_for(lambda: self._info is not None, self._config.camera_info_wait_s)
            return self._info

    def _read_camera(self, info: CameraInfo) -> None:
        """Read ``info``; on failure there is no undistorter, rather than the old one."""
        try:
            camera = camera_from_msg(info, self._config.rectified)
            if camera != self._camera:
                self._camera, self._undistorter = None, None
                self._undistorter = Undistorter(camera)
                self._camera = camera
        except RosMatchingError as error:
            self._camera, self._undistorter = None, None
            text = str(error) if isinstance(error, NodeError) else f"CameraInfo cannot be used: {error}"
            raise RefusedImageError(Problem.CAMERA_INFO, text) from error
        self._read = info

    def _check_age(self, info: CameraInfo, stamp_ns: int) -> None:
        age_s = (stamp_ns - stamp_ns_from_msg(info.header.stamp)) * 1e-9
        if self._count > 1 and age_s > self._config.camera_info_max_age_s:
            self._problems.report(
                Problem.CAMERA_INFO_AGE,
                f"CameraInfo was repeated, and then stopped: the last is older than the picture by more than "
                f"{self._config.camera_info_max_age_s:g} s; it is still used, but check the driver",
            )
        else:
            self._problems.clear(Problem.CAMERA_INFO_AGE)
