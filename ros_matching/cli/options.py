"""The options that the subcommands share."""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable, Mapping
from pathlib import Path

from ros_matching.config import Config
from ros_matching.matching import BACKENDS, CLASSICAL, DEFAULT, VARIANTS
from ros_matching.matching.config import MatcherConfig
from ros_matching.networks import ENGINE_PRECISIONS, ENGINES

SOURCE_KINDS = "image folder, video, dataset sequence, ROS bag or scene"


def add_run_options(parser: argparse.ArgumentParser, default_out: str) -> None:
    """What a subcommand that tracks a source takes: front end, frames, output."""
    parser.add_argument("--backend", choices=BACKENDS, default="default", help="front end (default: %(default)s)")
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
        from ros_matching.cli.overrides import describe

        print(describe(self._sections()), flush=True)
        parser.exit()


def hides_progress(quiet: bool) -> bool | None:
    """The ``disable`` of tqdm: always when quiet, otherwise where nobody watches, as in a log file."""
    return True if quiet else None


def front_end_label(name: str) -> str:
    """What a front end is called in tables: as it was asked for, and what ``default`` stands for."""
    return f"default ({DEFAULT})" if name == "default" else name
