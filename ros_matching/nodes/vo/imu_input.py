"""Subscription of ``vo_node`` to an IMU: its samples, its extrinsics, and the findings of its checks."""

from __future__ import annotations

import time
from collections.abc import Callable

import numpy as np
from rclpy.node import Node
from sensor_msgs.msg import Imu as ImuMsg

from ros_matching.datatypes import Frame
from ros_matching.errors import ConfigError, RosMatchingError
from ros_matching.geometry.distortion import Undistorter
from ros_matching.inertial.buffer import ImuBuffer
from ros_matching.inertial.config import ImuConfig
from ros_matching.inertial.imu import Imu
from ros_matching.io.poses import poses_from_quaternions
from ros_matching.nodes.common.conversions import stamp_ns_from_msg
from ros_matching.nodes.common.endpoints import SensorSubscription
from ros_matching.nodes.common.problems import Problem, ProblemLog
from ros_matching.nodes.vo.config import VoConfig
from ros_matching.nodes.vo.extrinsics_input import ExtrinsicsInput

TOPIC = "imu"
_QUEUE = 400  # samples while the executor is busy: 2 s at 200 Hz
_ALIVE_S = 1.0  # no image waits for a topic that was silent for longer
_CHECK_PERIOD_S = 2.0


class ImuInput:
    """Stores the samples of an IMU for the tracker, which waits for those of an image only briefly.

    Unusable messages are reported once and ignored.
    """

    def __init__(
        self, node: Node, config: VoConfig, imu_config: ImuConfig, problems: ProblemLog, extrinsics: ExtrinsicsInput
    ) -> None:
        """Raises ``ConfigError`` if ``imu_extrinsics`` is no pose."""
        self._node, self._config, self._problems = node, config, problems
        self._extrinsics = extrinsics
        self._given = _given_extrinsics(config.imu_extrinsics)
        self._imu_frame, self._camera_frame = "", config.camera_frame
        self._last_arrival_s = -float("inf")
        self._checked_s = self._subscribed_s = -float("inf")
        self._subscription: SensorSubscription | None = None
        self.imu = Imu(imu_config, ImuBuffer(), self.imu_from_camera)

    def subscribe(self) -> None:
        """Create the subscription."""
        self._subscribed_s = time.monotonic()
        self._subscription = SensorSubscription(self._node, ImuMsg, TOPIC, self._on_imu, self._problems, depth=_QUEUE)

    def destroy(self) -> None:
        """Remove the subscription from the node."""
        if self._subscription is not None:
            self._subscription.destroy()
            self._subscription = None

    def imu_from_camera(self) -> np.ndarray | None:
        """Return the pose of the camera along the axes of the IMU (4, 4); ``None`` until it is known."""
        if self._given is not None:
            return self._given
        if not self._imu_frame or not self._camera_frame:
            return None
        return self._extrinsics.between(self._imu_frame, self._camera_frame)

    def add_to(self, frame: Frame, undistorter: Undistorter, frame_id: str) -> Frame:
        """Return the frame unchanged; the tracker waits for its samples while the topic is alive."""
        self._camera_frame = self._config.camera_frame or frame_id
        is_alive = time.monotonic() - self._last_arrival_s < _ALIVE_S
        self.imu.wait_s = self._config.imu_wait_s if is_alive else 0.0
        return frame

    def watch(self) -> None:
        """Check the newest samples, and adapt the subscription to its publishers; called by a timer."""
        if self._subscription is None:
            return
        self._subscription.match_publishers()
        now_s = time.monotonic()
        if now_s - self._checked_s < _CHECK_PERIOD_S:
            return
        self._checked_s = now_s
        reason = self._reason(now_s)
        if reason:
            self._problems.report(Problem.IMU, reason)
        else:
            self._problems.clear(Problem.IMU)

    def diagnostics(self) -> dict[str, str]:
        """Return values for the diagnostics."""
        samples, counts = self.imu.buffer.newest(1.0), self.imu.buffer.counts
        bias = np.degrees(self.imu.gyroscope_bias)
        return {
            "imu samples": str(counts.accepted),
            "imu rate Hz": f"{samples.rate_hz:.0f}",
            "imu samples dropped": str(counts.repeated + counts.unordered),
            "imu gyroscope bias deg/s": " ".join(f"{value:.3f}" for value in bias),
        }

    def _reason(self, now_s: float) -> str:
        if now_s - max(self._last_arrival_s, self._subscribed_s) > _ALIVE_S:
            return (
                f"nothing comes on {self._subscription.topic_name}, the topic of the IMU; check its driver, or remap "
                "imu (imu_topic:=... of the launch file)"
            )
        if self._camera_frame and self.imu_from_camera() is None:
            return (
                f"/tf_static does not connect the IMU ({self._imu_frame or 'without a frame_id'}) with the camera "
                f"({self._camera_frame}), so the IMU is not used; publish it, or set imu_extrinsics"
            )
        findings = self.imu.findings() if self.imu.buffer.counts.accepted else []
        return findings[0].message if findings else ""

    def _on_imu(self, msg: ImuMsg) -> None:
        stamp_ns = stamp_ns_from_msg(msg.header.stamp)
        rate, force = msg.angular_velocity, msg.linear_acceleration
        self._last_arrival_s = time.monotonic()
        self._imu_frame = msg.header.frame_id
        if stamp_ns <= 0:
            self._problems.report(
                Problem.IMU, "a message of the IMU has no time; let its driver set header.stamp to that of the sample"
            )
            return
        try:
            self.imu.buffer.add(stamp_ns, np.array([rate.x, rate.y, rate.z]), np.array([force.x, force.y, force.z]))
        except RosMatchingError as error:
            self._problems.report(Problem.IMU, f"a message of the IMU is ignored: {error}")


class Auxiliaries:
    """Several inputs whose messages belong to an image."""

    def __init__(self, *inputs: Callable[[Frame, Undistorter, str], Frame]) -> None:
        self._inputs = inputs

    def add_to(self, frame: Frame, undistorter: Undistorter, frame_id: str) -> Frame:
        """Return the frame with the data of all inputs."""
        for add in self._inputs:
            frame = add(frame, undistorter, frame_id)
        return frame


def _given_extrinsics(text: str) -> np.ndarray | None:
    """Return the pose (4, 4) of a text ``x y z qx qy qz qw``; ``None`` for ``tf``."""
    if text == "tf":
        return None
    try:
        values = np.array([float(part) for part in text.replace(",", " ").split()])
        if values.shape != (7,):
            raise ValueError
        return poses_from_quaternions(values[None], lambda _: "imu_extrinsics")[0]
    except (ValueError, RosMatchingError):
        raise ConfigError(
            f"imu_extrinsics must be tf, or the pose of the camera along the axes of the IMU, x y z qx qy qz qw in "
            f"metres, got {text!r}"
        ) from None
