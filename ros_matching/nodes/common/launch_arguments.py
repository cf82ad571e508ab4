"""Arguments of the launch file and of ``ros-matching run``, and the nodes that they start.

Plain Python without ``launch``: both use the same code, and its tests need no ``launch``.
"""

from __future__ import annotations

import difflib
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from ros_matching.errors import ConfigError
from ros_matching.networks import ENGINE_PRECISIONS, ENGINES

FLAG = ("true", "false", "True", "False")
OPTIONAL_FLAG = ("", *FLAG)

Value = bool | int | float | str


@dataclass(frozen=True)
class Argument:
    """A launch argument; ``share_file`` is a default file in the share folder of this package."""

    name: str
    description: str
    default: str = ""
    choices: tuple[str, ...] = ()
    share_file: str = ""


@dataclass(frozen=True)
class NodePlan:
    """A node to start: its executable, which is also its name, with parameters and remappings."""

    executable: str
    parameter_files: tuple[str, ...] = ()
    parameters: Mapping[str, Value] = field(default_factory=dict)
    remappings: tuple[tuple[str, str], ...] = ()
    arguments: tuple[str, ...] = ()


_AS_FILE = "empty: as in the parameter file"

ARGUMENTS = (
    Argument(
        "mode",
        f"Map: none (odometry), one that is kept (slam), or a saved one (localization); {_AS_FILE}, or odometry.",
        choices=("", "odometry", "slam", "localization"),
    ),
    Argument("map_file", f"Folder of the saved map, for mode:=slam and mode:=localization; {_AS_FILE}."),
    Argument("namespace", "Namespace of the nodes and of all their relative topics and services."),
    Argument("params_file", "YAML file with parameters of vo_node.", share_file="config/vo.yaml"),
    Argument("image_topic", "Image topic; with transport:=compressed without its /compressed.", "image"),
    Argument("camera_info_topic", "CameraInfo topic of the images.", "camera_info"),
    Argument(
        "transport",
        "Take sensor_msgs/Image from image_topic (raw), or CompressedImage from image_topic/compressed; "
        f"{_AS_FILE}, or raw.",
        choices=("", "raw", "compressed"),
    ),
    Argument("matcher", f"Matcher: default, sift, orb, posfeat, ...; {_AS_FILE}."),
    Argument("device", f"Device of the matcher: auto, cpu, cuda or cuda:N; {_AS_FILE}."),
    Argument("variant", f"Size of the learned networks; {_AS_FILE}, or lite.", choices=("", "lite", "full")),
    Argument("weights", f"Weights of the learned networks: a folder, or files separated by ':'; {_AS_FILE}."),
    Argument("engine", f"Inference engine of the learned networks; {_AS_FILE}, or auto.", choices=("", *ENGINES)),
    Argument("precision", f"Number format of the learned networks; {_AS_FILE}.", choices=("", *ENGINE_PRECISIONS)),
    Argument("max_keypoints", f"Most keypoints of an image; {_AS_FILE}."),
    Argument(
        "camera_extrinsics",
        f"Extrinsics of the camera: from /tf_static (tf), or the identity; {_AS_FILE}.",
        choices=("", "tf", "identity"),
    ),
    Argument(
        "scale",
        f"Scale source (parameter scale.source: none, depth, stereo, wheel, height or imu); {_AS_FILE}.",
        choices=("", "none", "depth", "stereo", "wheel", "height", "imu"),
    ),
    Argument("depth_topic", "Depth images, registered to the camera's, for scale:=depth.", "depth/image"),
    Argument("right_image_topic", "Images of the second camera, for scale:=stereo.", "right/image"),
    Argument("right_camera_info_topic", "CameraInfo of the second camera.", "right/camera_info"),
    Argument("stereo_baseline_m", f"Baseline for scale:=stereo, in metres; {_AS_FILE}."),
    Argument("wheel_odom_topic", "nav_msgs/Odometry of the wheels, for scale:=wheel.", "wheel_odom"),
    Argument("camera_height_m", f"Height of the camera over the ground for scale:=height, in metres; {_AS_FILE}."),
    Argument("camera_pitch_deg", f"Downward pitch of the camera for scale:=height, in degrees; {_AS_FILE}."),
    Argument("imu_topic", "sensor_msgs/Imu; with it the IMU is used (use_imu); by scale:=imu it is on imu."),
    Argument("frame_prefix", f"Prefix of the names of all frames, such as robot1/; {_AS_FILE}."),
    Argument("map_frame", f"Frame of the map; {_AS_FILE}, or map."),
    Argument("odom_frame", f"Fixed frame; {_AS_FILE}, or odom."),
    Argument("base_frame", f"Frame of the robot; {_AS_FILE}, or base_link."),
    Argument("camera_frame", f"Optical frame of the camera; {_AS_FILE}, or the frame_id of the images."),
    Argument("publish_tf", f"Publish odom_frame -> base_frame; {_AS_FILE}, or true.", choices=OPTIONAL_FLAG),
    Argument(
        "publish_map_tf",
        f"Publish map_frame -> odom_frame, except with mode:=odometry; {_AS_FILE}, or true.",
        choices=OPTIONAL_FLAG,
    ),
    Argument("tf_topic", "Topic of the transforms; the static ones are on this topic with _static at its end.", "/tf"),
    Argument("clock_topic", "Clock topic, published by the replay and followed with use_sim_time.", "/clock"),
    Argument("mapping", "Dense mapping: start mapping_node.", "false", FLAG),
    Argument("mapping_params_file", "YAML file with parameters of mapping_node.", share_file="config/mapping.yaml"),
    Argument("mapping_device", f"Device of the mapping: auto, cpu, cuda or cuda:N; {_AS_FILE}."),
    Argument("mapping_network", f"Depth network: pbs_mvsnet_lite or pbs_mvsnet; {_AS_FILE}."),
    Argument("mapping_weights", f"File with the weights of the depth network; {_AS_FILE}."),
    Argument("cloud", "File for the map, PLY or PCD, written at the end; implies mapping:=true."),
    Argument(
        "dense_map",
        "File of the dense map, .safetensors, continued if it exists and written at the end; implies mapping:=true.",
    ),
    Argument("source", "Source to replay: a folder, video, bag or scene:NAME; empty for a live camera."),
    Argument(
        "use_sim_time",
        "Take the time from clock_topic; empty: true with a source, otherwise as in the parameter file.",
        choices=OPTIONAL_FLAG,
    ),
    Argument("rate", "Speed of the replay, as a multiple of real time.", "1.0"),
    Argument("wait_for_consumer", "Replay each frame when vo_node has processed the last one.", "false", FLAG),
    Argument("autostart", "Configure and activate the nodes; false leaves it to a lifecycle manager.", "true", FLAG),
    Argument("respawn", "Restart a node that ends, after 2 s, instead of ending the launch.", "false", FLAG),
    Argument("required", "End the launch when a node fails; false only reports it.", "true", FLAG),
    Argument("rviz", "Start RViz; then the end of the replay does not end the launch.", "false", FLAG),
    Argument("rviz_config", "Configuration file of RViz.", share_file="config/vo.rviz"),
    Argument("log_level", "Log level of the nodes.", "info", ("debug", "info", "warn", "error", "fatal")),
    Argument("backend", "Deprecated: use matcher."),
    Argument("camera_mount", "Deprecated: use camera_extrinsics."),
)
FORMER_NAMES = {"backend": "matcher", "camera_mount": "camera_extrinsics"}
"""Former names of arguments, which are still accepted."""

# Launch argument and parameter.
_VO_TEXTS = {
    "mode": "mode",
    "map_file": "map_file",
    "map_frame": "map_frame",
    "transport": "transport",
    "matcher": "matcher",
    "device": "device",
    "variant": "variant",
    "weights": "weights",
    "engine": "engine",
    "precision": "precision",
    "camera_extrinsics": "camera_extrinsics",
    "scale": "scale.source",
    "frame_prefix": "frame_prefix",
    "odom_frame": "odom_frame",
    "base_frame": "base_frame",
    "camera_frame": "camera_frame",
}
_VO_NUMBERS = {
    "stereo_baseline_m": "stereo_baseline_m",
    "camera_height_m": "scale.camera_height_m",
    "camera_pitch_deg": "scale.camera_pitch_deg",
}
_MAPPING_TEXTS = {
    "mapping_device": "device",
    "mapping_network": "network",
    "mapping_weights": "weights",
    "cloud": "cloud_file",
    "dense_map": "map_file",
}
_VO_INTEGERS = {"max_keypoints": "max_keypoints"}
_VO_FLAGS = {"publish_tf": "publish_tf", "publish_map_tf": "publish_map_tf"}
_REPLAY_TEXTS = {name: name for name in ("source", "transport", "frame_prefix", "base_frame", "camera_frame")}
_IMAGE_TOPICS = {"image_topic": "image", "camera_info_topic": "camera_info"}
_IMU_TOPIC = {"imu_topic": "imu"}
_SCALE_TOPICS = {
    "depth_topic": "depth/image",
    "right_image_topic": "right/image",
    "right_camera_info_topic": "right/camera_info",
    "wheel_odom_topic": "wheel_odom",
}


def is_true(flag: str) -> bool:
    """Return the value of a flag in the spelling of Python, YAML or XML."""
    return flag.lower() == "true"


def plan(values: Mapping[str, str]) -> list[NodePlan]:
    """Return the nodes that the arguments ask for; an empty or missing argument has its default.

    Raises ``ConfigError`` for a value that cannot be parsed, or a parameter file that does not exist.
    """
    return _Planner(values).nodes()


def misspelt(given: Iterable[str]) -> dict[str, str]:
    """Return unknown names that are close to an argument, with that argument."""
    names = [argument.name for argument in ARGUMENTS]
    nearest = {name: difflib.get_close_matches(name, names, 1, cutoff=0.8) for name in given if name not in names}
    return {name: matches[0] for name, matches in nearest.items() if matches}


class _Planner:
    def __init__(self, values: Mapping[str, str]) -> None:
        defaults = {argument.name: argument.default for argument in ARGUMENTS}
        given = {name: value for name, value in values.items() if value and name in defaults}
        former = {name: given[old] for old, name in FORMER_NAMES.items() if old in given}
        self._values = defaults | former | given

    def nodes(self) -> list[NodePlan]:
        """Return vo_node, and mapping_node, replay_node and RViz if requested.

        RViz comes first: if it is not installed, launch fails before it has started a process.
        """
        names = ["vo_node", "mapping_node"] if self._maps() else ["vo_node"]
        nodes = [self._rviz(), self._vo_node()] if self.flag("rviz") else [self._vo_node()]
        if "mapping_node" in names:
            nodes.append(self._mapping_node())
        if self._values["source"]:
            nodes.append(self._replay_node(names))
        return nodes

    def _maps(self) -> bool:
        return self.flag("mapping") or bool(self._values["cloud"] or self._values["dense_map"])

    def flag(self, name: str) -> bool:
        """A flag's value."""
        if self._values[name] not in FLAG:
            raise ConfigError(f"the argument {name} must be true or false, got {self._values[name]!r}")
        return is_true(self._values[name])

    def _vo_node(self) -> NodePlan:
        return NodePlan(
            "vo_node",
            self._files("params_file"),
            self._lifecycle_parameters()
            | self._texts(_VO_TEXTS)
            | {parameter: self._number(name) for name, parameter in _VO_NUMBERS.items() if self._values[name]}
            | {parameter: self._integer(name) for name, parameter in _VO_INTEGERS.items() if self._values[name]}
            | {parameter: self.flag(name) for name, parameter in _VO_FLAGS.items() if self._values[name]}
            | ({"use_imu": True} if self._values["imu_topic"] else {}),
            self._remappings(_IMAGE_TOPICS | _SCALE_TOPICS | self._imu_topic),
        )

    def _mapping_node(self) -> NodePlan:
        parameters = self._lifecycle_parameters() | self._texts(_MAPPING_TEXTS)
        if "cloud_file" in parameters or "map_file" in parameters:
            parameters["save_at_end"] = True
        return NodePlan("mapping_node", self._files("mapping_params_file"), parameters, self._remappings({}))

    def _replay_node(self, wait_for: list[str]) -> NodePlan:
        parameters = self._texts(_REPLAY_TEXTS)
        parameters["rate"] = self._number("rate")
        parameters["wait_for_consumer"] = self.flag("wait_for_consumer")
        parameters["wait_for"] = ",".join(wait_for)
        return NodePlan("replay_node", (), parameters, self._remappings(_IMAGE_TOPICS | self._imu_topic))

    @property
    def _imu_topic(self) -> dict[str, str]:
        return _IMU_TOPIC if self._values["imu_topic"] else {}

    def _rviz(self) -> NodePlan:
        arguments = ["--display-config", self._values["rviz_config"]]
        name = "map_frame" if self._values["mode"] in ("slam", "localization") else "odom_frame"
        if self._values["frame_prefix"] or self._values[name]:
            fixed_frame = self._values["frame_prefix"] + (self._values[name] or name.removesuffix("_frame"))
            arguments += ["--fixed-frame", fixed_frame]
        return NodePlan("rviz2", (), self._time(), self._remappings(_IMAGE_TOPICS), tuple(arguments))

    def _lifecycle_parameters(self) -> dict[str, Value]:
        return {"autostart": self.flag("autostart")} | self._time()

    def _time(self) -> dict[str, Value]:
        if self._values["use_sim_time"]:
            return {"use_sim_time": self.flag("use_sim_time")}
        return {"use_sim_time": True} if self._values["source"] else {}

    def _texts(self, parameters: Mapping[str, str]) -> dict[str, Value]:
        return {parameter: self._values[name] for name, parameter in parameters.items() if self._values[name]}

    def _number(self, name: str) -> float:
        try:
            number = float(self._values[name])
        except ValueError:
            number = math.nan
        if not math.isfinite(number):
            raise ConfigError(f"the argument {name} must be a number, got {self._values[name]!r}")
        return number

    def _integer(self, name: str) -> int:
        number = self._number(name)
        if number != int(number):
            raise ConfigError(f"the argument {name} must be a whole number, got {self._values[name]!r}")
        return int(number)

    def _files(self, name: str) -> tuple[str, ...]:
        file = self._values[name]
        if file and not Path(file).is_file():  # launch would only warn and start the node with its defaults
            raise ConfigError(f"there is no parameter file {file}; correct the argument {name}")
        return (file,) if file else ()

    def _remappings(self, topics: Mapping[str, str]) -> tuple[tuple[str, str], ...]:
        """Return the remappings from the names of the nodes to those of the arguments."""
        tf, clock = self._values["tf_topic"], self._values["clock_topic"]
        pairs = {topic: self._values[name] for name, topic in topics.items()}
        for name in ("image", "right/image"):
            if name in pairs:
                pairs[f"{name}/compressed"] = f"{pairs[name]}/compressed"
        pairs |= {"/tf": tf, "/tf_static": f"{tf}_static", "/clock": clock}
        return tuple((old, new) for old, new in pairs.items() if old != new)
