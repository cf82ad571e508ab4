"""Lifecycle cycles of vo_node with the real odometry, whose mapping runs in a thread."""

from __future__ import annotations

import gc
import threading
import weakref

import pytest

pytest.importorskip("rclpy", reason="needs ROS 2 (rclpy)")
pytest.importorskip("ros_matching.msg", reason="needs the built messages of this package (make build)")

from rclpy.executors import SingleThreadedExecutor
from rclpy.lifecycle import TransitionCallbackReturn
from rclpy.parameter import Parameter
from vo_peer import CAMERA_FRAME, VoPeer

from ros_matching.io import open_source
from ros_matching.msg import VoStatus
from ros_matching.nodes.common.conversions import camera_to_msg, header_to_msg, image_to_msg
from ros_matching.nodes.common.spinning import spinning
from ros_matching.nodes.vo.vo_node import VoNode

pytestmark = pytest.mark.ros

CYCLES = 10
FRAMES = 12
CYCLE_NS = 60 * 10**9
SUCCESS = TransitionCallbackReturn.SUCCESS


def test_ten_lifecycle_cycles_track_alike_and_leave_nothing_behind(context):
    parameters = {"matcher": "sift", "camera_extrinsics": "identity", "mapping_thread": True}
    overrides = [Parameter(name, value=value) for name, value in parameters.items()]
    node, peer = VoNode(context=context, parameter_overrides=overrides), VoPeer(context)
    frames = list(open_source(f"scene:room?seed=1&frames={FRAMES}&fps=4&width=160&height=128"))
    trackers, threads = [], []
    with spinning(SingleThreadedExecutor(context=context), node, peer):
        for cycle in range(CYCLES):
            assert node.trigger_configure() == SUCCESS
            assert node.trigger_activate() == SUCCESS
            peer.settle()
            for frame in frames:
                # Stamps of their own: the peer knows an answer by its stamp
                header = header_to_msg(frame.stamp_ns + cycle * CYCLE_NS, CAMERA_FRAME)
                status = peer.send(image_to_msg(frame.image, header), camera_to_msg(frame.camera, header))
            assert status.state == VoStatus.TRACKING, f"cycle {cycle}: {status.reason}"
            trackers.append(weakref.ref(node._pipeline._parts.tracker))
            assert node.trigger_deactivate() == SUCCESS
            assert node.trigger_cleanup() == SUCCESS
            threads.append(threading.active_count())
    gc.collect()
    assert threads[-1] == threads[0]
    assert sum(tracker() is not None for tracker in trackers) == 0
