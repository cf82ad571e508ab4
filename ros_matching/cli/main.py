"""The entry point of ``ros-matching``: finds the subcommand, runs it, and turns errors into one line and an exit code.

A subcommand is a module of this folder (``map-info``: ``map_info``) with ``add_parser(subparsers)``, which must be
light, and ``run(args) -> int``, which imports what it needs. Exit codes: 0 done, 1 no result, 2 bad input, 130
interrupted, 141 when the reader of the output went away.
"""

from __future__ import annotations

import argparse
import logging
import os
import sys
from collections.abc import Sequence
from importlib import import_module

from ros_matching import __version__
from ros_matching.errors import RosMatchingError
from ros_matching.matching import CLASSICAL
from ros_matching.threads import set_thread_defaults, share_cores_with_mapping

COMMANDS = (
    "track",
    "slam",
    "map-info",
    "map-export",
    "map",
    "mesh",
    "view",
    "run",
    "demo",
    "weights",
    "train",
    "evaluate",
    "benchmark",
    "batch",
    "speed",
    "doctor",
)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line ``argv`` (``sys.argv`` without it) and return its exit code."""
    set_thread_defaults()
    try:
        exit_code = _run(_parsed(sys.argv[1:] if argv is None else argv))
        sys.stdout.flush()
        return exit_code
    except KeyboardInterrupt:
        print("ros-matching: interrupted", file=sys.stderr)
        return 130
    except BrokenPipeError:
        # The reader of the output has exited (`ros-matching ... | head`); Python would report it again at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 141


def _parsed(argv: Sequence[str]) -> argparse.Namespace:
    """Return the arguments; what follows ``--`` are options of the commands that ``batch`` starts."""
    own, options = list(argv), []
    if own[:1] == ["batch"] and "--" in own:
        mark = own.index("--")
        own, options = own[:mark], own[mark + 1 :]
    args = make_parser().parse_args(own)
    if options:
        args.options = options
    return args


def _run(args: argparse.Namespace) -> int:
    quiet = getattr(args, "quiet", False)
    logging.basicConfig(format="%(levelname)s: %(message)s", level=logging.ERROR if quiet else logging.WARNING)
    if getattr(args, "mapping_thread", False) and getattr(args, "matcher", CLASSICAL[0]) not in CLASSICAL:
        share_cores_with_mapping()
    try:
        return args.run(args)
    except BrokenPipeError:
        raise
    except (RosMatchingError, OSError) as error:
        if args.debug:
            raise
        print(f"ros-matching {args.command}: {error}", file=sys.stderr)
        return 2


def make_parser() -> argparse.ArgumentParser:
    """The parser of the whole command line."""
    parser = argparse.ArgumentParser(
        prog="ros-matching", description="Learned visual odometry and dense mapping, without ROS or with it."
    )
    parser.add_argument("--version", action="version", version=f"ros-matching {__version__}")
    subparsers = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    for name in COMMANDS:
        module = import_module(f"ros_matching.cli.{name.replace('-', '_')}")
        subparser = module.add_parser(subparsers)
        subparser.add_argument("--debug", action="store_true", help="show the traceback of an error")
        subparser.set_defaults(run=module.run)
    return parser


if __name__ == "__main__":
    sys.exit(main())
