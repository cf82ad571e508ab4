"""launch/vo.launch.py with a stand-in for launch, as few machines have it; test_launch.py has the real one."""

from __future__ import annotations

import importlib.util
import logging
from pathlib import Path
from types import ModuleType, SimpleNamespace

import launch_stand_in
import pytest
from launch_stand_in import Context

from ros_matching.nodes.common.launch_arguments import ARGUMENTS

LAUNCH_FILE = Path(__file__).resolve().parent.parent / "launch" / "vo.launch.py"


@pytest.fixture
def launch_file(monkeypatch) -> ModuleType:
    launch_stand_in.install(monkeypatch)
    return loaded(LAUNCH_FILE)


def loaded(file: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location(file.name.replace(".", "_"), file)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def context(**values: str) -> Context:
    """The context of a launch with these arguments; the parameter files are none."""
    defaults = {argument.name: argument.default for argument in ARGUMENTS}
    return Context(**defaults | values)


def started(launch_file: ModuleType, context: Context) -> dict:
    """The nodes that a launch starts, by executable, as lists in the order of their start."""
    nodes = {}
    for action in launch_file._start(context):
        if "executable" in action.kwargs:
            nodes.setdefault(action.kwargs["executable"], []).append(action)
    return nodes


def end(action, context: Context, code: int = 0) -> list:
    """Return the actions of the launch at the end of a process."""
    return action.kwargs["on_exit"](SimpleNamespace(returncode=code), context)


def test_the_arguments_are_declared_with_their_defaults_and_choices(launch_file):
    *declared, start = launch_file.generate_launch_description().args[0]
    assert start.kwargs == {"function": launch_file._start}
    assert [action.args[0] for action in declared] == [argument.name for argument in ARGUMENTS]
    for action, argument in zip(declared, ARGUMENTS, strict=True):
        if argument.share_file:
            share, *parts = action.kwargs["default_value"].args[0]
            assert (share.args, "/".join(parts)) == (("ros_matching",), argument.share_file)
        else:
            assert action.kwargs["default_value"] == argument.default  # plain text, for --show-args
        assert action.kwargs["choices"] == (list(argument.choices) or None)


def test_nodes_get_their_parameters_and_texts_stay_texts(launch_file):
    nodes = started(launch_file, context(namespace="robot", source="0", mapping="true", backend="orb", rviz="true"))
    assert list(nodes) == ["rviz2", "vo_node", "mapping_node", "replay_node"]
    (vo_node,), (replay_node,) = nodes["vo_node"], nodes["replay_node"]
    assert type(vo_node).__name__ == "LifecycleNode"
    assert vo_node.kwargs["package"] == "ros_matching"
    assert nodes["rviz2"][0].kwargs["package"] == "rviz2"
    assert all(action.kwargs["namespace"] == "robot" for (action,) in nodes.values())
    (parameters,) = replay_node.kwargs["parameters"]
    assert parameters["source"].args == ("0",)
    assert parameters["source"].kwargs == {"value_type": str}
    assert parameters["rate"] == 1.0
    (parameters,) = vo_node.kwargs["parameters"]
    assert parameters["autostart"] is True


def test_a_parameter_file_comes_first_so_that_arguments_override_it(launch_file, tmp_path):
    file = tmp_path / "my.yaml"
    file.touch()
    (vo_node,) = started(launch_file, context(params_file=str(file)))["vo_node"]
    assert vo_node.kwargs["parameters"][0] == str(file)
    assert set(vo_node.kwargs["parameters"][1]) == {"autostart"}


@pytest.mark.parametrize("respawn", ["true", "false"])
def test_nodes_respawn_and_the_replay_does_not(launch_file, respawn):
    nodes = started(launch_file, context(source="scene:room", respawn=respawn))
    assert nodes["vo_node"][0].kwargs["respawn"] == (respawn == "true")
    assert not nodes["replay_node"][0].kwargs["respawn"]


def test_the_end_of_the_replay_shuts_down_once(launch_file):
    launch = context(source="scene:room")
    nodes = started(launch_file, launch)
    (shutdown,) = end(nodes["replay_node"][0], launch)
    assert type(shutdown).__name__ == "Shutdown"
    launch.is_shutdown = True
    assert end(nodes["vo_node"][0], launch) == []


def test_ctrl_c_shuts_nothing_down_a_second_time(launch_file):
    launch = context(source="scene:room")
    nodes = started(launch_file, launch)
    launch.is_shutdown = True
    assert end(nodes["replay_node"][0], launch) == []
    assert end(nodes["vo_node"][0], launch) == []


def test_the_last_process_of_a_failed_launch_raises_the_reason(launch_file, caplog):
    launch = context(source="scene:room")
    nodes = started(launch_file, launch)
    with caplog.at_level(logging.ERROR):
        assert len(end(nodes["vo_node"][0], launch, code=-9)) == 1
    assert "vo_node was killed by SIGKILL" in caplog.text
    launch.is_shutdown = True
    with pytest.raises(RuntimeError, match="vo_node was killed by SIGKILL"):
        end(nodes["replay_node"][0], launch)


def test_two_robots_in_one_launch_keep_their_own_arguments_and_end_together(launch_file):
    launch = context(namespace="robot1", source="a", clock_topic="clock")
    first = started(launch_file, launch)
    launch.launch_configurations |= {"namespace": "robot2", "source": "b"}
    second = started(launch_file, launch)
    assert first["replay_node"][0].kwargs["namespace"] == "robot1"
    assert first["replay_node"][0].kwargs["parameters"][0]["source"].args == ("a",)
    assert second["replay_node"][0].kwargs["namespace"] == "robot2"
    assert end(first["replay_node"][0], launch) == []
    assert len(end(second["replay_node"][0], launch)) == 1


def test_a_misspelt_argument_is_warned_of(launch_file, caplog):
    launch_file._start(context(macher="orb"))
    assert "mean matcher" in caplog.text


def test_a_former_name_is_warned_of(launch_file, caplog):
    launch_file._start(context(backend="orb"))
    assert "use matcher" in caplog.text


def test_the_document_lists_every_argument():
    text = (LAUNCH_FILE.parent.parent / "docs" / "launch.md").read_text()
    assert [argument.name for argument in ARGUMENTS if f"`{argument.name}`" not in text] == []


def test_slam_is_the_same_with_a_map(monkeypatch):
    """The arguments that it declares anew are passed on, and are arguments of the other file."""
    launch_stand_in.install(monkeypatch)
    slam = loaded(LAUNCH_FILE.with_name("slam.launch.py"))
    *declared, include = slam.generate_launch_description().args[0]
    names = [action.args[0] for action in declared]
    assert set(names) <= {argument.name for argument in ARGUMENTS}
    assert declared[names.index("mode")].kwargs["default_value"] == "slam"
    _, *parts = include.args[0].args[0].args[0]
    assert (LAUNCH_FILE.parent.parent / "/".join(parts)) == LAUNCH_FILE
    assert {name: value.args for name, value in include.kwargs["launch_arguments"]} == {name: (name,) for name in names}
    _, *parts = declared[names.index("rviz_config")].kwargs["default_value"].args[0]
    assert (LAUNCH_FILE.parent.parent / "/".join(parts)).is_file()


@pytest.mark.parametrize(("mode", "frame"), [("slam", "map"), ("localization", "map"), ("odometry", "odom")])
def test_rviz_shows_the_frame_of_the_mode(launch_file, mode, frame):
    (rviz,) = started(launch_file, context(mode=mode, rviz="true", frame_prefix="robot1/"))["rviz2"]
    assert rviz.kwargs["arguments"][-2:] == ["--fixed-frame", f"robot1/{frame}"]


def test_the_map_reaches_the_node(launch_file):
    values = {"mode": "localization", "map_file": "/maps/office", "map_frame": "floor", "publish_map_tf": "false"}
    (vo_node,) = started(launch_file, context(**values))["vo_node"]
    (parameters,) = vo_node.kwargs["parameters"]
    assert parameters["publish_map_tf"] is False
    assert [parameters[name].args for name in ("mode", "map_file", "map_frame")] == [
        ("localization",),
        ("/maps/office",),
        ("floor",),
    ]
