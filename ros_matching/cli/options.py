"""The options that the subcommands share."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Mapping
from pathlib import Path

from ros_matching.config import Config
from ros_matching.matching import BACKENDS, DEFAULT

SOURCE_KINDS = "image folder, video, dataset sequence, ROS bag or scene"


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
