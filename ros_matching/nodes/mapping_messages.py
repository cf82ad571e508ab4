"""The messages of ``mapping_node``, from nouns and to nouns: pure functions without a node."""

from __future__ import annotations

import numpy as np
from geometry_msgs.msg import PoseStamped
from sensor_msgs.msg import CameraInfo, Image
from std_msgs.msg import Header

from ros_matching.datatypes import DepthMap, Frame, Keyframe, ScaleState
from ros_matching.errors import DataTypeError, NodeError
from ros_matching.msg import Keyframe as KeyframeMsg
from ros_matching.nodes.conversions import (
    camera_from_msg,
    camera_to_msg,
    image_from_msg,
    image_to_msg,
    pose_from_msg,
    pose_to_msg,
    stamp_ns_from_msg,
)
from ros_matching.nodes.vo_messages import SCALES

_STATES = {number: state for state, number in SCALES.items()}


def keyframe_from_msg(msg: KeyframeMsg) -> Keyframe:
    """The keyframe, its image viewed rather than copied; raises ``NodeError`` for one that cannot be used."""
    try:
        sparse = np.frombuffer(msg.sparse_points, dtype=np.float32).reshape(-1, 3).astype(np.float64)
    except ValueError as error:
        raise NodeError(f"sparse_points must be u, v and depth of each point, got {len(msg.sparse_points)}") from error
    try:
        return Keyframe(
            id=msg.id,
            frame=Frame(
                msg.id, stamp_ns_from_msg(msg.header.stamp), image_from_msg(msg.image), camera_from_msg(msg.camera_info)
            ),
            world_from_camera=pose_from_msg(msg.pose),
            sparse_points_px=sparse[:, :2],
            sparse_depths=sparse[:, 2],
            scale=_scale(msg.scale),
            map_id=msg.map_id,
        )
    except DataTypeError as error:
        raise NodeError(str(error)) from error


def depth_to_msgs(depth_map: DepthMap, camera_header: Header) -> tuple[Image, CameraInfo]:
    """The depth as a 32FC1 image, NaN where it is unknown (REP-118), and its camera."""
    depth = depth_map.depth.astype(np.float32, copy=False)
    return image_to_msg(depth, camera_header, "32FC1"), camera_to_msg(depth_map.camera, camera_header)


def depth_pose_to_msg(keyframe: Keyframe, header: Header) -> PoseStamped:
    """Where the depth's camera stood, by the pose that the depth was made with."""
    return PoseStamped(header=header, pose=pose_to_msg(keyframe.world_from_camera))


def _scale(number: int) -> ScaleState:
    if number not in _STATES:
        raise NodeError(f"the scale of a keyframe must be one of {sorted(_STATES)}, got {number}")
    return _STATES[number]
