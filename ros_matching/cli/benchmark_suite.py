"""``ros-matching benchmark --suite``: the sequences of a standard benchmark that a folder has, and their table."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from ros_matching.errors import ConfigError

if TYPE_CHECKING:
    from ros_matching.evaluation.benchmark.benchmark_runs import SequenceRuns
    from ros_matching.evaluation.benchmark.suites import Suite, SuiteFolder
    from ros_matching.evaluation.measurement import Table
    from ros_matching.io.source import FrameSource

SUITE_KEYS = ("euroc", "tum", "kitti", "icl", "tartanair")
SUITE_MATCHERS = ("default", "sift")


@dataclass(frozen=True)
class SuiteRun:
    """A suite and its sequences in the folder of the command."""

    suite: Suite
    folder: SuiteFolder

    @classmethod
    def find(cls, args: argparse.Namespace) -> SuiteRun:
        """Find the sequences and print what is missing.

        Raises ``ConfigError`` if the arguments do not fit a suite, or the folder has no sequence of it.
        """
        from ros_matching.evaluation.benchmark.suites import SUITES, find_sequences

        if len(args.sources) != 1:
            raise ConfigError(f"--suite takes one folder with all sequences, got {len(args.sources)} sources")
        if len(args.strides or []) > 1:
            raise ConfigError("--suite takes one --stride at most: a table is of one frame rate")
        suite = SUITES[args.suite]
        found = cls(suite, find_sequences(suite, Path(args.sources[0]).expanduser()))
        if not args.quiet:
            found._print()
        return found

    def sequences(self, args: argparse.Namespace) -> Iterator[tuple[str, FrameSource]]:
        """Yield every found sequence, once per run, each run from one frame later."""
        from ros_matching.io import open_source

        for found in self.folder.found:
            for repeat in range(args.repeat):
                source = open_source(found.path, start=args.start + repeat, stop=args.stop, stride=args.strides[0])
                yield found.sequence.name, source

    def tables(self, sequences: Sequence[SequenceRuns], args: argparse.Namespace) -> list[Table]:
        """Return the tables of the suite for the runs so far."""
        from ros_matching.evaluation.benchmark.benchmark_runs import benchmark_rows
        from ros_matching.evaluation.benchmark.published_figures import published_figures
        from ros_matching.evaluation.benchmark.suite_report import suite_tables

        return suite_tables(
            self.suite,
            self._as_run(args),
            benchmark_rows(sequences),
            published_figures(self.suite.key),
            stride=args.strides[0],
            runs=args.repeat,
            alignment=args.alignment,
            slam=args.slam,
        )

    def _as_run(self, args: argparse.Namespace) -> SuiteFolder:
        """Return the folder with the numbers of frames that --start and --stop leave."""
        if args.start == 0 and args.stop is None:
            return self.folder
        found = [replace(found, frames=len(range(found.frames)[args.start : args.stop])) for found in self.folder.found]
        return replace(self.folder, found=tuple(found))

    def _print(self) -> None:
        for found in self.folder.found:
            of = "" if found.is_whole else f" of {found.sequence.frames}: an excerpt"
            print(f"{found.sequence.name}: {found.path}, {found.frames} frames{of}", file=sys.stderr)
        if self.folder.missing:
            print(f"not at hand: {', '.join(self.folder.missing)}", file=sys.stderr)
        for reason in self.folder.unusable:
            print(f"not run, {reason}", file=sys.stderr)
