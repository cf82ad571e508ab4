"""launch/vo.launch.py, where launch is installed (PyPI does not have it)."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest

pytest.importorskip("launch_ros", reason="needs launch_ros, which comes with a ROS 2 installation only")

from launch import LaunchContext
from launch.utilities import perform_substitutions

LAUNCH_FILE = Path(__file__).parent.parent / "launch" / "vo.launch.py"

pytestmark = pytest.mark.ros


@pytest.fixture(scope="module")
def arguments():
    spec = importlib.util.spec_from_file_location("vo_launch", LAUNCH_FILE)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return {argument.name: argument for argument in module.generate_launch_description().get_launch_arguments()}


def test_arguments_are_those_of_the_interface(arguments):
    names = "namespace params_file image_topic camera_info_topic transport use_sim_time rviz log_level source mapping"
    assert set(names.split()) <= set(arguments)


def test_every_argument_is_described(arguments):
    assert [name for name, argument in arguments.items() if len(argument.description) < 10] == []


@pytest.mark.parametrize(("source", "expected"), [("", "false"), ("/data/it's here", "true"), ("0", "true")])
def test_a_replay_brings_its_own_time(arguments, source, expected):
    context = LaunchContext()
    context.launch_configurations["source"] = source
    assert perform_substitutions(context, arguments["use_sim_time"].default_value).lower() == expected


@pytest.mark.parametrize("mapping", ["false", "true"])
def test_nodes_come_up_and_the_replay_ends_the_launch(tmp_path, mapping):
    packages = pytest.importorskip("ament_index_python.packages")
    try:
        packages.get_package_prefix("ros_matching")
    except packages.PackageNotFoundError:
        pytest.skip("ros_matching is not in the ament index; build and source it (colcon build)")
    for index in range(3):
        cv2.imwrite(str(tmp_path / f"{index}.png"), np.full((48, 64, 3), 50 * index, np.uint8))
    np.savetxt(tmp_path / "K.txt", [[50, 0, 31.5], [0, 50, 23.5], [0, 0, 1]])
    script = f"""
import sys
from launch import LaunchDescription, LaunchService
from launch.actions import IncludeLaunchDescription
from launch.launch_description_sources import PythonLaunchDescriptionSource
from ros_matching.nodes.isolation import isolate

isolate()
arguments = {{
    "source": {str(tmp_path)!r}, "wait_for_consumer": "true",
    "mapping": {mapping!r}, "namespace": "robot",
    "image_topic": "eye/image_raw", "camera_info_topic": "eye/camera_info",
}}
service = LaunchService()
service.include_launch_description(LaunchDescription([
    IncludeLaunchDescription(PythonLaunchDescriptionSource({str(LAUNCH_FILE)!r}), launch_arguments=arguments.items())
]))
sys.exit(service.run())
"""
    ran = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=120, cwd=tmp_path)
    output = ran.stdout + ran.stderr
    assert ran.returncode == 0, output
    assert "[robot.replay_node]: replayed 3 frames" in output, output
    assert "configured with the front end" in output
    assert ("[robot.mapping_node]: active, listening to /robot/keyframe" in output) == (mapping == "true"), output
