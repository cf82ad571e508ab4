"""The reference of the nodes has what the nodes have: every topic, service and parameter, with its type."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

pytest.importorskip("rclpy", reason="needs ROS 2 (rclpy)")
pytest.importorskip("ros_matching.msg", reason="needs the built messages of this package (make build)")

from mapping_peer import KnownMapper
from rclpy.parameter import Parameter
from vo_peer import KnownMatcher

from ros_matching.config import fields_of
from ros_matching.io import open_source
from ros_matching.nodes.interfaces import INTERFACES, MAPPING_NODE, REPLAY_NODE, VIEWER_NODE, VO_NODE, NodeInterface
from ros_matching.nodes.mapping.mapping_node import MappingNode
from ros_matching.nodes.replay.replay_node import ReplayNode
from ros_matching.nodes.viewer.viewer_node import ViewerNode
from ros_matching.nodes.vo.vo_node import VoNode

pytestmark = pytest.mark.ros

# What every ROS 2 node has.
_USUAL_TOPICS = ("/rosout", "/parameter_events", "/clock")
_USUAL_PARAMETERS = {"use_sim_time", "start_type_description_service"}
_USUAL_SERVICES = ("rcl_interfaces/", "lifecycle_msgs/", "type_description_interfaces/")


class NoSlam:
    """In place of SLAM: no image arrives."""

    slam_map = None
    unfinished = ()

    def __init__(self, *args, **options) -> None: ...

    def finish(self, **options) -> tuple:
        return ()

    def reset(self) -> None: ...

    def close(self) -> None: ...


def overrides(values: dict) -> list[Parameter]:
    return [Parameter(name, value=value) for name, value in values.items()]


def found(node) -> dict[str, dict[str, str]]:
    """The topics and services of a running node: short types by name, where ~ is the node."""
    name, namespace = node.get_name(), node.get_namespace()
    kinds = {
        "publishes": node.get_publisher_names_and_types_by_node(name, namespace),
        "subscribes": node.get_subscriber_names_and_types_by_node(name, namespace),
        "services": node.get_service_names_and_types_by_node(name, namespace),
    }
    return {
        kind: {
            topic: types[0].replace("/msg/", "/").replace("/srv/", "/")
            for topic, types in endpoints
            if topic not in _USUAL_TOPICS
            and not topic.endswith("transition_event")
            and not types[0].startswith(_USUAL_SERVICES)
        }
        for kind, endpoints in kinds.items()
    }


def listed(interface: NodeInterface) -> dict[str, dict[str, str]]:
    """The table of a node, with full names in the root namespace."""
    return {
        kind: {
            endpoint.name.replace("~", f"/{interface.name}")
            if endpoint.name[0] in "~/"
            else f"/{endpoint.name}": endpoint.type
            for endpoint in getattr(interface, kind)
        }
        for kind in ("publishes", "subscribes", "services")
    }


def assert_listed(node, interface: NodeInterface) -> dict[str, set[str]]:
    """Check that a running node has nothing that the table lacks; return the names that it has, by kind."""
    table, running = listed(interface), found(node)
    for kind, endpoints in running.items():
        assert endpoints.items() <= table[kind].items(), f"{kind} of {interface.name} are not in its table"
    return {kind: set(endpoints) for kind, endpoints in running.items()}


VO_SETTINGS = (
    {"scale.source": "depth", "use_imu": True, "camera_extrinsics": "tf"},
    {"scale.source": "stereo", "mode": "slam"},
    {"scale.source": "stereo", "transport": "compressed"},
    {"scale.source": "wheel", "mode": "slam"},
)


def test_vo_node_with_each_setting(context) -> None:
    seen: dict[str, set[str]] = {}
    for settings in VO_SETTINGS:
        node = VoNode(
            load=lambda *_, **__: KnownMatcher(),
            make_slam=NoSlam,
            context=context,
            parameter_overrides=overrides(settings),
        )
        assert node.bring_up(), node.failure
        for kind, names in assert_listed(node, VO_NODE).items():
            seen.setdefault(kind, set()).update(names)
        node.close()
        node.destroy_node()
    assert seen == {kind: set(names) for kind, names in listed(VO_NODE).items()}


def test_mapping_node(context) -> None:
    node = MappingNode(load=KnownMapper, context=context)
    assert node.bring_up(), node.failure
    assert assert_listed(node, MAPPING_NODE) == {kind: set(names) for kind, names in listed(MAPPING_NODE).items()}
    node.close()
    node.destroy_node()


def test_replay_node(context) -> None:
    seen: dict[str, set[str]] = {}
    for settings in ({"wait_for_consumer": True}, {"transport": "compressed"}):
        source = open_source("scene:room?frames=2&width=64&height=48&imu=100")
        node = ReplayNode(source=source, context=context, parameter_overrides=overrides(settings))
        for kind, names in assert_listed(node, REPLAY_NODE).items():
            seen.setdefault(kind, set()).update(names)
        node.destroy_node()
    expected = {kind: set(names) for kind, names in listed(REPLAY_NODE).items()}
    assert seen == expected | {"publishes": expected["publishes"] - {"/clock"}}


def test_viewer_node(context) -> None:
    node = ViewerNode(None, context=context)
    assert assert_listed(node, VIEWER_NODE) == {kind: set(names) for kind, names in listed(VIEWER_NODE).items()}
    node.destroy_node()


@pytest.mark.parametrize("node_class", [VoNode, MappingNode, ReplayNode], ids=lambda node: node.__name__)
def test_the_page_has_every_parameter_that_a_node_declares(context, node_class) -> None:
    pytest.importorskip("mkdocs", reason="needs MkDocs (extra docs)")
    sys.path.append(str(Path(__file__).resolve().parents[2] / "resource"))
    try:
        import docs_pages
    finally:
        sys.path.pop()
    options = {"source": open_source("scene:room?frames=2&width=64&height=48")} if node_class is ReplayNode else {}
    node = node_class(context=context, **options)
    former = {
        prefix + info.former_name
        for interface in INTERFACES
        for prefix, config in interface.configs
        for info in fields_of(config)
        if info.former_name
    }
    declared = set(node._parameters) - _USUAL_PARAMETERS - former
    declared = {name for name in declared if not name.startswith("qos_overrides.")}
    [section] = [part for part in docs_pages.nodes().split("\n## ") if part.startswith(node.get_name())]
    assert len(declared) > 10
    assert [name for name in sorted(declared) if f"| `{name}` |" not in section] == []
    node.destroy_node()
