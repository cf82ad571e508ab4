"""The executables of the nodes: signals at every stage, exit codes, and the reason as the last line."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("rclpy", reason="needs ROS 2 (rclpy)")
pytest.importorskip("ros_matching.msg", reason="needs the built messages of this package (make build)")

from mapping_peer import MappingPeer
from rclpy.executors import SingleThreadedExecutor

from ros_matching.io.point_clouds import read_cloud
from ros_matching.nodes.common.process import node_module
from ros_matching.nodes.common.spinning import isolate, spinning

pytestmark = pytest.mark.ros

STAND_IN = Path(__file__).parent.parent / "stand_in_nodes.py"
TIMEOUT_S = 100.0
POINTS = 5  # of each keyframe


@pytest.fixture
def start(tmp_path):
    """Start a node of stand_in_nodes.py in a process of its own, which ends with the test."""
    processes = []

    def start(name: str, *ros_args: str) -> subprocess.Popen:
        parameters = [part for argument in ros_args for part in ("-p", argument)]
        command = [sys.executable, str(STAND_IN), name, str(tmp_path), "--ros-args", *parameters]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        processes.append(process)
        return process

    yield start
    for process in processes:
        process.kill()
        process.wait()


def read_until(process: subprocess.Popen, words: str) -> None:
    seen = []
    for line in process.stdout:
        seen.append(line)
        if words in line:
            return
    raise AssertionError(f"{words!r} did not come, but {''.join(seen)}")


def end_of(process: subprocess.Popen) -> tuple[int, str]:
    output, _ = process.communicate(timeout=TIMEOUT_S)
    return process.returncode, output


def test_a_signal_while_the_node_configures_ends_it_without_a_traceback(start, tmp_path):
    isolate()
    process = start("slow_node", "autostart:=true")
    read_until(process, "configuring")
    process.send_signal(signal.SIGTERM)
    read_until(process, "asked to stop")
    (tmp_path / "go").touch()
    code, output = end_of(process)
    assert code == 0, output
    assert "Traceback" not in output
    assert "must not be activated" not in output


def test_a_second_signal_while_the_node_configures_does_not_wait(start):
    isolate()
    process = start("slow_node", "autostart:=true")
    read_until(process, "configuring")
    process.send_signal(signal.SIGINT)
    read_until(process, "asked to stop")
    process.send_signal(signal.SIGTERM)
    assert end_of(process)[0] == 0


@pytest.fixture
def mapping(start, context, tmp_path):
    """mapping_node during its second keyframe, with the first one in the map."""
    process = start("mapping_node", "autostart:=true", "save_at_end:=true", f"cloud_file:={tmp_path / 'map.ply'}")
    peer = MappingPeer(context)
    with spinning(SingleThreadedExecutor(context=context), peer):
        read_until(process, "active, subscribed")
        peer.settle()
        for number in range(3):
            peer.send(number)
        read_until(process, "in the second keyframe")
        yield process


def test_the_first_signal_maps_what_waits_and_reports_how_much_that_is(mapping, tmp_path):
    mapping.send_signal(signal.SIGTERM)
    read_until(mapping, "keyframes to map before the map is saved: 2")
    (tmp_path / "go").touch()
    code, output = end_of(mapping)
    assert code == 0, output
    assert len(read_cloud(tmp_path / "map.ply")) == 3 * POINTS


def test_the_second_signal_saves_what_is_mapped_and_waits_for_nothing(mapping, tmp_path):
    mapping.send_signal(signal.SIGINT)
    read_until(mapping, "keyframes to map before the map is saved: 2")
    mapping.send_signal(signal.SIGINT)
    code, output = end_of(mapping)
    assert code == 0, output
    assert len(read_cloud(tmp_path / "map.ply")) == POINTS


@pytest.mark.parametrize("signals", [1, 2])
def test_a_map_that_cannot_be_saved_is_an_exit_code(mapping, tmp_path, signals):
    (tmp_path / "map.ply").mkdir()
    mapping.send_signal(signal.SIGTERM)
    read_until(mapping, "keyframes to map")
    if signals == 2:
        mapping.send_signal(signal.SIGTERM)
    else:
        (tmp_path / "go").touch()
    code, output = end_of(mapping)
    assert code == 1, output
    assert output.splitlines()[-1].startswith("mapping_node: the map was not saved")


@pytest.mark.parametrize(
    ("node", "parameters", "words"),
    [
        ("vo_node", ["autostart:=true", "matcher:=magic"], "magic"),
        ("mapping_node", ["autostart:=true", "weights:=/nowhere.safetensors"], "/nowhere.safetensors"),
        ("replay_node", ["source:=/nowhere"], "/nowhere"),
        ("replay_node", ["source:=scene:room", "rate:=0.0"], "rate"),
        ("vo_node", ["nonsense"], "nonsense"),
    ],
)
def test_a_node_that_cannot_start_ends_with_the_reason_last(node, parameters, words):
    isolate()
    given = [part for parameter in parameters for part in ("-p", parameter)]
    command = [sys.executable, "-m", node_module(node), "--ros-args", *given]
    ran = subprocess.run(command, capture_output=True, text=True, timeout=TIMEOUT_S, env=os.environ)
    assert ran.returncode == 1
    assert "Traceback" not in ran.stderr
    last = ran.stderr.splitlines()[-1]
    assert last.startswith(f"{node}: ")
    assert words in last


def test_a_replay_that_waits_is_ended_by_a_signal():
    isolate()
    parameters = ["-p", "source:=scene:room", "-p", "wait_for:=vo_node"]
    command = [sys.executable, "-m", "ros_matching.nodes.replay.replay_node", "--ros-args", *parameters]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    read_until(process, "waiting until vo_node is active")
    process.send_signal(signal.SIGTERM)
    code, output = end_of(process)
    assert code == 0, output
