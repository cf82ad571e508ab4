"""Messages of ``vo_node`` from a ``TrackingResult``: pure functions without a node."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from geometry_msgs.msg import PoseStamped, PoseWithCovarianceStamped, TransformStamped, Vector3
from nav_msgs.msg import Odometry, Path
from sensor_msgs.msg import Image
from std_msgs.msg import Header

from ros_matching.datatypes import Frame, Keyframe, ScaleState
from ros_matching.msg import Keyframe as KeyframeMsg
from ros_matching.msg import VoStatus
from ros_matching.nodes.common.conversions import (
    UNKNOWN_VARIANCE,
    camera_to_msg,
    covariance_to_msg,
    field_array,
    image_to_msg,
    pose_to_msg,
    stamp_to_msg,
)
from ros_matching.nodes.common.extrinsics import Extrinsics, Twist
from ros_matching.odometry.result import TrackingResult, TrackingStatus

_STATES = {
    TrackingStatus.INITIALIZING: VoStatus.INITIALIZING,
    TrackingStatus.TRACKING: VoStatus.TRACKING,
    TrackingStatus.LOST: VoStatus.LOST,
    TrackingStatus.BRIDGED: VoStatus.BRIDGED,
}
SCALES = {
    ScaleState.UP_TO_SCALE: VoStatus.UP_TO_SCALE,
    ScaleState.ANCHORED: VoStatus.ANCHORED,
    ScaleState.METRIC: VoStatus.METRIC,
}
"""The number of a scale state, in ``VoStatus`` and ``Keyframe``."""


def status_to_msg(result: TrackingResult, header: Header) -> VoStatus:
    """Return the status of one image; the node adds its counts and latency."""
    counts = result.counts
    return VoStatus(
        header=header,
        state=_STATES[result.status],
        reason=result.reason,
        scale=SCALES[result.scale],
        scale_source=result.scale_source,
        scale_sigma=float(result.scale_sigma),
        scale_reason=result.scale_reason,
        keypoints=counts.keypoints,
        matches=counts.matches,
        inliers=counts.inliers,
        landmarks=counts.landmarks,
        keyframes=counts.keyframes,
        maps=counts.maps,
        map_id=result.map_id,
        rotation_only=result.rotation_only,
        parallax_deg=float(result.parallax_deg),
        stage_names=list(result.stage_ms),
        stage_ms=[float(value) for value in result.stage_ms.values()],
    )


def relative_pose_to_msg(result: TrackingResult, header: Header) -> PoseWithCovarianceStamped:
    """Return the pose of this camera in the previous frame's camera; ``header`` has this stamp and the camera frame."""
    msg = PoseWithCovarianceStamped(header=header)
    msg.pose.pose = pose_to_msg(result.previous_from_current)
    msg.pose.covariance = covariance_to_msg(relative_covariance(result))
    return msg


def relative_covariance(result: TrackingResult) -> np.ndarray | None:
    """Return the covariance of ``previous_from_current`` in metres for ROS, including the scale's uncertainty."""
    return result.with_scale_uncertainty(UNKNOWN_VARIANCE).relative_covariance


def odometry_to_msg(
    result: TrackingResult, extrinsics: Extrinsics, twist: Twist | None, header: Header, base_frame: str
) -> Odometry:
    """Return the robot in odom and its velocity along its own axes; unknown parts have ``UNKNOWN_VARIANCE``."""
    pose = result.world_from_camera
    in_metres = result.with_scale_uncertainty(UNKNOWN_VARIANCE).covariance
    covariance = None if in_metres is None else extrinsics.odom_covariance(pose, in_metres)
    msg = Odometry(header=header, child_frame_id=base_frame)
    msg.pose.pose = pose_to_msg(extrinsics.odom_from_base(pose))
    msg.pose.covariance = covariance_to_msg(covariance)
    msg.twist.covariance = covariance_to_msg(None if twist is None else twist.covariance)
    if twist is not None:
        msg.twist.twist.linear = _vector(twist.linear)
        msg.twist.twist.angular = _vector(twist.angular)
    return msg


def odometry_transform(odometry: Odometry) -> TransformStamped:
    """Return the TF transform of an odometry message."""
    pose = odometry.pose.pose
    msg = TransformStamped(header=odometry.header, child_frame_id=odometry.child_frame_id)
    msg.transform.translation = Vector3(x=pose.position.x, y=pose.position.y, z=pose.position.z)
    msg.transform.rotation = pose.orientation
    return msg


def keyframe_to_msg(
    keyframe: Keyframe, extrinsics: Extrinsics, odom_frame: str, camera_frame: str, map_scale: float = 0.0
) -> KeyframeMsg:
    """Return a keyframe for mapping, with the camera pose in odom, or in the map with its ``map_scale``."""
    stamp = stamp_to_msg(keyframe.frame.stamp_ns)
    camera_header = Header(stamp=stamp, frame_id=camera_frame)
    sparse = np.column_stack([keyframe.sparse_points_px, keyframe.sparse_depths]).astype(np.float32)
    return KeyframeMsg(
        header=Header(stamp=stamp, frame_id=odom_frame),
        id=keyframe.id,
        map_id=keyframe.map_id,
        pose=pose_to_msg(extrinsics.odom_from_camera(keyframe.world_from_camera)),
        scale=SCALES[keyframe.scale],
        image=_masked_image(keyframe.frame, camera_header),
        camera_info=camera_to_msg(keyframe.frame.camera, camera_header),
        sparse_points=field_array(sparse, "f"),
        map_scale=map_scale,
    )


def _masked_image(frame: Frame, header: Header) -> Image:
    """Return the image; a mask is its alpha channel, zero where it is excluded."""
    if frame.mask is None:
        return image_to_msg(frame.image, header)
    return image_to_msg(np.dstack([frame.image, np.where(frame.mask, 255, 0).astype(np.uint8)]), header, "rgba8")


def keyframe_path_to_msg(poses: Mapping[int, np.ndarray], extrinsics: Extrinsics, odom_header: Header) -> Path:
    """Return keyframe cameras in odom from ``world_from_camera`` (4, 4) by stamp in nanoseconds."""
    path = Path(header=odom_header)
    for stamp_ns, pose in poses.items():
        header = Header(stamp=stamp_to_msg(stamp_ns), frame_id=odom_header.frame_id)
        path.poses.append(PoseStamped(header=header, pose=pose_to_msg(extrinsics.odom_from_camera(pose))))
    return path


def _vector(xyz: np.ndarray) -> Vector3:
    x, y, z = xyz.tolist()
    return Vector3(x=x, y=y, z=z)
