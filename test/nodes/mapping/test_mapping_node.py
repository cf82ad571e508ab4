"""Lifecycle and diagnostics of mapping_node, with a mapper of known results."""

from __future__ import annotations

import os
import threading

import pytest

pytest.importorskip("rclpy", reason="needs ROS 2 (rclpy)")
pytest.importorskip("ros_matching.msg", reason="needs the built messages of this package (make build)")

from mapping_peer import (
    KnownMapper,
)
from node_peer import figure, wait_until
from rclpy.lifecycle import TransitionCallbackReturn
from rclpy.parameter import Parameter
from vo_peer import MAP_NUMBER

from ros_matching.errors import CheckpointError, NodeError
from ros_matching.nodes.mapping.mapping_node import MappingNode

pytestmark = pytest.mark.ros

SUCCESS = TransitionCallbackReturn.SUCCESS


def test_the_life_of_the_node(start_mapping, tmp_path):
    node, mapper, peer = start_mapping(device="cpu", **{"mapping.views": 4})
    assert (mapper.device, mapper.config.views) == ("cpu", 4)
    assert mapper.options == {"weights": None, "network": "pbs_mvsnet_lite"}
    peer.send(0)
    peer.last("dense_cloud")
    refused = node.set_parameters([Parameter("mapping.views", value=3)])[0]
    assert not refused.successful
    assert "clean up" in refused.reason

    assert node.trigger_deactivate() == SUCCESS
    assert mapper.finished == 1
    assert "inactive" in peer.diagnosis("inactive").message
    assert peer.save(node, tmp_path / "cloud.ply").success
    assert node.trigger_activate() == SUCCESS
    peer.settle()
    peer.send(1)
    peer.last("dense_cloud", count=2)
    assert mapper.seen == [0, 1]

    assert node.trigger_deactivate() == SUCCESS
    assert node.trigger_cleanup() == SUCCESS
    answer = peer.call("clear")
    assert not answer.success
    assert "unconfigured" in answer.message
    assert node.set_parameters([Parameter("mapping.views", value=3)])[0].successful
    assert not any(publisher.topic_name in ("/dense_cloud", "/map_cloud") for publisher in node.publishers)


def test_the_diagnostics_contain_times_counts_and_memory(start_mapping):
    node, _, peer = start_mapping()
    for number in (0, 1, 4):
        peer.send(number)
    wait_until(lambda: node._statistics.mapped == 3)
    diagnosis = peer.diagnosis("mapped keyframe 4")
    assert "dense mapping" in diagnosis.name
    expected = {
        "lifecycle state": "active",
        "keyframes received": "3",
        "keyframes mapped": "3",
        "keyframes refused": "0",
        "keyframes dropped": "0",
        "keyframes missed": "2",
        "queue": "0 of 10",
        "depth range": "1 to 5",
        "map": str(MAP_NUMBER),
        "source views": "4",
        "points of the map": "15",
        "scale": "up_to_scale",
    }
    assert {key: figure(diagnosis, key) for key in expected} == expected
    assert float(figure(diagnosis, "memory MiB")) > 10
    timed = [pair.key for array in peer.received["/diagnostics"] for pair in array.status[0].values]
    assert {"latency ms (mean, max)", "depth ms (mean, max)"} <= set(timed)


def test_weights_that_do_not_load_are_reported(context, capfd):
    def load(device, config, **options):
        raise CheckpointError("there is no file nowhere.safetensors")

    node = MappingNode(load=load, context=context)
    assert not node.bring_up()
    assert node.state == "unconfigured"
    node.destroy_node()
    assert "nowhere.safetensors" in capfd.readouterr().err


def test_a_wrong_parameter_keeps_the_node_from_starting(context):
    with pytest.raises(NodeError, match=r"mapping\.min_confidence"):
        MappingNode(
            load=KnownMapper, context=context, parameter_overrides=[Parameter("mapping.min_confidence", value=2.0)]
        )


def test_the_worker_gives_way_to_the_odometry(start_mapping):
    node, _, _ = start_mapping(niceness=7)
    thread = node._worker._thread.native_id
    here = os.getpriority(os.PRIO_PROCESS, threading.get_native_id())
    wait_until(lambda: os.getpriority(os.PRIO_PROCESS, thread) == min(here + 7, 19))
