"""Publishers of the map that SLAM keeps: map -> odom with every image, and the map itself from a thread of its own."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from nav_msgs.msg import Path
from rclpy.lifecycle import LifecycleNode
from rclpy.qos import DurabilityPolicy, QoSProfile
from rclpy.qos_overriding_options import QoSOverridingOptions
from sensor_msgs.msg import PointCloud2
from std_msgs.msg import Header
from tf2_msgs.msg import TFMessage
from visualization_msgs.msg import MarkerArray

from ros_matching.atlas.slam_map import SlamMap
from ros_matching.datatypes import Keyframe
from ros_matching.errors import NodeError
from ros_matching.msg import Keyframe as KeyframeMsg
from ros_matching.msg import KeyframeCorrections, VoStatus
from ros_matching.nodes.common.extrinsics import Extrinsics
from ros_matching.nodes.common.worker import Worker
from ros_matching.nodes.vo import map_messages
from ros_matching.nodes.vo.config import VoConfig
from ros_matching.nodes.vo.messages import keyframe_to_msg
from ros_matching.nodes.vo.slam_tracker import SlamTracker
from ros_matching.slam import SlamStatus

_SMALL = QoSProfile(depth=10)
_LATCHED = QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL)
_TF = QoSProfile(depth=100)  # as tf2_ros
_BUILDERS: dict[str, tuple[type, Callable[[SlamMap, Extrinsics, Header], object]]] = {
    "~/map_path": (Path, map_messages.map_path),
    "~/landmarks": (PointCloud2, map_messages.landmark_cloud),
    "~/pose_graph": (MarkerArray, map_messages.pose_graph_markers),
}


class ChangedKeyframes:
    """The keyframes of a map that have changed since they were taken, also those that were removed as redundant."""

    def __init__(self) -> None:
        self._taken: dict[int, tuple[int, np.ndarray, float]] = {}  # stamp, pose and scale by id

    def take(self, slam_map: SlamMap) -> list[tuple[int, np.ndarray, float]]:
        """Return stamps in nanoseconds, ``map_from_camera`` (4, 4) and scales of changed keyframes."""
        now = {k.id: (k.stamp_ns, k.map_from_camera, k.scale) for k in slam_map.keyframes}
        for id in slam_map.culled:
            if id in self._taken:
                now[id] = (self._taken[id][0], *slam_map.pose_of(id))
        changed = [state for id, state in now.items() if id not in self._taken or _differ(state, self._taken[id])]
        self._taken = now
        return changed


def _differ(state: tuple[int, np.ndarray, float], other: tuple[int, np.ndarray, float]) -> bool:
    return state[2] != other[2] or (state[1] is not other[1] and not np.array_equal(state[1], other[1]))


class MapOutputs:
    """Publishers of a ``SlamTracker``. ``publish`` and ``fill`` are called for each image, in the worker of images.

    Keyframes for mapping are in the map. The latched topics and corrected keyframes follow at most every
    ``map_period_s``, when the map has changed.
    """

    def __init__(
        self, node: LifecycleNode, config: VoConfig, tracker: SlamTracker, on_error: Callable[[Exception], None]
    ) -> None:
        self._node, self._config, self._tracker = node, config, tracker
        self._tf = self._create(TFMessage, "/tf", _TF) if config.publish_map_tf else None
        self._latched = {topic: self._create(kind, topic, _LATCHED) for topic, (kind, _) in _BUILDERS.items()}
        self._keyframe = self._create(KeyframeMsg, "keyframe", _SMALL)
        self._corrections = self._create(KeyframeCorrections, "keyframe_corrections", _SMALL)
        self._changed = ChangedKeyframes()
        self._newest: tuple[Header, Extrinsics] | None = None
        self._is_changed = False
        self._keyframes = 0
        self._worker: Worker[None] = Worker(
            lambda _: None,
            on_error,
            "map_publisher",
            periodic_task=self._publish_map,
            task_period_s=config.map_period_s,
        )

    @property
    def extrinsics(self) -> Extrinsics | None:
        """Those of the camera of the last image."""
        return None if self._newest is None else self._newest[1]

    def destroy(self) -> None:
        """End the thread and remove the publishers from the node."""
        self._worker.stop()
        for publisher in filter(None, [self._tf, self._keyframe, self._corrections, *self._latched.values()]):
            self._node.destroy_lifecycle_publisher(publisher)
        self._latched, self._tf = {}, None

    def publish(self, keyframes: Sequence[Keyframe], header: Header, extrinsics: Extrinsics | None) -> None:
        """Publish map -> odom and new keyframes, if their place is known.

        ``header`` has the stamp of the image and the camera's frame.
        """
        last = self._tracker.last
        if last is None or extrinsics is None:
            return
        map_header = Header(stamp=header.stamp, frame_id=self._config.map_frame)
        if last.map_from_odom is not None and self._tf is not None:
            transform = map_messages.map_transform(last.map_from_odom, extrinsics, map_header, self._config.odom_frame)
            self._tf.publish(TFMessage(transforms=[transform]))
        self._publish_keyframes(keyframes, extrinsics, header.frame_id)
        self._is_changed |= bool(last.events) or last.keyframes != self._keyframes
        self._keyframes = last.keyframes
        self._newest = map_header, extrinsics

    def fill(self, status: VoStatus) -> None:
        """Write the state of the map into a status message."""
        last = self._tracker.last
        if last is None:
            return
        status.map_state = VoStatus.NO_MAP
        if last.keyframes:
            known = last.map_from_odom is not None and last.status is not SlamStatus.UNLOCALIZED
            status.map_state = VoStatus.LOCALIZED if known else VoStatus.UNLOCALIZED
        status.map_keyframes = last.keyframes
        status.map_loops = self._tracker.loops
        status.map_events = [str(event) for event in last.events]

    def _publish_keyframes(self, keyframes: Sequence[Keyframe], extrinsics: Extrinsics, camera_frame: str) -> None:
        map_from_odom = self._tracker.map_from_odom
        if map_from_odom is None or not self._keyframe.get_subscription_count():
            return
        for keyframe in keyframes:
            in_map, scale = map_messages.keyframe_in_map(keyframe, map_from_odom)
            self._keyframe.publish(
                keyframe_to_msg(in_map, extrinsics, self._config.map_frame, camera_frame, map_scale=scale)
            )

    def _publish_map(self) -> None:
        if not self._is_changed or self._newest is None:
            return
        self._is_changed = False
        header, extrinsics = self._newest
        try:
            slam_map = self._tracker.snapshot()
        except NodeError:
            return
        corrections = self._changed.take(slam_map)
        if corrections and self._corrections.get_subscription_count():
            self._corrections.publish(map_messages.corrections_to_msg(corrections, extrinsics, header))
        for topic, publisher in self._latched.items():
            publisher.publish(_BUILDERS[topic][1](slam_map, extrinsics, header))

    def _create(self, message_type: type, topic: str, qos: QoSProfile):
        return self._node.create_lifecycle_publisher(
            message_type, topic, qos, qos_overriding_options=QoSOverridingOptions.with_default_policies()
        )
