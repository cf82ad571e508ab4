"""Options that several subcommands share: sources, matchers, scale, and settings as ``--set section.key=value``."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ros_matching.config import Config, ParameterInfo, fields_of
from ros_matching.errors import ConfigError
from ros_matching.matching import CLASSICAL, DEFAULT, MATCHERS, VARIANTS
from ros_matching.matching.config import MatcherConfig
from ros_matching.networks import ENGINE_PRECISIONS, ENGINES

if TYPE_CHECKING:
    from ros_matching.config import Config
    from ros_matching.inertial.imu import Imu
    from ros_matching.io.source import FrameSource
    from ros_matching.matching.pipeline import MatchingPipeline
    from ros_matching.scale import WheelOdometry
    from ros_matching.scale.scale_estimator import ScaleEstimator
    from ros_matching.visual_odometry import VisualOdometry


SOURCE_KINDS = "image folder, video, dataset sequence, ROS bag or scene"
_BOOLS = {"true": True, "false": False}


def add_run_options(parser: argparse.ArgumentParser, default_out: str, *, with_masks: bool = True) -> None:
    """Add the options of a subcommand that tracks a source: matcher, frames, masks, output."""
    add_matcher_option(parser)
    parser.add_argument("--device", default="auto", help="auto, cpu or cuda (default: %(default)s)")
    parser.add_argument(
        "--weights",
        action="append",
        default=[],
        metavar="PATH",
        help="weights of the learned networks: a folder, or a file for one of them; may be repeated",
    )
    parser.add_argument(
        "--keypoints", type=int, default=0, metavar="N", help="most keypoints per image (default: the matcher's own)"
    )
    add_network_options(parser)
    parser.add_argument("--out", metavar="DIR", type=Path, help=f"folder for the results (default: {default_out})")
    add_part_options(parser)
    if with_masks:
        _add_mask_option(parser)
    parser.add_argument(
        "--stride", type=int, default=1, metavar="N", help="take every Nth frame (default: %(default)s)"
    )
    parser.add_argument("--quiet", action="store_true", help="print nothing but errors")


def _add_mask_option(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--masks",
        metavar="PATH",
        type=Path,
        help="mask of all images, or folder with NAME.png for an image NAME.jpg (000012.png for frame 12 of a video or "
        "bag): black is not used",
    )


def add_matcher_option(parser: argparse.ArgumentParser) -> None:
    """Add ``--matcher``, and its former name ``--backend``."""
    option = parser.add_argument(
        "--matcher", choices=MATCHERS, default="default", help="feature matcher (default: %(default)s)"
    )
    add_former_name(parser, "--backend", option)


def add_former_name(parser: argparse.ArgumentParser, name: str, option: argparse.Action) -> None:
    """Add a hidden former name of an option, which is accepted with a warning."""
    parser.add_argument(
        name,
        action=_FormerName,
        option=option,
        dest=option.dest,
        type=option.type,
        choices=option.choices,
        default=argparse.SUPPRESS,
        help=argparse.SUPPRESS,
    )


class _FormerName(argparse.Action):
    """Stores the value as the option does that replaces this one."""

    def __init__(self, option_strings: list[str], dest: str, option: argparse.Action, **options: Any) -> None:
        super().__init__(option_strings, dest, **options)
        self._option = option

    def __call__(
        self, parser: argparse.ArgumentParser, namespace: argparse.Namespace, values: Any, option_string: Any = None
    ) -> None:
        name = self._option.option_strings[0]
        print(f"{parser.prog}: the option {option_string} is deprecated; use {name}", file=sys.stderr)
        self._option(parser, namespace, values, option_string)


def add_network_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of the learned networks."""
    parser.add_argument("--variant", choices=VARIANTS, default="lite", help="size of the networks (default: lite)")
    parser.add_argument("--engine", choices=ENGINES, default="auto", help="inference engine (default: auto)")
    parser.add_argument(
        "--precision", choices=ENGINE_PRECISIONS, default="auto", help="their number format (default: auto)"
    )


def matcher_config(args: argparse.Namespace, matcher: str | None = None) -> MatcherConfig:
    """Return the settings of ``add_run_options``, optionally for another matcher; classical ones take no networks."""
    matcher = args.matcher if matcher is None else matcher
    if matcher in CLASSICAL:
        return MatcherConfig(matcher, args.device, max_keypoints=args.keypoints)
    weights = os.pathsep.join(args.weights)
    return MatcherConfig(matcher, args.device, args.variant, weights, args.engine, args.precision, args.keypoints)


def open_run_source(args: argparse.Namespace) -> FrameSource:
    """Open the source of the options of ``add_run_options``, with its masks."""
    from ros_matching.io import open_source

    source = open_source(args.source, start=args.start, stop=args.stop, stride=args.stride)
    if args.masks is None:
        return source
    from ros_matching.io.masks import MaskedSource

    return MaskedSource(source, args.masks)


def add_part_options(parser: argparse.ArgumentParser) -> None:
    """Add the options for the first and last frame of a source."""
    parser.add_argument("--start", type=int, default=0, metavar="N", help="first frame (default: %(default)s)")
    parser.add_argument("--stop", type=int, metavar="N", help="frame to stop before (default: the end)")


def add_settings_options(
    parser: argparse.ArgumentParser, what: str, sections: Callable[[], Mapping[str, type[Config]]]
) -> None:
    """Add ``--set``, which changes a setting of ``what``, and ``--list-settings``; sections are imported only then."""
    parser.add_argument(
        "--set",
        dest="overrides",
        action="append",
        default=[],
        metavar="SECTION.KEY=VALUE",
        help=f"change a setting of {what}; may be repeated. See --list-settings",
    )
    parser.add_argument("--list-settings", action=_ListSettings, sections=sections, help="show the settings and exit")


class _ListSettings(argparse.Action):
    """Like ``--version``: prints and exits before the positional arguments are required."""

    def __init__(
        self, option_strings: list[str], dest: str, help: str, sections: Callable[[], Mapping[str, type[Config]]]
    ) -> None:
        super().__init__(option_strings, dest=argparse.SUPPRESS, nargs=0, help=help)
        self._sections = sections

    def __call__(self, parser: argparse.ArgumentParser, *_: object) -> None:
        print(describe(self._sections()), flush=True)
        parser.exit()


def hides_progress(quiet: bool) -> bool | None:
    """Return ``disable`` of tqdm: True if quiet, otherwise None, which hides it without a terminal."""
    return True if quiet else None


def matcher_label(name: str) -> str:
    """Return the label of a matcher in tables: its name, and what ``default`` stands for."""
    return f"default ({DEFAULT})" if name == "default" else name


def configs_from(overrides: Iterable[str], sections: Mapping[str, type[Config]]) -> dict[str, Any]:
    """Return the configuration of every section, with defaults for all settings without an override.

    Raises ``ConfigError`` for an invalid override ``section.key=value``, an unknown section or key, or an invalid
    value.
    """
    values: dict[str, dict[str, Any]] = {section: {} for section in sections}
    for override in overrides:
        path, equals, text = override.partition("=")
        section, dot, key = path.strip().partition(".")
        if not equals or not dot:
            raise ConfigError(f"a setting must be section.key=value, got {override!r}")
        if section not in sections:
            raise ConfigError(f"there are no settings {section!r}; there are: {', '.join(sections)}")
        values[section][key] = _parsed(sections[section], key, text.strip())
    return {section: config.from_mapping(values[section]) for section, config in sections.items()}


def describe(sections: Mapping[str, type[Config]]) -> str:
    """Return all settings, one per line: name, description, default and range."""
    infos = [(f"{section}.{info.name}", info) for section, config in sections.items() for info in fields_of(config)]
    width = max(len(name) for name, _ in infos)
    return "\n".join(f"{name:<{width}}  {info.description} ({_limits(info)})" for name, info in infos)


def _parsed(config: type[Config], key: str, text: str) -> bool | int | float | str:
    """Return the text in the type of the setting; unchanged if ``Config`` reports the better error."""
    kind = next((info.type for info in fields_of(config) if key in (info.name, info.former_name)), str)
    try:
        return _BOOLS.get(text.lower(), text) if kind is bool else kind(text)
    except ValueError:
        return text


def _limits(info: ParameterInfo) -> str:
    limits = [f"default {info.default}"]
    if info.choices is not None:
        limits.append(f"one of {', '.join(info.choices)}")
    if info.minimum is not None:
        limits.append(f"at least {info.minimum:g}")
    if info.maximum is not None:
        limits.append(f"at most {info.maximum:g}")
    return ", ".join(limits)


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


def add_mapping_thread_option(parser: argparse.ArgumentParser) -> None:
    """The switch for the back end's thread, which offline runs leave off."""
    parser.add_argument(
        "--mapping-thread",
        action="store_true",
        help="map keyframes in a thread, as vo_node does: no frame waits for it, but results depend on timing",
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


_IMU_OF_SOURCE = ""


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
