"""Messages of the map that SLAM keeps: pure functions without a node.

The frame ``map`` is that of the robot at the first keyframe of the map, as ``odom`` is that of its own first one.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace

import numpy as np
from geometry_msgs.msg import Point, PoseStamped, TransformStamped
from nav_msgs.msg import Path
from sensor_msgs.msg import PointCloud2
from std_msgs.msg import ColorRGBA, Header
from visualization_msgs.msg import Marker, MarkerArray

from ros_matching.atlas.slam_map import SlamMap
from ros_matching.atlas.stored_keyframes import Edge, EdgeKind
from ros_matching.datatypes import Keyframe
from ros_matching.geometry.se3 import invert, orthonormalized, transform
from ros_matching.geometry.sim3 import rigid_part, scale_of
from ros_matching.msg import KeyframeCorrections
from ros_matching.nodes.common.conversions import points_to_msg, pose_to_msg, stamp_to_msg, transform_to_msg
from ros_matching.nodes.common.extrinsics import Extrinsics

_MOST_LANDMARKS = 500_000
_MOST_LINES = 5000  # of each kind: a message of more takes seconds to build
_COLORS = {
    EdgeKind.ODOMETRY: (0.35, 0.75, 1.0, 1.0),
    EdgeKind.COVISIBILITY: (0.5, 0.5, 0.5, 0.5),
    EdgeKind.LOOP: (1.0, 0.35, 0.2, 1.0),
}
_KEYFRAME_COLOR = (0.3, 0.9, 0.4, 1.0)


def map_transform(
    map_from_odom: np.ndarray, extrinsics: Extrinsics, header: Header, odom_frame: str
) -> TransformStamped:
    """Return the TF transform map -> odom from that of the camera worlds (4, 4); ``header`` has the map's frame."""
    odom_from_world = extrinsics.odom_from_world
    moved = odom_from_world @ map_from_odom @ invert(odom_from_world)
    return TransformStamped(header=header, child_frame_id=odom_frame, transform=transform_to_msg(moved))


def keyframe_in_map(keyframe: Keyframe, map_from_odom: np.ndarray) -> tuple[Keyframe, float]:
    """Return a keyframe of the odometry in the map, by the similarity (4, 4), and the scale of its lengths there."""
    similarity = map_from_odom @ keyframe.world_from_camera
    scale = float(scale_of(similarity))
    pose = orthonormalized(rigid_part(similarity))
    return replace(keyframe, world_from_camera=pose, sparse_depths=scale * keyframe.sparse_depths), scale


def corrections_to_msg(
    corrections: Iterable[tuple[int, np.ndarray, float]], extrinsics: Extrinsics, header: Header
) -> KeyframeCorrections:
    """Return corrected keyframes: stamps in nanoseconds, ``map_from_camera`` (4, 4), scales."""
    msg = KeyframeCorrections(header=header)
    for stamp_ns, pose, scale in corrections:
        stamped = PoseStamped(header=Header(stamp=stamp_to_msg(stamp_ns), frame_id=header.frame_id))
        stamped.pose = pose_to_msg(extrinsics.odom_from_camera(pose))
        msg.poses.append(stamped)
        msg.scales.append(scale)
    return msg


def map_path(slam_map: SlamMap, extrinsics: Extrinsics, header: Header) -> Path:
    """Return the robot at the keyframes of the largest connected part, in the order of time."""
    path = Path(header=header)
    ids = (slam_map.components() or [[]])[0]
    for keyframe in sorted((slam_map.keyframe(id) for id in ids), key=lambda keyframe: keyframe.stamp_ns):
        stamped = PoseStamped(header=Header(stamp=stamp_to_msg(keyframe.stamp_ns), frame_id=header.frame_id))
        stamped.pose = pose_to_msg(extrinsics.odom_from_base(keyframe.map_from_camera))
        path.poses.append(stamped)
    return path


def landmark_cloud(slam_map: SlamMap, extrinsics: Extrinsics, header: Header) -> PointCloud2:
    """Return the landmarks, x y z in float32; of very many every n-th."""
    positions = slam_map.landmarks.positions
    positions = positions[:: -(-len(positions) // _MOST_LANDMARKS) or 1]
    return points_to_msg(transform(extrinsics.odom_from_world, positions), header)


def pose_graph_markers(slam_map: SlamMap, extrinsics: Extrinsics, header: Header) -> MarkerArray:
    """Return keyframes as points, and constraints as lines: odometry, covisibility, and loops the thickest."""
    ids = slam_map.ids
    centers = np.array([slam_map.keyframe(id).center for id in ids]).reshape(-1, 3)
    rows = {id: row for row, id in enumerate(ids)}
    positions = transform(extrinsics.odom_from_world, centers)
    size = _marker_size(positions)
    points = new_marker(header, "keyframes", Marker.POINTS, _KEYFRAME_COLOR, 2 * size)
    points.points = marker_points(positions)
    markers = [points]
    for kind in EdgeKind:
        edges = [edge for edge in slam_map.edges if edge.kind is kind]
        width = size if kind is EdgeKind.LOOP else 0.3 * size
        lines = new_marker(header, kind.value, Marker.LINE_LIST, _COLORS[kind], width)
        lines.points = marker_points(positions[_ends(edges, rows)])
        markers.append(lines)
    return MarkerArray(markers=markers)


def _ends(edges: Sequence[Edge], rows: dict[int, int]) -> np.ndarray:
    edges = edges[:: max(-(-len(edges) // _MOST_LINES), 1)]
    return np.array([row for edge in edges for row in (rows[edge.first], rows[edge.second])], np.int64)


def _marker_size(positions: np.ndarray) -> float:
    """A size that can be seen in a map of any unit: a fraction of the median distance of successive keyframes."""
    steps = np.linalg.norm(np.diff(positions, axis=0), axis=1)
    return 0.15 * float(np.median(steps)) if len(steps) and np.median(steps) > 0 else 0.02


def new_marker(header: Header, namespace: str, kind: int, color: Sequence[float], size: float) -> Marker:
    """Return a marker without points: ``kind`` is that of ``Marker``, ``color`` rgba, ``size`` the width of lines."""
    marker = Marker(header=header, ns=namespace, type=kind, action=Marker.ADD)
    marker.pose.orientation.w = 1.0
    marker.scale.x = marker.scale.y = size
    red, green, blue, alpha = color
    marker.color = ColorRGBA(r=red, g=green, b=blue, a=alpha)
    return marker


def marker_points(positions: np.ndarray) -> list[Point]:
    """Return positions (N, 3) as points of a marker."""
    return [Point(x=x, y=y, z=z) for x, y, z in positions.tolist()]
