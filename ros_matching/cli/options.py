"""Options that several subcommands share: sources, matchers, scale, and settings as ``--set section.key=value``."""

from __future__ import annotations

import argparse
import os
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
    from ros_matching.matching.pipeline import MatchingPipeline
    from ros_matching.scale import WheelOdometry
    from ros_matching.visual_odometry import VisualOdometry


SOURCE_KINDS = "image folder, video, dataset sequence, ROS bag or scene"


def add_run_options(parser: argparse.ArgumentParser, default_out: str) -> None:
    """What a subcommand that tracks a source takes: front end, frames, output."""
    parser.add_argument("--backend", choices=MATCHERS, default="default", help="front end (default: %(default)s)")
    parser.add_argument("--device", default="auto", help="auto, cpu or cuda (default: %(default)s)")
    parser.add_argument(
        "--weights",
        action="append",
        default=[],
        metavar="PATH",
        help="weights of the learned networks: a folder, or a file for one of them; may be repeated",
    )
    parser.add_argument(
        "--keypoints", type=int, default=0, metavar="N", help="most an image (default: the front end's own)"
    )
    add_network_options(parser)
    parser.add_argument("--out", metavar="DIR", type=Path, help=f"folder for the results (default: {default_out})")
    add_part_options(parser)
    parser.add_argument(
        "--stride", type=int, default=1, metavar="N", help="take every Nth frame (default: %(default)s)"
    )
    parser.add_argument("--quiet", action="store_true", help="print nothing but errors")


def add_network_options(parser: argparse.ArgumentParser) -> None:
    """Which of the learned networks run, and how."""
    parser.add_argument("--variant", choices=VARIANTS, default="lite", help="size of the networks (default: lite)")
    parser.add_argument("--engine", choices=ENGINES, default="auto", help="what runs the networks (default: auto)")
    parser.add_argument(
        "--precision", choices=ENGINE_PRECISIONS, default="auto", help="their number format (default: auto)"
    )


def matcher_config(args: argparse.Namespace, backend: str | None = None) -> MatcherConfig:
    """The settings of ``add_run_options``, for another front end if wished: a classical one takes no networks."""
    backend = args.backend if backend is None else backend
    if backend in CLASSICAL:
        return MatcherConfig(backend, args.device, max_keypoints=args.keypoints)
    weights = os.pathsep.join(args.weights)
    return MatcherConfig(backend, args.device, args.variant, weights, args.engine, args.precision, args.keypoints)


def add_part_options(parser: argparse.ArgumentParser) -> None:
    """Where to begin and to end in a source."""
    parser.add_argument("--start", type=int, default=0, metavar="N", help="first frame (default: %(default)s)")
    parser.add_argument("--stop", type=int, metavar="N", help="frame to stop before (default: the end)")


def add_list_settings(parser: argparse.ArgumentParser, sections: Callable[[], Mapping[str, type[Config]]]) -> None:
    """``--list-settings``, which shows the settings of ``sections`` and ends; they are imported only for that."""
    parser.add_argument("--list-settings", action=_ListSettings, sections=sections, help="show the settings and exit")


class _ListSettings(argparse.Action):
    """Like ``--version``: prints and exits, before the positional arguments are asked for."""

    def __init__(
        self, option_strings: list[str], dest: str, help: str, sections: Callable[[], Mapping[str, type[Config]]]
    ) -> None:
        super().__init__(option_strings, dest=argparse.SUPPRESS, nargs=0, help=help)
        self._sections = sections

    def __call__(self, parser: argparse.ArgumentParser, *_: object) -> None:

        print(describe(self._sections()), flush=True)
        parser.exit()


def hides_progress(quiet: bool) -> bool | None:
    """The ``disable`` of tqdm: always when quiet, otherwise where nobody watches, as in a log file."""
    return True if quiet else None


def front_end_label(name: str) -> str:
    """What a front end is called in tables: as it was asked for, and what ``default`` stands for."""
    return f"default ({DEFAULT})" if name == "default" else name


_BOOLS = {"true": True, "false": False}


def configs_from(overrides: Iterable[str], sections: Mapping[str, type[Config]]) -> dict[str, Any]:
    """Every section's configuration, with its defaults where the overrides ``section.key=value`` say nothing.

    Raises ``ConfigError`` for an override of another form, an unknown section or key, or a value that does not fit.
    """
    values: dict[str, dict[str, Any]] = {section: {} for section in sections}
    for override in overrides:
        path, equals, text = override.partition("=")
        section, dot, key = path.strip().partition(".")
        if not equals or not dot:
            raise ConfigError(f"a setting is given as section.key=value, got {override!r}")
        if section not in sections:
            raise ConfigError(f"there are no settings {section!r}; there are: {', '.join(sections)}")
        values[section][key] = _parsed(sections[section], key, text.strip())
    return {section: config.from_mapping(values[section]) for section, config in sections.items()}


def describe(sections: Mapping[str, type[Config]]) -> str:
    """All settings, one a line: name, default, range and what it does."""
    infos = [(f"{section}.{info.name}", info) for section, config in sections.items() for info in fields_of(config)]
    width = max(len(name) for name, _ in infos)
    return "\n".join(f"{name:<{width}}  {info.description} ({_limits(info)})" for name, info in infos)


def _parsed(config: type[Config], key: str, text: str) -> bool | int | float | str:
    """The text in the type of the setting; left as it is where ``Config`` has the better error for it."""
    kind = next((info.type for info in fields_of(config) if info.name == key), str)
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
    configs: Mapping[str, Config], matcher: MatchingPipeline, wheel_file: Path | None = None
) -> VisualOdometry:
    """The tracker with the settings of ``configs``, by section: ``tracking`` and ``scale``."""
    from ros_matching.scale import make_scale_estimator
    from ros_matching.visual_odometry import VisualOdometry

    wheels = None if wheel_file is None else _wheel_odometry(wheel_file)
    scale = make_scale_estimator(configs["scale"], matcher, wheel_odometry=wheels)
    return VisualOdometry(matcher, configs["tracking"], scale)


def _wheel_odometry(path: Path) -> WheelOdometry:
    from ros_matching.io.trajectory import read_trajectory
    from ros_matching.scale import WheelOdometry

    trajectory = read_trajectory(path)
    odometry = WheelOdometry(capacity=len(trajectory))
    for stamp_ns, pose in zip(trajectory.stamps_ns, trajectory.world_from_camera, strict=True):
        odometry.add(int(stamp_ns), pose[:3, 3])
    return odometry
