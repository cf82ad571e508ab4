"""Messages of ``mapping_node`` from and to data types: pure functions without a node."""

from __future__ import annotations

import numpy as np
from geometry_msgs.msg import PoseStamped
from sensor_msgs.msg import CameraInfo, Image
from std_msgs.msg import Header

from ros_matching.datatypes import DepthMap, Frame, Keyframe, ScaleState
from ros_matching.errors import DataTypeError, NodeError
from ros_matching.msg import Keyframe as KeyframeMsg
from ros_matching.nodes.common.conversions import (
    camera_from_msg,
    camera_to_msg,
    image_from_msg,
    image_size_from_msg,
    image_to_msg,
    pose_from_msg,
    pose_to_msg,
    stamp_ns_from_msg,
)
from ros_matching.nodes.vo.messages import SCALES

_STATES = {number: state for state, number in SCALES.items()}


def keyframe_from_msg(msg: KeyframeMsg) -> Keyframe:
    """Return the keyframe, whose image is a view of the message; ``NodeError`` for an invalid one.

    Sizes are compared before memory is allocated.
    """
    camera = camera_from_msg(msg.camera_info)
    width, height = image_size_from_msg(msg.image)
    if (width, height) != (camera.width, camera.height):
        raise NodeError(f"its image is {width}x{height}, its camera_info describes {camera.width}x{camera.height}")
    if not (np.isfinite(msg.map_scale) and msg.map_scale >= 0):
        raise NodeError(f"its map_scale must be a positive number, or 0 without a map, got {msg.map_scale}")
    sparse = _sparse_points(msg, most=camera.width * camera.height)
    try:
        return Keyframe(
            id=msg.id,
            frame=Frame(
                msg.id, stamp_ns_from_msg(msg.header.stamp), image_from_msg(msg.image), camera, mask=_mask(msg.image)
            ),
            world_from_camera=pose_from_msg(msg.pose),
            sparse_points_px=sparse[:, :2],
            sparse_depths=sparse[:, 2],
            scale=_scale(msg.scale),
            map_id=msg.map_id,
        )
    except DataTypeError as error:
        raise NodeError(str(error)) from error


def _mask(msg: Image) -> np.ndarray | None:
    """The mask (H, W) in the alpha channel of an image whose size was checked; ``None`` without one."""
    if msg.encoding != "rgba8":
        return None
    used = np.frombuffer(msg.data, np.uint8)[: msg.height * msg.step]
    if msg.step < 4 * msg.width or len(used) < msg.height * msg.step - (msg.step - 4 * msg.width):
        raise NodeError(f"its image of {msg.width}x{msg.height} has {len(msg.data)} bytes in rows of {msg.step}")
    padded = np.zeros(msg.height * msg.step, np.uint8)  # the last row may be without its padding
    padded[: len(used)] = used
    return padded.reshape(msg.height, msg.step)[:, 3 : 4 * msg.width : 4] > 0


def _sparse_points(msg: KeyframeMsg, most: int) -> np.ndarray:
    """The points (N, 3), u, v and depth along z, as float64."""
    count, rest = divmod(len(msg.sparse_points), 3)
    if rest or count > most:
        raise NodeError(
            f"sparse_points must be u, v and depth of each point, and no more points than pixels ({most}), got "
            f"{len(msg.sparse_points)} numbers"
        )
    points = np.frombuffer(msg.sparse_points, dtype=np.float32).reshape(-1, 3)
    if not (np.isfinite(points).all() and (points[:, 2] > 0).all()):
        raise NodeError("sparse_points must be finite numbers, and the depth of each point positive")
    return points.astype(np.float64)


def depth_to_msgs(depth_map: DepthMap, camera_header: Header) -> tuple[Image, CameraInfo]:
    """Return the depth as a 32FC1 image, NaN where unknown (REP-118), and its camera."""
    depth = depth_map.depth.astype(np.float32, copy=False)
    return image_to_msg(depth, camera_header, "32FC1"), camera_to_msg(depth_map.camera, camera_header)


def depth_pose_to_msg(keyframe: Keyframe, header: Header) -> PoseStamped:
    """Return the camera pose that the depth was estimated with."""
    return PoseStamped(header=header, pose=pose_to_msg(keyframe.world_from_camera))


def _scale(number: int) -> ScaleState:
    if number not in _STATES:
        raise NodeError(f"the scale of a keyframe must be one of {sorted(_STATES)}, got {number}")
    return _STATES[number]
