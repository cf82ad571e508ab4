"""The other end of mapping_node's topics, and a mapper whose answers are known."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from pathlib import Path as FilePath
from typing import Any

import numpy as np
from diagnostic_msgs.msg import DiagnosticArray
from geometry_msgs.msg import PoseStamped
from nav_msgs.msg import Path
from node_peer import TIMEOUT_S, Peer
from rclpy.parameter import Parameter
from rclpy.qos import DurabilityPolicy, QoSProfile
from sensor_msgs.msg import CameraInfo, Image, PointCloud2
from std_srvs.srv import Trigger
from vo_peer import CAMERA, CAMERA_FRAME, MAP_NUMBER, noise_image, stamp_ns

from ros_matching.datatypes import DepthMap, Frame, Keyframe, PointCloud, ScaleState
from ros_matching.geometry.se3 import exp_so3, pose_from, transform
from ros_matching.geometry.sim3 import rigid_part, scale_of, similarity_from
from ros_matching.mapping import MappingConfig, MappingCounts, MappingResult, MappingStatus
from ros_matching.mapping.voxel_map import VoxelArrays
from ros_matching.msg import Keyframe as KeyframeMsg
from ros_matching.msg import KeyframeCorrections
from ros_matching.nodes.common.conversions import header_to_msg
from ros_matching.nodes.common.extrinsics import BODY_FROM_OPTICAL, IDENTITY
from ros_matching.nodes.mapping.mapping_node import MappingNode
from ros_matching.nodes.vo.messages import keyframe_path_to_msg, keyframe_to_msg

OUTPUTS = {
    "dense_cloud": PointCloud2,
    "map_cloud": PointCloud2,
    "depth/image": Image,
    "depth/camera_info": CameraInfo,
    "depth/pose": PoseStamped,
    "/diagnostics": DiagnosticArray,
}
LATCHED = QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL)
DEPTH_CAMERA = CAMERA.scaled(16, 12)
STEP = pose_from(exp_so3([0.0, 0.05, 0.0]), np.array([0.2, 0.0, 0.1]))


def keyframe(number: int, scale: ScaleState = ScaleState.UP_TO_SCALE) -> Keyframe:
    """The keyframe of a number: each is ``STEP`` away from the one before."""
    points = np.array([[10.0, 12.0], [30.5, 20.25], [40.0, 30.0]])
    pose = np.linalg.matrix_power(STEP, number)
    frame = Frame(number, stamp_ns(number), noise_image(number), CAMERA)
    return Keyframe(number, frame, pose, points, np.array([2.0, 3.0, 4.0]), scale, map_id=MAP_NUMBER)


def keyframe_message(number: int, scale: ScaleState = ScaleState.UP_TO_SCALE) -> KeyframeMsg:
    """The message that vo_node sends of the keyframe of a number."""
    return keyframe_to_msg(keyframe(number, scale), IDENTITY, "odom", CAMERA_FRAME)


def depth_map(number: int) -> DepthMap:
    """Return the depth of the known mapper for the keyframe with this number; partly unknown."""
    depth = np.random.default_rng(number).uniform(1, 5, (DEPTH_CAMERA.height, DEPTH_CAMERA.width)).astype(np.float32)
    depth[0] = np.nan
    return DepthMap(depth, np.where(np.isnan(depth), 0, 0.9).astype(np.float32), DEPTH_CAMERA)


def camera_points(number: int) -> np.ndarray:
    """Return the points (5, 3) of the known mapper in the camera of the keyframe with this number."""
    return np.random.default_rng(number).uniform(-1, 1, (5, 3))


def points_in_odom(*numbers: int) -> np.ndarray:
    """The points of the keyframes of these numbers in odom."""
    poses = [BODY_FROM_OPTICAL @ keyframe(number).world_from_camera for number in numbers]
    return np.concatenate([transform(pose, camera_points(n)) for pose, n in zip(poses, numbers, strict=True)])


class KnownMapper:
    """Maps every keyframe at once, with the points of its number; it moves them with their keyframes."""

    def __init__(self, device: str, config: MappingConfig, **options: Any) -> None:
        self.device, self.config, self.options = device, config, options
        self.keyframes: dict[int, Keyframe] = {}
        self.poses: dict[int, np.ndarray] = {}
        self.points: dict[int, np.ndarray] = {}
        self.scales: dict[int, float] = {}
        self.seen: list[int] = []
        self.clears = 0
        self.finished = 0
        self.error: Exception | None = None
        self.refusal = ""
        self.gate: threading.Event | None = None

    def add(self, keyframe: Keyframe) -> MappingResult:
        if self.gate is not None:
            assert self.gate.wait(TIMEOUT_S)
        if self.error is not None:
            raise self.error
        self.seen.append(keyframe.id)
        if self.refusal:
            return MappingResult(keyframe, MappingStatus.REFUSED, f"{self.refusal} {keyframe.id}")
        self.keyframes[keyframe.id] = keyframe
        self.poses[keyframe.id] = keyframe.world_from_camera
        self.points[keyframe.id] = camera_points(keyframe.id)
        cloud = self._cloud([keyframe.id])
        counts = MappingCounts(sources=4, points=len(cloud), map_points=5 * len(self.keyframes))
        return MappingResult(
            keyframe,
            MappingStatus.MAPPED,
            depth_map=depth_map(keyframe.id),
            cloud=cloud,
            depth_range=(1.0, 5.0),
            counts=counts,
            stage_ms={"depth": 3.0},
        )

    def move(self, poses: Mapping[int, np.ndarray], scales: Mapping[int, float]) -> None:
        self.poses |= {id: pose for id, pose in poses.items() if id in self.poses}
        self.scales |= scales

    def finish(self) -> list[MappingResult]:
        self.finished += 1
        return []

    def cloud(self) -> PointCloud:
        return self._cloud(list(self.poses))

    def clear(self) -> None:
        self.clears += 1
        self.keyframes.clear()
        self.poses.clear()

    def arrays(self) -> tuple[VoxelArrays, ScaleState] | None:
        if not self.poses:
            return None
        ids, count = list(self.poses), 5 * len(self.poses)
        poses = np.stack([similarity_from(self.poses[id], self.scales.get(id, 1.0)) for id in ids])
        arrays = VoxelArrays(
            voxel_size=0.1,
            points=np.concatenate([self.points[id] for id in ids]).astype(np.float32),
            colors=np.full((count, 3), 7, np.uint8),
            confidence=np.ones(count, np.float32),
            keyframe=np.repeat(np.arange(len(ids), dtype=np.int32), 5),
            observed=np.ones(count, np.int32),
            count=np.ones(count, np.int32),
            ids=np.array(ids),
            poses=poses,
            maps=np.zeros(len(ids), np.int64),
        )
        return arrays, ScaleState.UP_TO_SCALE

    def restore(self, arrays: VoxelArrays, unit: ScaleState) -> None:
        for row, id in enumerate(arrays.ids.tolist()):
            self.poses[id], self.scales[id] = rigid_part(arrays.poses[row]), float(scale_of(arrays.poses[row]))
            self.points[id] = arrays.points[arrays.keyframe == row]

    def _cloud(self, ids: list[int]) -> PointCloud:
        points = [transform(self.poses[id], self.scales.get(id, 1.0) * self.points[id]) for id in ids]
        points = np.concatenate(points) if points else np.zeros((0, 3))
        return PointCloud(points, np.full((len(points), 3), (10, 20, 30), np.uint8), np.full(len(points), 0.75))


class MappingPeer(Peer):
    """Publishes keyframes as vo_node does, and keeps all that mapping_node publishes."""

    def __init__(self, context, *, listen_to=tuple(OUTPUTS)) -> None:
        topics = {topic: OUTPUTS[topic] for topic in listen_to}
        super().__init__(context, "mapping_node", topics, {"map_cloud": LATCHED})
        self.keyframes = self.create_publisher(KeyframeMsg, "keyframe", 100)
        self.paths = self.create_publisher(Path, "keyframe_path", 100)
        self.corrections = self.create_publisher(KeyframeCorrections, "keyframe_corrections", 100)

    def settle(self) -> None:
        """Wait until mapping_node and this node have found each other."""
        self.wait_until_matched(self.keyframes, self.paths, self.corrections)

    def correct(self, frame_id: str = "odom", **poses: np.ndarray) -> None:
        """Publish corrected poses of keyframes, by ``k`` and their number."""
        stamped = {stamp_ns(int(name[1:])): pose for name, pose in poses.items()}
        header = header_to_msg(max(stamped), frame_id)
        self.paths.publish(keyframe_path_to_msg(stamped, IDENTITY, header))

    def send(self, number: int, state: ScaleState = ScaleState.UP_TO_SCALE, **changes: Any) -> None:
        """Publish the keyframe of a number."""
        msg = keyframe_message(number, state)
        for name, value in changes.items():
            setattr(msg, name, value)
        self.keyframes.publish(msg)

    def save(self, node: MappingNode, path: FilePath) -> Trigger.Response:
        """Call ~/save_cloud with this file."""
        assert node.set_parameters([Parameter("cloud_file", value=str(path))])[0].successful
        return self.call("save_cloud")
