"""Run the benchmarks of README.md and docs/benchmarks.md, and write their tables.

python resource/benchmarks.py [--quick] [--only NAME ...] [--out DIR] [--update]

Every benchmark is a ``ros-matching`` command. Its tables go to DIR/NAME/, and all of them, with commands and times, to
DIR/benchmarks.md. A benchmark is skipped, with the reason, if its data or packages are missing. ``--quick`` runs short
versions, as a test of the commands. ``--update`` also replaces the tables between ``<!-- table: NAME -->`` and
``<!-- end -->`` in README.md and docs/benchmarks.md.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import re
import shlex
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

REPOSITORY = Path(__file__).resolve().parent.parent
DOCUMENTS = ("README.md", "docs/benchmarks.md")
SEQUENCES = {
    "hololens_000": "HoloLens, handheld office walk",
    "redkitchen?stride=3": "7-Scenes RedKitchen, every third frame",
    "tsukuba_150": "New Tsukuba, rendered",
    "kitti00_200": "KITTI 00, 200 frames, driving",
    "euroc_v101_12s": "EuRoC V1_01, 90 frames, drone",
    "hololens_turn": "HoloLens, a fast blurred turn",
}
_PAIR_MATCHERS = "--matcher default --matcher posfeat --matcher sift"


@dataclass(frozen=True)
class Benchmark:
    """A command with its sources: ``data`` are sequences of the data folder, ``scenes`` are rendered.

    ``quick`` are further arguments of a short run. Of ``data``, at least one must exist; only those that do are run.
    """

    name: str
    title: str
    arguments: str
    data: tuple[str, ...] = ()
    scenes: tuple[str, ...] = ()
    quick: str = ""
    packages: tuple[str, ...] = ()
    takes_sources: bool = True

    def command(self, folder: Path, out: Path, *, quick: bool) -> list[str]:
        """Return the arguments of ``ros-matching``."""
        sources = [str(folder / name) for name in self.present(folder)] if self.takes_sources else []
        sources = [*sources, *self.scenes][: 1 if quick else None]
        arguments = shlex.split(self.arguments)
        first = arguments[:1] if arguments[0] != "evaluate" else arguments[:2]
        return [
            *first,
            *sources,
            *arguments[len(first) :],
            *(shlex.split(self.quick) if quick else ()),
            "--out",
            str(out),
        ]

    def present(self, folder: Path) -> list[str]:
        """Return the sequences that exist in the data folder."""
        return [name for name in self.data if (folder / name.partition("?")[0]).exists()]

    def reason_to_skip(self, folder: Path) -> str:
        """Return the reason why the benchmark cannot run; empty if it can."""
        missing = [package for package in self.packages if importlib.util.find_spec(package) is None]
        if missing:
            return f"the package {', '.join(missing)} is not installed"
        if self.data and not self.present(folder) and not self.scenes:
            return f"{folder} has no {', '.join(self.data)}; set ROS_MATCHING_DATA"
        return ""


BENCHMARKS = (
    Benchmark(
        "odometry",
        "Visual odometry, offline",
        "benchmark --matcher default --matcher sift --repeat 3",
        data=tuple(SEQUENCES),
        quick="--repeat 1 --stop 20",
        packages=("evo",),
    ),
    *(
        Benchmark(
            f"time-{width}x{height}",
            f"Time per frame, {width}x{height}",
            "benchmark --matcher default --matcher sift",
            scenes=(f"scene:room?frames=150&fps=10&width={width}&height={height}",),
            quick="--stop 10",
            packages=("evo",),
        )
        for width, height in ((320, 240), (640, 480))
    ),
    Benchmark(
        "ros",
        "Visual odometry over ROS 2 topics",
        "demo --matcher default --against sift",
        quick="--stop 10",
        packages=("rclpy", "evo"),
    ),
    Benchmark(
        "pairs",
        "Relative poses of image pairs",
        f"evaluate pairs {_PAIR_MATCHERS}",
        data=("hololens_000", "fox", "lund_door", "redkitchen"),
        quick="--sequence lund_door --step 10",
        takes_sources=False,
    ),
    Benchmark("hard", "Hard pairs", f"evaluate hard --pairs 16 {_PAIR_MATCHERS}", quick="--lines moving --pairs 2"),
    Benchmark(
        "features",
        "Keypoints under homographies",
        "evaluate features --photos 60 --matcher default --matcher sift --matcher orb",
        data=("photos",),
        quick="--photos 2",
        takes_sources=False,
    ),
    Benchmark(
        "pruning",
        "Pruning of putative matches",
        "evaluate pruning --pruner ncmnet_lite --matcher posfeat",
        data=("hololens_000", "fox", "lund_door"),
        quick="--sequence lund_door --step 10",
        takes_sources=False,
    ),
    Benchmark(
        "depth",
        "Depth of keyframes",
        "evaluate depth --estimator pbs_mvsnet_lite",
        data=("hololens_000",),
        quick="--step 20",
        takes_sources=False,
    ),
    Benchmark(
        "cloud",
        "Dense mapping against a depth sensor",
        "evaluate cloud --matcher sift",
        data=("hololens_000",),
        quick="--estimator pbs_mvsnet_lite",
        takes_sources=False,
    ),
    Benchmark(
        "cloud-room",
        "Dense mapping of a rendered room",
        "evaluate cloud --matcher sift --source 'scene:room?width=480&height=360&frames=200&fps=10'",
        quick="--source 'scene:room?width=160&height=120&frames=20&fps=5' --estimator pbs_mvsnet_lite",
    ),
    Benchmark(
        "alignment",
        "Alignment of whole images",
        "evaluate alignment --aligner cnn_geometric_lite --stages homography+tps --photos 40",
        data=("photos",),
        quick="--photos 2",
        takes_sources=False,
    ),
    Benchmark(
        "overlap",
        "Overlap of two images",
        "evaluate overlap",
        data=("hololens_000",),
        quick="--step 20",
        takes_sources=False,
    ),
)


@dataclass(frozen=True)
class Outcome:
    """Result of a benchmark: its tables in Markdown, or the reason why it was skipped or has failed."""

    benchmark: Benchmark
    command: str
    minutes: float = 0.0
    tables: str = ""
    reason: str = ""

    def markdown(self) -> str:
        """Return the section of the summary."""
        head = f"## {self.benchmark.title}\n\n    {self.command}\n\n"
        return head + (
            f"Not measured: {self.reason}\n" if self.reason else f"{self.minutes:.1f} minutes.\n\n{self.tables}\n"
        )


def data_folder() -> Path:
    """Return the folder of real sequences, by ``ROS_MATCHING_DATA`` or next to the repository."""
    return Path(os.environ.get("ROS_MATCHING_DATA", REPOSITORY.parent / "shared" / "data"))


Run = Callable[[Sequence[str]], "subprocess.CompletedProcess[str]"]


def run_ros_matching(arguments: Sequence[str]) -> subprocess.CompletedProcess[str]:
    """Run ``ros-matching`` of this repository."""
    environment = {"ROS_MATCHING_DATA": str(data_folder())}
    command = [sys.executable, "-m", "ros_matching.cli.main", *arguments]
    return subprocess.run(command, cwd=REPOSITORY, env=os.environ | environment, text=True, capture_output=True)


def measure(benchmark: Benchmark, folder: Path, out: Path, *, quick: bool, run: Run = run_ros_matching) -> Outcome:
    """Run a benchmark and collect its tables."""
    arguments = benchmark.command(folder, out / benchmark.name, quick=quick)
    command = shlex.join(["ros-matching", *arguments[:-2]]).replace(f"{folder}{os.sep}", "")
    reason = benchmark.reason_to_skip(folder)
    if reason:
        return Outcome(benchmark, command, reason=reason)
    start = time.monotonic()
    done = run(arguments)
    if done.returncode:
        lines = (done.stderr or "").strip().splitlines() or ["no message"]
        return Outcome(benchmark, command, reason=f"it failed with exit code {done.returncode}: {lines[-1]}")
    texts = [file.read_text().strip() for file in sorted((out / benchmark.name).glob("*.md"))]
    return Outcome(benchmark, command, (time.monotonic() - start) / 60, "\n\n".join(texts))


def odometry_table(report: Path) -> str:
    """Return the table of README.md from the JSON file of the benchmark ``odometry``."""
    rows: dict[str, dict[str, Any]] = {}
    for row in json.loads(report.read_text())["tables"][0]["rows"]:
        rows.setdefault(row["sequence"], {})[row["matcher"]] = row
    titles = {name.partition("?")[0]: title for name, title in SEQUENCES.items()}
    lines = ["| sequence | frames tracked, % (SIFT) | ATE, % of the path (SIFT) |", "|---|---|---|"]
    for sequence, by_matcher in rows.items():
        sift = by_matcher.pop("sift")
        (default,) = by_matcher.values()
        tracked = f"{100 * default['tracked']:.0f} ({100 * sift['tracked']:.0f})"
        ate = f"{_percent(default['ate_percent'])} ({_percent(sift['ate_percent'])})"
        lines.append(f"| {titles.get(sequence, sequence)} | {tracked} | {ate} |")
    return "\n".join(lines)


def _percent(value: float | None) -> str:
    return "lost" if value is None else f"{value:.2f}"


def updated(document: str, tables: dict[str, str]) -> str:
    """Return a document with the given tables in place of those between its markers."""

    def replaced(match: re.Match[str]) -> str:
        table = tables.get(match[2])
        return match[0] if table is None else f"{match[1]}\n{table}\n{match[3]}"

    return re.sub(r"(<!-- table: ([\w-]+) -->)\n.*?\n(<!-- end -->)", replaced, document, flags=re.DOTALL)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the benchmarks; the exit code is 1 if one of them has failed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="short versions, as a test of the commands")
    parser.add_argument("--only", nargs="+", choices=[benchmark.name for benchmark in BENCHMARKS], help="only these")
    parser.add_argument("--out", type=Path, default=REPOSITORY / "results" / "benchmarks", help="folder of the tables")
    parser.add_argument("--update", action="store_true", help="replace the tables in the documents")
    args = parser.parse_args(argv)
    folder = data_folder()
    outcomes = []
    for benchmark in BENCHMARKS:
        if args.only and benchmark.name not in args.only:
            continue
        outcomes.append(measure(benchmark, folder, args.out, quick=args.quick))
        print(f"{benchmark.name}: {outcomes[-1].reason or f'{outcomes[-1].minutes:.1f} minutes'}", flush=True)
    args.out.mkdir(parents=True, exist_ok=True)
    title = "# Benchmarks, short versions\n" if args.quick else "# Benchmarks\n"
    (args.out / "benchmarks.md").write_text("\n".join([title, *(outcome.markdown() for outcome in outcomes)]))
    print(f"written to {args.out / 'benchmarks.md'}")
    if args.update and not args.quick:
        _update_documents(outcomes, args.out)
    return int(any("failed" in outcome.reason for outcome in outcomes))


def _update_documents(outcomes: Sequence[Outcome], out: Path) -> None:
    tables = {outcome.benchmark.name: outcome.tables for outcome in outcomes if outcome.tables}
    if "odometry" in tables:
        tables["readme"] = odometry_table(out / "odometry" / "benchmark.json")
    for name in DOCUMENTS:
        path = REPOSITORY / name
        path.write_text(updated(path.read_text(), tables))


if __name__ == "__main__":
    sys.exit(main())
