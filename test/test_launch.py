"""launch/vo.launch.py with the real launch, where it is installed (PyPI does not have it)."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest

pytest.importorskip("launch_ros", reason="needs launch_ros, which comes with a ROS 2 installation only")
packages = pytest.importorskip("ament_index_python.packages")

from ros_matching.nodes.common.spinning import isolate

LAUNCH_FILE = Path(__file__).resolve().parent.parent / "launch" / "vo.launch.py"
TIMEOUT_S = 200.0
SERVICE = """
import sys
from launch import LaunchDescription, LaunchService
from launch.actions import GroupAction, IncludeLaunchDescription
from launch.launch_description_sources import PythonLaunchDescriptionSource

includes = [
    GroupAction([
        IncludeLaunchDescription(PythonLaunchDescriptionSource(sys.argv[1]), launch_arguments=arguments.items())
    ])
    for arguments in eval(sys.argv[2])
]
service = LaunchService(noninteractive=True)
service.include_launch_description(LaunchDescription(includes))
sys.exit(service.run())
"""

pytestmark = pytest.mark.ros


@pytest.fixture(autouse=True)
def installed() -> None:
    """Skip where the package cannot be launched, and keep to a free domain."""
    try:
        packages.get_package_prefix("ros_matching")
    except packages.PackageNotFoundError:
        pytest.skip("ros_matching is not in the ament index; build and source it (colcon build)")
    isolate()


@pytest.fixture
def source(tmp_path) -> str:
    """Three plain images: nothing to track, but something to replay."""
    for index in range(3):
        cv2.imwrite(str(tmp_path / f"{index}.png"), np.full((48, 64, 3), 50 * index, np.uint8))
    np.savetxt(tmp_path / "K.txt", [[50, 0, 31.5], [0, 50, 23.5], [0, 0, 1]])
    return str(tmp_path)


def start(*robots: dict[str, str]) -> subprocess.Popen:
    """Launch the file once for each robot, in one launch."""
    command = [sys.executable, "-c", SERVICE, str(LAUNCH_FILE), repr(robots)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def end_of(launch: subprocess.Popen) -> tuple[int, str]:
    output, _ = launch.communicate(timeout=TIMEOUT_S)
    return launch.returncode, output


def read_until(launch: subprocess.Popen, words: str) -> str:
    for line in launch.stdout:
        if words in line:
            return line
    raise AssertionError(f"{words!r} did not come")


@pytest.mark.parametrize("mapping", ["false", "true"])
def test_nodes_come_up_and_the_replay_ends_the_launch(source, mapping):
    arguments = {"source": source, "wait_for_consumer": "true", "mapping": mapping, "namespace": "robot"}
    topics = {"image_topic": "eye/image_raw", "camera_info_topic": "eye/camera_info"}
    code, output = end_of(start(arguments | topics))
    assert code == 0, output
    assert "[robot.replay_node]: replayed 3 frames" in output, output
    assert "configured" in output
    assert ("[robot.mapping_node]: active, subscribed to /robot/keyframe" in output) == (mapping == "true"), output


def test_two_robots_in_one_graph_end_with_the_last_replay(source):
    common = {"source": source, "wait_for_consumer": "true", "matcher": "orb", "clock_topic": "clock"}
    robots = [common | {"namespace": name, "frame_prefix": f"{name}/"} for name in ("robot1", "robot2")]
    code, output = end_of(start(*robots))
    assert code == 0, output
    for name in ("robot1", "robot2"):
        assert f"[{name}.replay_node]: replayed 3 frames" in output, output
    assert "another node publishes" not in output
    assert "reset" not in output


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"matcher": "magic"}, "magic"),
        ({"source": "/nowhere"}, "there is no file or folder /nowhere"),
        ({"source": "scene:room", "rate": "0"}, "rate"),
        ({"params_file": "/nowhere.yaml"}, "params_file"),
    ],
)
def test_what_cannot_start_ends_the_launch_with_the_reason_last(arguments, words):
    code, output = end_of(start(arguments))
    assert code == 1, output
    assert words in output.splitlines()[-1], output


def test_a_killed_node_ends_the_launch():
    launch = start({"matcher": "orb"})
    line = read_until(launch, "process started with pid")
    os.kill(int(line.split("[")[-1].split("]")[0]), signal.SIGKILL)
    code, output = end_of(launch)
    assert code == 1, output
    assert "vo_node was killed by SIGKILL" in output.splitlines()[-1]


def test_an_interrupt_during_the_replay_is_no_failure():
    launch = start({"source": "scene:room?frames=3000", "matcher": "orb"})
    read_until(launch, "replaying")
    launch.send_signal(signal.SIGINT)
    code, output = end_of(launch)
    assert code == 0, output
    assert "ROS adapter" not in output
    assert "Traceback" not in output
