"""RViz configurations and the Foxglove layout name topics that the nodes have, and the Nav2 example is YAML."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).resolve().parent.parent
CONFIG = ROOT / "config"
DOCS = "\n".join((ROOT / "docs" / name).read_text() for name in ("ros.md", "slam.md"))
INPUTS = {"image"}


def is_documented(topic: str) -> bool:
    topic = re.sub(r"^/?(vo|mapping)_node/", "~/", topic).removeprefix("/")
    return f"`{topic}`" in DOCS or f"`/{topic}`" in DOCS or topic in INPUTS


def rviz_topics(file: Path) -> set[str]:
    displays = yaml.safe_load(file.read_text())["Visualization Manager"]["Displays"]
    return {display["Topic"]["Value"] for display in displays if "Topic" in display}


@pytest.mark.parametrize("name", ["vo.rviz", "slam.rviz"])
def test_rviz_shows_topics_that_exist(name: str) -> None:
    topics = rviz_topics(CONFIG / name)
    assert {"markers", "mapping_node/occupancy_grid"} <= topics
    assert [topic for topic in topics if not is_documented(topic)] == []


def panels(layout: dict | str) -> set[str]:
    return {layout} if isinstance(layout, str) else panels(layout["first"]) | panels(layout["second"])


def test_the_foxglove_layout_is_whole_and_shows_topics_that_exist() -> None:
    layout = json.loads((CONFIG / "foxglove_layout.json").read_text())
    assert panels(layout["layout"]) == set(layout["configById"])
    text = json.dumps(layout)
    topics = set(re.findall(r'"(/[\w/]+?)(?:[".\[])', text))
    assert {"/debug_image", "/vo_status", "/odom", "/map_cloud", "/markers"} <= topics
    assert [topic for topic in topics if not is_documented(topic)] == []
    fields = set(re.findall(r"/vo_status\.(\w+)", text))
    message = (ROOT / "msg" / "VoStatus.msg").read_text()
    assert [field for field in fields if not re.search(rf"^\S+ {field}\b", message, re.MULTILINE)] == []


def test_the_nav2_example_reads_what_mapping_publishes() -> None:
    example = yaml.safe_load((CONFIG / "nav2_costmaps.yaml").read_text())
    costmap = example["global_costmap"]["global_costmap"]["ros__parameters"]
    assert set(costmap["plugins"]) <= set(costmap)
    assert is_documented(costmap["static_layer"]["map_topic"])
    assert costmap["static_layer"]["map_subscribe_transient_local"] is True
    local = example["local_costmap"]["local_costmap"]["ros__parameters"]
    for layer in (costmap["obstacle_layer"], local["voxel_layer"]):
        source = layer[layer["observation_sources"]]
        assert is_documented(source["topic"])
        assert source["data_type"] == "PointCloud2"
    assert local["voxel_layer"]["z_voxels"] <= 16  # the most that Nav2 takes
