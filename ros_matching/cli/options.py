"""Options that several subcommands share: sources, matchers, and their former names."""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ros_matching.matching import CLASSICAL, DEFAULT, MATCHERS, VARIANTS
from ros_matching.matching.config import MatcherConfig
from ros_matching.networks import ENGINE_PRECISIONS, ENGINES

if TYPE_CHECKING:
    from ros_matching.io.source import FrameSource


SOURCE_KINDS = "image folder, video, dataset sequence, ROS bag or scene"


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


def hides_progress(quiet: bool) -> bool | None:
    """Return ``disable`` of tqdm: True if quiet, otherwise None, which hides it without a terminal."""
    return True if quiet else None


def matcher_label(name: str) -> str:
    """Return the label of a matcher in tables: its name, and what ``default`` stands for."""
    return f"default ({DEFAULT})" if name == "default" else name


def add_mapping_thread_option(parser: argparse.ArgumentParser) -> None:
    """Add the switch for the back end's thread, which offline runs leave off."""
    parser.add_argument(
        "--mapping-thread",
        action="store_true",
        help="map keyframes in a thread, as vo_node does: only frames with few landmarks wait for it; results depend "
        "on timing",
    )
