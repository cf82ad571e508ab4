"""The IMU of a replayed source: its samples on ``imu``, and its place relative to the camera."""

from __future__ import annotations

import numpy as np
from geometry_msgs.msg import TransformStamped, Vector3
from rclpy.node import Node
from rclpy.qos import QoSProfile
from sensor_msgs.msg import Imu as ImuMsg

from ros_matching.datatypes import ImuRecording
from ros_matching.geometry.se3 import invert
from ros_matching.nodes.common.conversions import header_to_msg, transform_to_msg

_QOS = QoSProfile(depth=400)  # reliable works with any subscriber; the samples before an image come at once


class ImuOutput:
    """Publishes the samples before each image, up to the first one after it: the image needs that one."""

    def __init__(self, node: Node, recording: ImuRecording, frame_id: str) -> None:
        self._samples = recording.samples
        self._offset_ns = round((recording.time_offset_s or 0.0) * 1e9)
        self._frame_id = frame_id
        self._next = 0
        self._publisher = node.create_publisher(ImuMsg, "imu", _QOS)

    @staticmethod
    def transform(recording: ImuRecording, camera_frame: str, imu_frame: str) -> TransformStamped | None:
        """Return the static transform from the camera to the IMU; ``None`` if it is not known."""
        if recording.imu_from_camera is None:
            return None
        msg = TransformStamped(child_frame_id=imu_frame)
        msg.header.frame_id = camera_frame
        msg.transform = transform_to_msg(invert(recording.imu_from_camera))
        return msg

    def restart(self) -> None:
        """Start again with the first sample."""
        self._next = 0

    def publish_until(self, stamp_ns: int, shift_ns: int = 0) -> None:
        """Publish the samples up to an image with this stamp in the source; ``shift_ns`` is added to their stamps."""
        end = int(np.searchsorted(self._samples.stamps_ns, stamp_ns + self._offset_ns)) + 1
        for row in range(self._next, min(end, len(self._samples))):
            header = header_to_msg(int(self._samples.stamps_ns[row]) + shift_ns, self._frame_id)
            msg = ImuMsg(header=header)
            msg.angular_velocity = _vector(self._samples.gyroscope[row])
            msg.linear_acceleration = _vector(self._samples.accelerometer[row])
            msg.orientation_covariance[0] = -1.0  # there is no orientation
            self._publisher.publish(msg)
        self._next = max(self._next, end)


def _vector(xyz: np.ndarray) -> Vector3:
    x, y, z = xyz.tolist()
    return Vector3(x=x, y=y, z=z)
