"""ROS parameters are the configuration, and nothing else."""

from __future__ import annotations

from dataclasses import dataclass

import pytest

rclpy = pytest.importorskip("rclpy", reason="needs ROS 2 (rclpy)")

from rclpy.context import Context
from rclpy.node import Node
from rclpy.parameter import Parameter

from ros_matching.config import Config, parameter
from ros_matching.errors import ConfigError, NodeError
from ros_matching.nodes.common.parameters import declare_config, read_config, unknown_parameters
from ros_matching.nodes.common.spinning import isolate

pytestmark = pytest.mark.ros


@dataclass(frozen=True)
class SampleConfig(Config):
    """Settings of every kind."""

    count: int = parameter(3, "how many", minimum=1, maximum=10, former_name="number")
    share: float = parameter(0.5, "how much of it", minimum=0)
    mode: str = parameter("slow", "how", choices=("slow", "fast"))
    loud: bool = parameter(False, "whether it can be heard")


@pytest.fixture
def make_node():
    isolate()
    context = Context()
    rclpy.init(context=context)

    def make(**overrides) -> Node:
        return Node(
            "sample", context=context, parameter_overrides=[Parameter(name, value=v) for name, v in overrides.items()]
        )

    yield make
    context.try_shutdown()


def test_defaults_descriptions_and_ranges_are_those_of_the_config(make_node):
    node = make_node()
    declare_config(node, SampleConfig, "part.")
    assert read_config(node, SampleConfig, "part.") == SampleConfig()
    count, share = node.describe_parameters(["part.count", "part.share"])
    assert count.description == "how many"
    assert (count.integer_range[0].from_value, count.integer_range[0].to_value) == (1, 10)
    assert share.floating_point_range[0].from_value == 0
    assert "slow, fast" in node.describe_parameter("part.mode").additional_constraints


def test_overrides_are_read(make_node):
    node = make_node(**{"part.count": 7, "part.mode": "fast", "part.loud": True})
    declare_config(node, SampleConfig, "part.")
    assert read_config(node, SampleConfig, "part.") == SampleConfig(count=7, mode="fast", loud=True)


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("count", 11, "count must be int, at least 1 and at most 10 .how many."),
        ("share", 1, "share must be float.*got 1 .int.; write 1.0 rather than 1$"),
        ("share", -0.7, "share must be float, at least 0 .* got -0.7 .float.$"),
        ("count", "many", "count must be int"),
    ],
)
def test_an_override_of_the_wrong_type_or_range_is_an_error_with_the_remedy(make_node, name, value, words):
    node = make_node(**{name: value})
    with pytest.raises(NodeError, match=words):
        declare_config(node, SampleConfig)


def test_a_misspelt_parameter_is_named_with_the_nearest_that_is_known(make_node):
    node = make_node(**{"part.cuont": 7, "part.mode": "fast", "nonsense": 1, "qos_overrides./image.publisher.depth": 1})
    declare_config(node, SampleConfig, "part.")
    misspelt, nonsense = unknown_parameters(node)
    assert "no parameter part.cuont" in misspelt
    assert "did you mean part.count?" in misspelt
    assert "no parameter nonsense" in nonsense
    assert "qos_overrides./image" in unknown_parameters(node, with_quality_of_service=True)[-1]


def test_a_choice_that_is_none_is_an_error(make_node):
    node = make_node(mode="sideways")
    declare_config(node, SampleConfig)
    with pytest.raises(ConfigError, match="slow, fast"):
        read_config(node, SampleConfig)


def test_changes_are_tried_before_they_are_made(make_node):
    node = make_node()
    declare_config(node, SampleConfig)
    change = [Parameter("mode", value="fast"), Parameter("of.others", value=1)]
    assert read_config(node, SampleConfig, changes=change) == SampleConfig(mode="fast")
    assert read_config(node, SampleConfig) == SampleConfig()
    with pytest.raises(ConfigError, match="must be one of"):
        read_config(node, SampleConfig, changes=[Parameter("mode", value="sideways")])


def test_a_number_by_its_former_name_is_taken(make_node):
    node = make_node(**{"part.number": 5})
    declare_config(node, SampleConfig, "part.")
    assert read_config(node, SampleConfig, "part.").count == 5
