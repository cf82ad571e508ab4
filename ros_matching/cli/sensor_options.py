"""Options of scale sources and of the IMU, and the parts of the odometry that they make."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ros_matching.config import Config
    from ros_matching.inertial.imu import Imu
    from ros_matching.io.source import FrameSource
    from ros_matching.matching.pipeline import MatchingPipeline
    from ros_matching.scale import WheelOdometry
    from ros_matching.scale.scale_estimator import ScaleEstimator
    from ros_matching.visual_odometry import VisualOdometry

_IMU_OF_SOURCE = ""


def add_scale_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of the scale source; settings of the section ``scale`` refine them."""
    parser.add_argument(
        "--scale",
        metavar="SOURCE",
        help="scale source, short for --set scale.source=SOURCE: depth (if the source has it), "
        "stereo (KITTI and EuRoC: SOURCE?stereo=true), wheel (with --wheel-odometry), "
        "height (with --set scale.camera_height_m=H), imu (of the source, see --imu), or none (the default)",
    )
    parser.add_argument(
        "--wheel-odometry",
        metavar="FILE",
        type=Path,
        help="poses of the robot from wheel odometry, in TUM or EuRoC format, in the clock of the source",
    )


def scaled_overrides(args: argparse.Namespace) -> list[str]:
    """Return the settings that the arguments change, including the scale source."""
    return args.overrides if args.scale is None else [*args.overrides, f"scale.source={args.scale}"]


def make_odometry(
    configs: Mapping[str, Config],
    matcher: MatchingPipeline,
    wheel_file: Path | None = None,
    *,
    threaded: bool = False,
    imu: Imu | None = None,
) -> VisualOdometry:
    """Return the tracker with the settings of ``configs``, by section: ``tracking`` and ``scale``."""
    from ros_matching.visual_odometry import VisualOdometry

    scale = make_scale(configs, matcher, wheel_file, imu)
    return VisualOdometry(matcher, configs["tracking"], scale, threaded=threaded, imu=imu)


def make_scale(
    configs: Mapping[str, Config],
    matcher: MatchingPipeline,
    wheel_file: Path | None = None,
    imu: Imu | None = None,
) -> ScaleEstimator:
    """Return the scale estimator with the settings of the section ``scale``."""
    from ros_matching.scale import make_scale_estimator

    wheels = None if wheel_file is None else _wheel_odometry(wheel_file)
    return make_scale_estimator(configs["scale"], matcher, wheel_odometry=wheels, imu=imu)


def add_imu_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of the IMU; settings of the section ``imu`` refine them."""
    parser.add_argument(
        "--imu",
        nargs="?",
        const=_IMU_OF_SOURCE,
        metavar="FILE",
        help="use the IMU of the source (EuRoC, TUM-VI, KITTI raw, bags, imu.csv beside images, scene:...?imu=200), or "
        "samples in a CSV file (stamp wx wy wz ax ay az); --scale imu alone uses that of the source. See docs/imu.md",
    )
    parser.add_argument(
        "--imu-extrinsics",
        metavar="FILE",
        type=Path,
        help="Kalibr's camchain.yaml with T_cam_imu, or the rows of imu_from_camera",
    )
    parser.add_argument("--imu-noise", metavar="FILE", type=Path, help="Kalibr's imu.yaml")


def make_imu(args: argparse.Namespace, configs: Mapping[str, Any], source: FrameSource) -> Imu | None:
    """Return the IMU that the options name; ``None`` if they name none."""
    if args.imu is None and configs["scale"].source != "imu":
        return None
    from dataclasses import replace

    from ros_matching.inertial.imu import Imu
    from ros_matching.io.imu import imu_of, read_imu_extrinsics, read_imu_files, read_imu_noise

    if args.imu:
        recording = read_imu_files(Path(args.imu), args.imu_extrinsics, args.imu_noise)
        return Imu.of(recording, configs["imu"])
    recording = imu_of(source)
    if args.imu_extrinsics is not None:
        extrinsics, offset_s = read_imu_extrinsics(args.imu_extrinsics)
        recording = replace(recording, imu_from_camera=extrinsics, time_offset_s=offset_s)
    if args.imu_noise is not None:
        recording = replace(recording, noise=read_imu_noise(args.imu_noise))
    return Imu.of(recording, configs["imu"])


def _wheel_odometry(path: Path) -> WheelOdometry:
    from ros_matching.io.trajectory import read_trajectory
    from ros_matching.scale import WheelOdometry

    trajectory = read_trajectory(path)
    odometry = WheelOdometry(capacity=len(trajectory))
    for stamp_ns, pose in zip(trajectory.stamps_ns, trajectory.world_from_camera, strict=True):
        odometry.add(int(stamp_ns), pose[:3, 3])
    return odometry
