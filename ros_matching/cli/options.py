"""The options that the subcommands share."""

from __future__ import annotations

import argparse
from pathlib import Path

from ros_matching.matching import BACKENDS, DEFAULT

SOURCE_KINDS = "image folder, video, dataset sequence, ROS 2 bag or scene"


def add_run_options(parser: argparse.ArgumentParser, default_out: str) -> None:
    """What a subcommand that tracks a source takes: front end, frames, output."""
    parser.add_argument("--backend", choices=BACKENDS, default="default", help="front end (default: %(default)s)")
    parser.add_argument("--device", default="auto", help="auto, cpu or cuda (default: %(default)s)")
    parser.add_argument("--out", metavar="DIR", type=Path, help=f"folder for the results (default: {default_out})")
    add_part_options(parser)
    parser.add_argument(
        "--stride", type=int, default=1, metavar="N", help="take every Nth frame (default: %(default)s)"
    )
    parser.add_argument("--quiet", action="store_true", help="print nothing but errors")


def add_part_options(parser: argparse.ArgumentParser) -> None:
    """Where to begin and to end in a source."""
    parser.add_argument("--start", type=int, default=0, metavar="N", help="first frame (default: %(default)s)")
    parser.add_argument("--stop", type=int, metavar="N", help="frame to stop before (default: the end)")


def hides_progress(quiet: bool) -> bool | None:
    """The ``disable`` of tqdm: always when quiet, otherwise where nobody watches, as in a log file."""
    return True if quiet else None


def front_end_label(name: str) -> str:
    """What a front end is called in tables: as it was asked for, and what ``default`` stands for."""
    return f"default ({DEFAULT})" if name == "default" else name
