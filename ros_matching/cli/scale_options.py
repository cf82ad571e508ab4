"""The options of the subcommands whose tracker may have a scale anchor."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ros_matching.config import Config
    from ros_matching.matching.two_view import TwoViewMatcher
    from ros_matching.tracking import VisualOdometry, WheelOdometry


def add_scale_options(parser: argparse.ArgumentParser) -> None:
    """What tells the scale; settings of the section ``scale`` say more."""
    parser.add_argument(
        "--scale",
        metavar="ANCHOR",
        help="what tells the scale, short for --set scale.anchor=ANCHOR: depth (where the source has it), "
        "stereo (KITTI and EuRoC: SOURCE?stereo=true), wheel (with --wheel-odometry), "
        "height (with --set scale.camera_height_m=H), or none (the default)",
    )
    parser.add_argument(
        "--wheel-odometry",
        metavar="FILE",
        type=Path,
        help="poses of the robot by its wheels, as TUM or EuRoC writes them, in the clock of the source",
    )


def scaled_overrides(args: argparse.Namespace) -> list[str]:
    """The settings that the arguments change, the anchor among them."""
    return args.overrides if args.scale is None else [*args.overrides, f"scale.anchor={args.scale}"]


def make_odometry(
    configs: Mapping[str, Config], matcher: TwoViewMatcher, wheel_file: Path | None = None
) -> VisualOdometry:
    """The tracker with the settings of ``configs``, by section: ``tracking`` and ``scale``."""
    from ros_matching.tracking import VisualOdometry, make_scale_estimator

    wheels = None if wheel_file is None else _wheel_odometry(wheel_file)
    scale = make_scale_estimator(configs["scale"], matcher, wheel_odometry=wheels)
    return VisualOdometry(matcher, configs["tracking"], scale)


def _wheel_odometry(path: Path) -> WheelOdometry:
    from ros_matching.io.trajectory import read_trajectory
    from ros_matching.tracking import WheelOdometry

    trajectory = read_trajectory(path)
    odometry = WheelOdometry(capacity=len(trajectory))
    for stamp_ns, pose in zip(trajectory.stamps_ns, trajectory.world_from_camera, strict=True):
        odometry.add(int(stamp_ns), pose[:3, 3])
    return odometry
