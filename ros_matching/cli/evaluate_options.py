"""The options that the measures of ``ros-matching evaluate`` share, and what they stand for."""

from __future__ import annotations

import argparse
import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ros_matching.errors import EvaluationError

if TYPE_CHECKING:
    from ros_matching.matching.two_view import TwoViewMatcher

_FRONT_ENDS = ("default", "sift", "orb")


def add_output_options(parser: argparse.ArgumentParser) -> None:
    """Where data comes from and results go to."""
    parser.add_argument("--data", type=Path, metavar="FOLDER", help="images with truth (default: $ROS_MATCHING_DATA)")
    parser.add_argument("--out", type=Path, metavar="DIR", help="write the results there: Markdown, JSON and PNG")
    parser.add_argument("--device", default="auto", help="auto, cpu or cuda (default: %(default)s)")
    parser.add_argument("--quiet", action="store_true", help="print nothing but errors")


def add_matcher_options(parser: argparse.ArgumentParser) -> None:
    """Which front ends are measured, all of them under the same conditions."""
    parser.add_argument(
        "--matcher",
        dest="matchers",
        action="append",
        default=[],
        metavar="NAME[=WEIGHTS]",
        help="front end to measure, a learned one with a weights file or folder of its own; may be repeated (default: "
        f"{', '.join(_FRONT_ENDS)})",
    )
    parser.add_argument(
        "--weights", action="append", type=Path, default=[], metavar="FILE", help="weights for all learned front ends"
    )
    parser.add_argument(
        "--size", type=int, default=640, metavar="PX", help="longest side; larger images are reduced (default: 640)"
    )
    parser.add_argument(
        "--keypoints", type=int, default=2048, metavar="N", help="most keypoints an image (default: %(default)s)"
    )


def load_matchers(args: argparse.Namespace) -> dict[str, TwoViewMatcher]:
    """The front ends asked for, by what they were called."""
    return {name: _load_matcher(name, args) for name in dict.fromkeys(args.matchers or _FRONT_ENDS)}


def data_folder(args: argparse.Namespace) -> Path:
    """The folder of images given, or that of the environment."""
    from ros_matching.training.data import DataFolder

    return DataFolder.found(args.data).root


def settings_of(args: argparse.Namespace) -> dict[str, Any]:
    """What the figures were made with, for the report."""
    import torch

    return {
        "command": shlex.join(["ros-matching", *sys.argv[1:]]),
        "threads": torch.get_num_threads(),
        "device": args.device,
    }


def _load_matcher(name: str, args: argparse.Namespace) -> TwoViewMatcher:
    from ros_matching.matching import CLASSICAL, LEARNED, load_matcher

    front_end, _, weights = name.partition("=")
    if weights and front_end not in LEARNED:
        raise EvaluationError(f"front end {front_end!r} takes no weights, got {name!r}; give them with a learned one")
    given = ([Path(weights)] if weights else []) + args.weights
    return load_matcher(
        front_end,
        device="cpu" if front_end in CLASSICAL else args.device,
        weights=given if front_end in LEARNED and given else None,
        max_keypoints=args.keypoints,
    )
