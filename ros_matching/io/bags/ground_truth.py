"""Ground truth from a topic of a bag, moved to the camera by ``/tf_static`` if the topic names its frame."""

from __future__ import annotations

import logging
from typing import Any

import numpy as np

from ros_matching.errors import SourceError
from ros_matching.geometry.se3 import invert
from ros_matching.io.bags.bag import Bag, Record, stamp_of
from ros_matching.io.bags.decoding import full_type
from ros_matching.io.poses import poses_from_quaternions
from ros_matching.io.trajectory import Trajectory

# Where a message keeps position and orientation.
_PATHS = {
    "geometry_msgs/msg/PoseStamped": ("pose", "position", "orientation"),
    "geometry_msgs/msg/PoseWithCovarianceStamped": ("pose.pose", "position", "orientation"),
    "nav_msgs/msg/Odometry": ("pose.pose", "position", "orientation"),
    "foxglove_msgs/msg/PoseInFrame": ("pose", "position", "orientation"),
    "geometry_msgs/msg/TransformStamped": ("transform", "translation", "rotation"),
}
_log = logging.getLogger(__name__)


def read_ground_truth(bag: Bag, topic: str, camera_frame: str) -> Trajectory:
    """The poses of the camera on a topic of PoseStamped, PoseWithCovarianceStamped, Odometry or TransformStamped.

    The last two name the frame that moves: where the bag's ``/tf_static`` ties it to ``camera_frame``, the poses are
    moved there; else, and for the first two, they are taken as those of the camera (logged where the frames differ).
    """
    message_type = bag.type_of(topic)
    if message_type not in _PATHS:
        raise SourceError(f"{topic} is {message_type}; a ground-truth topic must be one of {', '.join(_PATHS)}")
    read = [_read_pose(bag, record, f"{topic}, message {record.index}") for record in bag.records(topic)]
    found = [each for each in read if not isinstance(each, str)]
    problems = [each for each in read if isinstance(each, str)]
    if not found:
        raise SourceError(f"{bag.path} has no pose on {topic} that can be used: {problems[0]}")
    if problems:
        _log.warning("%s: %d true poses are left out; the first: %s", bag.path, len(problems), problems[0])
    stamps_ns, poses, frames = zip(*found, strict=True)
    moving_from_camera = _mounting(bag, topic, frames[-1], camera_frame)
    return Trajectory(np.array(stamps_ns, dtype=np.int64), np.array(poses) @ moving_from_camera).in_order()


def _read_pose(bag: Bag, record: Record, where: str) -> tuple[int, np.ndarray, str] | str:
    """Stamp (ns), pose (4, 4) and moving frame of a message, or why it has none."""
    try:
        message = bag.decode(record)
        numbers = _numbers(message, *_PATHS[full_type(record.channel.type)])
        pose = poses_from_quaternions(np.array([numbers]), lambda _: where)[0]
        return stamp_of(message, record.time_ns), pose, str(getattr(message, "child_frame_id", ""))
    except (SourceError, AttributeError, TypeError, ValueError) as error:
        return str(error)


def _mounting(bag: Bag, topic: str, moving_frame: str, camera_frame: str) -> np.ndarray:
    """The pose (4, 4) of the camera in the frame of the ground truth."""
    moving_frame, camera_frame = moving_frame.strip("/"), camera_frame.strip("/")
    if moving_frame in ("", camera_frame):
        return np.eye(4)
    links = static_links(bag)
    root, root_from_moving = root_of(links, moving_frame)
    other_root, root_from_camera = root_of(links, camera_frame)
    if root != other_root:
        _log.warning(
            "%s is of the frame %s, which /tf_static does not tie to the camera's (%s): taken as the camera's pose",
            topic,
            moving_frame,
            camera_frame,
        )
        return np.eye(4)
    return invert(root_from_moving) @ root_from_camera


def static_links(bag: Bag) -> dict[str, tuple[str, np.ndarray]]:
    """Frame -> its parent, and its pose in it."""
    links = {}
    if "/tf_static" in bag.topics():
        for _, message in bag.messages("/tf_static"):
            for link in message.transforms:
                values = np.array([_numbers(link, *_PATHS["geometry_msgs/msg/TransformStamped"])])
                pose = poses_from_quaternions(values, lambda _: "/tf_static")[0]
                links[link.child_frame_id.strip("/")] = (link.header.frame_id.strip("/"), pose)
    return links


def root_of(links: dict[str, tuple[str, np.ndarray]], frame: str) -> tuple[str, np.ndarray]:
    """The root above a frame, and the frame's pose in it."""
    root_from_frame = np.eye(4)
    for _ in range(len(links)):  # a loop in a broken tree ends here
        if frame not in links:
            break
        frame, parent_from_frame = links[frame]
        root_from_frame = parent_from_frame @ root_from_frame
    return frame, root_from_frame


def _numbers(message: Any, path: str, position: str, orientation: str) -> list[float]:
    """Position and quaternion of a message: x y z qx qy qz qw."""
    for name in path.split("."):
        message = getattr(message, name)
    p, q = getattr(message, position), getattr(message, orientation)
    return [p.x, p.y, p.z, q.x, q.y, q.z, q.w]
