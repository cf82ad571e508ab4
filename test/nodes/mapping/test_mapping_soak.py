"""mapping_node over thousands of keyframes: memory and work per keyframe stay as they are."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest

pytest.importorskip("rclpy", reason="needs ROS 2 (rclpy)")
pytest.importorskip("ros_matching.msg", reason="needs the built messages of this package (make build)")

from call_count import count_calls
from mapping_peer import MappingPeer, keyframe
from node_peer import wait_until
from rclpy.executors import SingleThreadedExecutor
from rclpy.parameter import Parameter
from vo_peer import CAMERA, CAMERA_FRAME, stamp_ns

from ros_matching.datatypes import DepthMap, Keyframe
from ros_matching.geometry.se3 import pose_from
from ros_matching.mapping import DenseMapper
from ros_matching.networks.pbs_mvsnet.estimator import DepthPyramid, feature_camera
from ros_matching.nodes.common.diagnostics import resident_mib
from ros_matching.nodes.common.extrinsics import IDENTITY
from ros_matching.nodes.common.spinning import spinning
from ros_matching.nodes.mapping.mapping_node import MappingNode
from ros_matching.nodes.vo.messages import keyframe_path_to_msg, keyframe_to_msg

pytestmark = [pytest.mark.ros, pytest.mark.slow]

KEYFRAMES = int(os.environ.get("ROS_MATCHING_SOAK_KEYFRAMES", "500"))
WARM_UP = KEYFRAMES // 4
WALL = 3.0
STEP = 0.1
MOST_POINTS = 5_000
PARAMETERS = {"mapping.voxel_size": 0.02, "mapping.max_points": MOST_POINTS, "map_period_s": 0.1}


class WallEstimator:
    """Knows that all there is is a wall, ahead of cameras that move along it."""

    def estimate_pyramid(
        self, reference: Keyframe, sources: Sequence[Keyframe], depth_range: tuple[float, float]
    ) -> DepthPyramid:
        camera = feature_camera(reference.frame.camera)
        depth = np.full((camera.height, camera.width), WALL, np.float32)
        return DepthPyramid((DepthMap(depth, np.ones_like(depth), camera),), reference.world_from_camera)


@pytest.fixture(scope="module")
def template() -> Keyframe:
    u, v = np.meshgrid(np.linspace(2, CAMERA.width - 3, 8), np.linspace(2, CAMERA.height - 3, 6))
    points = np.column_stack([u.ravel(), v.ravel()])
    return replace(keyframe(0), sparse_points_px=points, sparse_depths=np.full(len(points), WALL))


def along_the_wall(template: Keyframe, number: int) -> Keyframe:
    pose = pose_from(np.eye(3), np.array([STEP * number, 0.0, 0.0]))
    return replace(
        template, id=number, world_from_camera=pose, frame=replace(template.frame, stamp_ns=stamp_ns(number))
    )


@pytest.mark.timeout(3000)
def test_memory_and_work_are_constant(context, template):
    def load(device, config, **options):
        return DenseMapper(WallEstimator(), config)

    overrides = [Parameter(name, value=value) for name, value in PARAMETERS.items()]
    node = MappingNode(load=load, context=context, parameter_overrides=overrides)
    peer = MappingPeer(context)
    assert node.bring_up()
    process = node._worker._process
    calls: list[int] = []
    node._worker._process = lambda item: calls.append(count_calls(process, item)[1])
    with spinning(SingleThreadedExecutor(context=context), node, peer):
        peer.settle()
        for number in range(KEYFRAMES):
            poses = {
                stamp_ns(k): along_the_wall(template, k).world_from_camera for k in range(max(0, number - 5), number)
            }
            view = along_the_wall(template, number)
            msg = keyframe_to_msg(view, IDENTITY, "odom", CAMERA_FRAME)
            peer.paths.publish(keyframe_path_to_msg(poses, IDENTITY, msg.header))
            peer.keyframes.publish(msg)
            wait_until(lambda number=number: len(calls) > number)
            peer.received.clear()
            if number == WARM_UP:
                warm_mib = resident_mib()
    grown_mib = resident_mib() - warm_mib
    early, late = slice(WARM_UP, 2 * WARM_UP), slice(-WARM_UP, None)
    print(
        f"{np.median(calls[early]):.0f} calls, then {np.median(calls[late]):.0f} for a keyframe; "
        f"{warm_mib:.0f} MiB and {grown_mib:+.1f}"
    )
    statistics = node._statistics
    # The first keyframe has a neighbour too few.
    assert (statistics.mapped, statistics.refused) == (KEYFRAMES - 1, 1)
    assert (statistics.dropped, statistics.missed) == (0, 0)
    assert 0.5 * MOST_POINTS < statistics.last.counts.map_points <= MOST_POINTS
    assert np.median(calls[late]) < 1.1 * np.median(calls[early])
    assert grown_mib < 5
