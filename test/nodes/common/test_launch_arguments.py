"""Parameters of the nodes by the arguments of the launch file and of `ros-matching run`."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path

import pytest
import yaml

from ros_matching.errors import ConfigError
from ros_matching.nodes.common.launch_arguments import ARGUMENTS, NodePlan, misspelt, plan

REPOSITORY = Path(__file__).resolve().parents[3]


def planned(**values: str) -> dict[str, NodePlan]:
    return {node.executable: node for node in plan(values)}


def test_the_defaults_override_no_parameter_file():
    nodes = planned()
    assert list(nodes) == ["vo_node"]
    assert nodes["vo_node"] == NodePlan("vo_node", parameters={"autostart": True})


def test_an_argument_that_is_empty_is_as_if_it_were_not_given():
    assert plan({argument.name: "" for argument in ARGUMENTS}) == plan({})


def test_values_reach_the_parameters_in_their_types():
    values = {
        "matcher": "orb",
        "device": "cuda:1",
        "camera_extrinsics": "identity",
        "transport": "compressed",
        "scale": "height",
        "camera_height_m": "1",
        "publish_tf": "False",
    }
    expected = {
        "autostart": True,
        "matcher": "orb",
        "device": "cuda:1",
        "camera_extrinsics": "identity",
        "transport": "compressed",
        "scale.source": "height",
        "scale.camera_height_m": 1.0,
        "publish_tf": False,
    }
    parameters = planned(**values)["vo_node"].parameters
    assert parameters == expected
    assert type(parameters["scale.camera_height_m"]) is float


def test_a_former_name_of_an_argument_still_works():
    parameters = planned(backend="sift", camera_mount="tf", camera_extrinsics="identity")["vo_node"].parameters
    assert parameters == {"autostart": True, "matcher": "sift", "camera_extrinsics": "identity"}


@pytest.mark.parametrize(("name", "node"), [("vo_node", "VoNode"), ("mapping_node", "MappingNode")])
def test_every_parameter_is_one_of_the_node(name, node):
    pytest.importorskip("rclpy", reason="needs ROS 2 (rclpy)")
    from ros_matching.nodes.mapping.mapping_node import MappingNode
    from ros_matching.nodes.vo.vo_node import VoNode

    configs = {"VoNode": VoNode, "MappingNode": MappingNode}[node].CONFIGS
    known = {prefix + field.name for prefix, config in configs for field in fields(config)}
    texts = {argument.name: argument.choices[-1] if argument.choices else "1" for argument in ARGUMENTS}
    files = {argument.name: "" for argument in ARGUMENTS if argument.share_file}
    assert set(planned(**texts | files)[name].parameters) <= known | {"use_sim_time"}


def test_the_shipped_parameter_files_are_those_of_the_nodes():
    for argument in ARGUMENTS:
        if argument.share_file:
            content = yaml.safe_load((REPOSITORY / argument.share_file).read_text())
            assert content


def test_a_source_is_replayed_when_all_nodes_are_active_and_brings_its_own_time():
    nodes = planned(source="0", mapping="true", rate="2", wait_for_consumer="true")
    assert list(nodes) == ["vo_node", "mapping_node", "replay_node"]
    assert nodes["replay_node"].parameters == {
        "source": "0",
        "rate": 2.0,
        "wait_for_consumer": True,
        "wait_for": "vo_node,mapping_node",
    }
    assert all(nodes[name].parameters["use_sim_time"] is True for name in ("vo_node", "mapping_node"))
    assert planned(source="0", use_sim_time="false")["vo_node"].parameters["use_sim_time"] is False
    assert planned(source="0")["replay_node"].parameters["wait_for"] == "vo_node"


def test_a_file_for_the_map_is_written_at_the_end_and_implies_mapping():
    parameters = planned(cloud="/tmp/map.ply")["mapping_node"].parameters
    assert parameters == {"autostart": True, "cloud_file": "/tmp/map.ply", "save_at_end": True}
    assert "cloud_file" not in planned(mapping="true", autostart="false")["mapping_node"].parameters
    parameters = planned(dense_map="/tmp/map.safetensors")["mapping_node"].parameters
    assert parameters == {"autostart": True, "map_file": "/tmp/map.safetensors", "save_at_end": True}


def test_topics_are_remapped_where_they_differ():
    values = {"image_topic": "/eye/image", "camera_info_topic": "/eye/info", "wheel_odom_topic": "/wheels"}
    nodes = planned(**values, source="scene:room", mapping="true", clock_topic="clock", tf_topic="tf")
    images = [("image", "/eye/image"), ("camera_info", "/eye/info")]
    rest = [("image/compressed", "/eye/image/compressed"), ("/tf", "tf"), ("/tf_static", "tf_static")]
    rest.append(("/clock", "clock"))
    assert set(nodes["replay_node"].remappings) == {*images, *rest}
    assert set(nodes["vo_node"].remappings) == {*images, *rest, ("wheel_odom", "/wheels")}
    assert set(nodes["mapping_node"].remappings) == set(rest[1:])


def test_frames_of_a_robot_have_its_prefix_everywhere():
    nodes = planned(source="scene:room", rviz="true", frame_prefix="robot1/", base_frame="body")
    for name in ("vo_node", "replay_node"):
        assert nodes[name].parameters["frame_prefix"] == "robot1/"
        assert nodes[name].parameters["base_frame"] == "body"
    assert nodes["rviz2"].arguments[-2:] == ("--fixed-frame", "robot1/odom")
    assert "--fixed-frame" not in planned(rviz="true")["rviz2"].arguments


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"source": "scene:room", "rate": "fast"}, "rate must be a number"),
        ({"camera_height_m": "nan"}, "camera_height_m must be a number"),
        ({"mapping": "yes"}, "mapping must be true or false"),
        ({"params_file": "/nowhere.yaml"}, "params_file"),
        ({"mapping": "true", "mapping_params_file": "/nowhere.yaml"}, "mapping_params_file"),
    ],
)
def test_a_value_that_cannot_be_used_is_an_error(values, words):
    with pytest.raises(ConfigError, match=words):
        plan(values)


def test_a_misspelt_argument_has_a_nearest_one():
    assert misspelt(["macher", "matcher", "namespce", "gazebo"]) == {"macher": "matcher", "namespce": "namespace"}


def test_every_argument_is_described_once():
    assert [argument.name for argument in ARGUMENTS if len(argument.description) < 10] == []
    assert len({argument.name for argument in ARGUMENTS}) == len(ARGUMENTS)
    assert all(argument.default in argument.choices for argument in ARGUMENTS if argument.choices)


def test_a_topic_of_an_imu_means_that_it_is_used():
    nodes = planned(imu_topic="/imu/data", source="scene:room?imu=200")
    assert nodes["vo_node"].parameters["use_imu"] is True
    for name in ("vo_node", "replay_node"):
        assert ("imu", "/imu/data") in nodes[name].remappings
    without = planned(scale="imu")["vo_node"]
    assert "use_imu" not in without.parameters
    assert without.parameters["scale.source"] == "imu"
    assert not any(name == "imu" for name, _ in without.remappings)
