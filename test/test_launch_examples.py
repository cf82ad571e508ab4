"""The example launch files: cameras, robot_localization and Nav2, with a stand-in for launch.

Names of other packages were read in their sources (Jazzy, November 2026): realsense2_camera 4.x, usb_cam, v4l2_camera,
robot_localization, nav2_costmap_2d, nav2_map_server, nav2_collision_monitor. The lists here keep them from being
misspelt.
"""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType

import launch_stand_in
import pytest
import yaml
from launch_stand_in import Context

from ros_matching.errors import ConfigError
from ros_matching.nodes.common.launch_arguments import ARGUMENTS, plan

ROOT = Path(__file__).resolve().parent.parent
EXAMPLES = ("realsense", "usb_camera", "wheel_fusion", "nav2")
OURS = {argument.name: argument for argument in ARGUMENTS}
REALSENSE = {
    "enable_color", "enable_infra1", "enable_infra2", "enable_depth", "enable_gyro", "enable_accel",
    "unite_imu_method", "rgb_camera.color_profile", "depth_module.infra_profile", "depth_module.emitter_enabled",
    "align_depth.enable", "serial_no",
}  # fmt: skip
USB_CAM = {
    "video_device", "image_width", "image_height", "framerate", "pixel_format", "frame_id", "camera_info_url",
}  # fmt: skip
V4L2_CAMERA = {
    "video_device", "image_size", "time_per_frame", "pixel_format", "camera_frame_id", "camera_info_url",
}  # fmt: skip
EKF = {
    "frequency", "sensor_timeout", "two_d_mode", "publish_tf", "map_frame", "odom_frame", "base_link_frame",
    "world_frame", "smooth_lagged_data", "history_length", "odom0", "odom0_config", "odom0_queue_size", "odom1",
    "odom1_config", "odom1_queue_size", "odom1_twist_rejection_threshold",
}  # fmt: skip
COSTMAP = {
    "global_frame", "robot_base_frame", "resolution", "track_unknown_space", "trinary_costmap", "plugins",
    "rolling_window", "width", "height",
}  # fmt: skip
SOURCE = {
    "topic", "data_type", "sensor_frame", "marking", "clearing", "min_obstacle_height", "max_obstacle_height",
    "obstacle_max_range", "observation_persistence", "expected_update_rate",
}  # fmt: skip
LAYERS = {
    "nav2_costmap_2d::StaticLayer": {"map_topic", "map_subscribe_transient_local", "subscribe_to_updates"},
    "nav2_costmap_2d::ObstacleLayer": {"observation_sources"},
    "nav2_costmap_2d::VoxelLayer": {
        "observation_sources", "publish_voxel_map", "origin_z", "z_resolution", "z_voxels", "max_obstacle_height",
        "mark_threshold",
    },
    "nav2_costmap_2d::InflationLayer": {"inflation_radius", "cost_scaling_factor"},
}  # fmt: skip
VELOCITIES = [6, 7, 11]  # vx, vy and vyaw of a robot on the ground


@pytest.fixture
def load(monkeypatch):
    launch_stand_in.install(monkeypatch)

    def loaded(name: str) -> ModuleType:
        file = ROOT / "launch" / f"{name}.launch.py"
        spec = importlib.util.spec_from_file_location(f"{name}_launch", file)
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        return module

    return loaded


def started(module: ModuleType, **values: str) -> list:
    """The actions of an example with these arguments, and the defaults of the others."""
    declared, actions = {}, []
    for action in module.generate_launch_description().args[0]:
        if type(action).__name__ == "DeclareLaunchArgument":
            declared[action.args[0]] = action.kwargs["default_value"]
        elif type(action).__name__ == "OpaqueFunction":
            assert set(values) <= set(declared)
            actions += action.kwargs["function"](Context(**declared | values))
        else:
            actions.append(action)
    return actions


def node_of(actions: list, package: str):
    [found] = [action for action in actions if action.kwargs.get("package") == package]
    return found


def include_of(actions: list, file: str) -> dict:
    """The arguments of the only included launch file of this name."""
    includes = [action for action in actions if type(action).__name__ == "IncludeLaunchDescription"]
    [found] = [action for action in includes if action.args[0].args[0].args[0][-1] == file]
    return dict(found.kwargs["launch_arguments"])


def odometry_of(actions: list) -> dict[str, str]:
    """The arguments of vo.launch.py. Each is one of its arguments, and makes nodes that can be started."""
    arguments = include_of(actions, "vo.launch.py")
    assert set(arguments) <= set(OURS)
    assert plan({name: value for name, value in arguments.items() if isinstance(value, str)})
    return arguments


@pytest.mark.parametrize("name", EXAMPLES)
def test_an_example_does_not_change_the_choices_of_an_argument_of_ours(load, name: str) -> None:
    for action in load(name).generate_launch_description().args[0]:
        if type(action).__name__ == "DeclareLaunchArgument" and action.args[0] in OURS:
            choices = set(action.kwargs.get("choices") or []) - {"auto"}
            assert choices <= set(OURS[action.args[0]].choices or choices)
            assert action.kwargs["description"]


def test_realsense_infrared_has_metres_by_its_second_camera(load) -> None:
    actions = started(load("realsense"))
    driver, odometry = node_of(actions, "realsense2_camera"), odometry_of(actions)
    [parameters] = driver.kwargs["parameters"]
    assert set(parameters) <= REALSENSE
    assert (parameters["enable_infra1"], parameters["enable_infra2"], parameters["enable_color"]) == (True, True, False)
    assert parameters["depth_module.emitter_enabled"] == 0
    assert odometry["scale"] == "stereo"
    assert odometry["image_topic"] == "/camera/camera/infra1/image_rect_raw"
    assert odometry["right_camera_info_topic"] == "/camera/camera/infra2/camera_info"
    assert odometry["base_frame"] == "camera_link"
    assert "imu_topic" not in odometry


def test_realsense_colour_has_metres_by_aligned_depth(load) -> None:
    actions = started(
        load("realsense"), stream="color", camera_name="front", camera_namespace="robot", serial_no="0123"
    )
    [parameters] = node_of(actions, "realsense2_camera").kwargs["parameters"]
    assert set(parameters) <= REALSENSE
    assert parameters["align_depth.enable"] is True
    assert parameters["enable_depth"] is True
    assert parameters["serial_no"].args == ("0123",)
    odometry = odometry_of(actions)
    assert odometry["scale"] == "depth"
    assert odometry["depth_topic"] == "/robot/front/aligned_depth_to_color/image_raw"
    assert odometry["camera_info_topic"] == "/robot/front/color/camera_info"
    assert odometry["base_frame"] == "front_link"


@pytest.mark.parametrize("values", [{"imu": "true"}, {"scale": "imu"}])
def test_realsense_imu_is_one_message(load, values: dict[str, str]) -> None:
    actions = started(load("realsense"), **values)
    [parameters] = node_of(actions, "realsense2_camera").kwargs["parameters"]
    assert (parameters["enable_gyro"], parameters["enable_accel"], parameters["unite_imu_method"]) == (True, True, 2)
    assert odometry_of(actions)["imu_topic"] == "/camera/camera/imu"


def test_a_running_driver_is_left_alone(load) -> None:
    [only] = started(load("realsense"), driver="false")
    assert type(only).__name__ == "IncludeLaunchDescription"
    [only] = started(load("usb_camera"), driver="none")
    assert type(only).__name__ == "IncludeLaunchDescription"


@pytest.mark.parametrize(("driver", "known"), [("usb_cam", USB_CAM), ("v4l2_camera", V4L2_CAMERA)])
def test_usb_camera_takes_its_calibration_as_a_url(load, tmp_path: Path, driver: str, known: set[str]) -> None:
    file = tmp_path / "web cam.yaml"
    file.touch()
    actions = started(load("usb_camera"), driver=driver, calibration=str(file), width="1280", height="720")
    [parameters] = node_of(actions, driver).kwargs["parameters"]
    assert set(parameters) <= known
    assert parameters["camera_info_url"] == file.as_uri()
    assert 1280 in (parameters.get("image_width"), *parameters.get("image_size", []))
    odometry = odometry_of(actions)
    assert (odometry["image_topic"], odometry["camera_info_topic"]) == ("/image_raw", "/camera_info")


@pytest.mark.parametrize("calibration", ["", "nowhere.yaml"])
def test_usb_camera_without_a_calibration_says_how_to_make_one(load, calibration: str) -> None:
    with pytest.raises(ConfigError, match=r"calibration must be the YAML file .* cameracalibrator"):
        started(load("usb_camera"), calibration=calibration)


def test_the_filter_alone_publishes_the_transform_of_the_robot(load) -> None:
    actions = started(load("wheel_fusion"))
    odometry = include_of(actions, "vo.launch.py")
    assert set(odometry) <= set(OURS)
    assert (odometry["publish_tf"], odometry["mode"]) == ("false", "odometry")
    _, topics = node_of(actions, "robot_localization").kwargs["parameters"]
    assert topics["odom1"] == "odom"  # of vo_node
    content = yaml.safe_load((ROOT / "config" / "robot_localization.yaml").read_text())
    [parameters] = [node["ros__parameters"] for node in content.values()]
    assert set(parameters) <= EKF
    assert parameters["publish_tf"] is True
    assert parameters["world_frame"] == parameters["odom_frame"]
    for name in ("odom0_config", "odom1_config"):
        assert [row for row, used in enumerate(parameters[name]) if used] == VELOCITIES
        assert len(parameters[name]) == 15


def test_nav2_has_its_parameters_with_our_costmaps_over_them(load, tmp_path: Path) -> None:
    theirs = tmp_path / "nav2_params.yaml"
    theirs.write_text(
        yaml.safe_dump(
            {
                "bt_navigator": {"ros__parameters": {"odom_topic": "/odom"}},
                "local_costmap": {
                    "local_costmap": {
                        "ros__parameters": {"plugins": ["a"], "robot_radius": 0.22, "voxel_layer": {"enabled": True}}
                    }
                },
            }
        )
    )
    costmaps = ROOT / "config" / "nav2_costmaps.yaml"
    values = {"nav2_params_file": str(theirs), "costmaps_file": str(costmaps), "grid": "/maps/office.yaml"}
    actions = started(load("nav2"), **values)
    assert include_of(actions, "slam.launch.py") == {"mapping": "true"}
    [server] = node_of(actions, "nav2_map_server").kwargs["parameters"]
    assert server == {"yaml_filename": "/maps/office.yaml", "frame_id": "map", "topic_name": "map"}
    [manager] = node_of(actions, "nav2_lifecycle_manager").kwargs["parameters"]
    assert manager["node_names"] == ["map_server"]
    file = Path(include_of(actions, "navigation_launch.py")["params_file"])
    try:
        found = yaml.safe_load(file.read_text())
    finally:
        file.unlink()
    assert found["bt_navigator"] == {"ros__parameters": {"odom_topic": "/odom"}}
    local = found["local_costmap"]["local_costmap"]["ros__parameters"]
    assert local["robot_radius"] == 0.22
    assert local["plugins"] == ["voxel_layer", "inflation_layer"]
    assert local["voxel_layer"]["enabled"] is True
    assert local["voxel_layer"]["dense"]["topic"] == "/dense_cloud"
    static = found["global_costmap"]["global_costmap"]["ros__parameters"]["static_layer"]
    assert static["map_topic"] == "/map"


def test_nav2_may_be_left_out(load) -> None:
    actions = started(load("nav2"), navigation="false")
    assert include_of(actions, "slam.launch.py")
    assert len(actions) == 1


def test_costmaps_have_known_parameters_and_topics_that_mapping_node_publishes() -> None:
    content = yaml.safe_load((ROOT / "config" / "nav2_costmaps.yaml").read_text())
    published = (ROOT / "ros_matching" / "nodes" / "mapping" / "outputs.py").read_text()
    published += (ROOT / "ros_matching" / "nodes" / "mapping" / "grid_output.py").read_text()
    assert '"dense_cloud"' in published
    assert '"~/occupancy_grid"' in published
    for name in ("global_costmap", "local_costmap"):
        parameters = content[name][name]["ros__parameters"]
        layers = {key: parameters.pop(key) for key in parameters["plugins"]}
        assert set(parameters) <= COSTMAP
        for layer in layers.values():
            known = LAYERS[layer.pop("plugin")]
            sources = {key: layer.pop(key) for key in layer.get("observation_sources", "").split()}
            assert set(layer) <= known
            for source in sources.values():
                assert set(source) <= SOURCE
                assert source["topic"] == "/dense_cloud"
            assert layer.get("map_topic", "/mapping_node/occupancy_grid") == "/mapping_node/occupancy_grid"
