"""Settings of ``mapping_node``; those of the mapper are ROS parameters with the prefix ``mapping.``."""

from __future__ import annotations

from dataclasses import dataclass

from ros_matching.config import Config, parameter
from ros_matching.mapping.config import GridConfig, MappingConfig
from ros_matching.networks import DEPTH_NETWORKS


@dataclass(frozen=True)
class MappingNodeConfig(Config):
    """Settings of ``mapping_node``: network, load on the machine, and amount of published data."""

    network: str = parameter(DEPTH_NETWORKS[0], "the depth network", choices=DEPTH_NETWORKS)
    weights: str = parameter("", "file with the weights of the network; empty takes those of the package")
    device: str = parameter("auto", "device of the network: auto, cpu, cuda or cuda:N")
    autostart: bool = parameter(
        False, "configure and activate at the start, without a lifecycle manager (for ros2 run)"
    )
    queue_length: int = parameter(
        10, "length of the keyframe queue; if it is full, the oldest is dropped", minimum=1, maximum=1000
    )
    threads: int = parameter(
        0, "CPU threads of the network; 0 leaves one core to the odometry and takes the others", minimum=0, maximum=1024
    )
    niceness: int = parameter(10, "niceness of the mapping threads, as nice(1)", minimum=0, maximum=19)
    cloud_period_s: float = parameter(0.0, "dense_cloud is published at most this often, in seconds", minimum=0)
    cloud_max_points: int = parameter(
        100_000, "most points of a dense_cloud; larger clouds are subsampled evenly", minimum=1, maximum=100_000_000
    )
    map_period_s: float = parameter(2.0, "map_cloud is published at most this often, in seconds", minimum=0.05)
    map_max_points: int = parameter(
        500_000, "most points of a map_cloud; larger clouds are subsampled evenly", minimum=1, maximum=100_000_000
    )
    cloud_file: str = parameter("", "file for ~/save_cloud, PLY or PCD by the suffix; ~ is the home folder")
    map_file: str = parameter(
        "",
        "file of the map itself, .safetensors, for ~/save_map: one that exists is continued; ~ is the home folder",
    )
    save_at_end: bool = parameter(
        False,
        "when the node is deactivated or shut down, map the waiting keyframes and write cloud_file and map_file",
    )


CONFIGS = (("", MappingNodeConfig), ("mapping.", MappingConfig), ("grid.", GridConfig))
"""Prefixes of the parameters, and their settings."""

LIVE_SETTINGS = frozenset({"cloud_file", "map_file", "save_at_end"})
"""Settings that may change while the node is configured; all others are read by the configure transition."""
