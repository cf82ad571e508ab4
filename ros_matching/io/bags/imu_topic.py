"""The IMU of a bag: its samples, and its place relative to the camera by ``/tf_static``."""

from __future__ import annotations

import logging

import numpy as np

from ros_matching.datatypes import ImuRecording, ImuSamples
from ros_matching.errors import SourceError
from ros_matching.geometry.se3 import invert
from ros_matching.io.bags.bag import Bag, frame_of, stamp_of
from ros_matching.io.bags.ground_truth import root_of, static_links

_IMU = "sensor_msgs/msg/Imu"
_log = logging.getLogger(__name__)


def read_imu(bag: Bag, topic: str | None, camera_frame: str) -> ImuRecording | None:
    """Read the samples of a topic, or of the only topic of an IMU; ``None`` if there is none.

    Raises ``SourceError`` if there are several, or the topic has no usable message.
    """
    topics = bag.topics(_IMU)
    if topic is None:
        if not topics:
            return None
        if len(topics) > 1:
            raise SourceError(f"{bag.path} has several IMUs: choose one by imu_topic=NAME; it has {', '.join(topics)}")
        topic = topics[0]
    if bag.type_of(topic) != _IMU:
        raise SourceError(f"{topic} is {bag.type_of(topic)}; the topic of an IMU must be {_IMU}")
    rows, frame = [], ""
    for recorded_ns, message in bag.messages(topic):
        rate, force = message.angular_velocity, message.linear_acceleration
        rows.append((stamp_of(message, recorded_ns), rate.x, rate.y, rate.z, force.x, force.y, force.z))
        frame = frame_of(message)
    values = np.array([row[1:] for row in rows], dtype=np.float64).reshape(-1, 6)
    good = np.isfinite(values).all(axis=1)
    if not good.any():
        raise SourceError(f"{bag.path} has no usable message on {topic}")
    if not good.all():
        _log.warning("%s: %d samples on %s are not finite and are left out", bag.path, np.count_nonzero(~good), topic)
    stamps_ns = np.array([row[0] for row in rows], dtype=np.int64)[good]
    samples = ImuSamples(stamps_ns, values[good, :3], values[good, 3:])
    return ImuRecording(samples, f"{topic} in {bag.path}", _imu_from_camera(bag, frame, camera_frame))


def _imu_from_camera(bag: Bag, imu_frame: str, camera_frame: str) -> np.ndarray | None:
    links = static_links(bag)
    root, root_from_imu = root_of(links, imu_frame.strip("/"))
    other, root_from_camera = root_of(links, camera_frame.strip("/"))
    return invert(root_from_imu) @ root_from_camera if root == other else None
