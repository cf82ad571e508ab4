"""The commands of ``make benchmarks``: resource/benchmarks.py."""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from ros_matching.cli.main import make_parser

SCRIPT = Path(__file__).resolve().parent.parent / "resource" / "benchmarks.py"
_SPEC = importlib.util.spec_from_file_location("benchmarks_script", SCRIPT)
benchmarks = importlib.util.module_from_spec(_SPEC)
sys.modules["benchmarks_script"] = benchmarks  # dataclasses look their module up
_SPEC.loader.exec_module(benchmarks)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A data folder with two sequences."""
    for name in ("hololens_000", "redkitchen"):
        (tmp_path / name).mkdir()
    return tmp_path


@pytest.mark.parametrize("quick", [False, True])
@pytest.mark.parametrize("benchmark", benchmarks.BENCHMARKS, ids=lambda benchmark: benchmark.name)
def test_every_command_is_valid(benchmark, quick: bool, folder: Path) -> None:
    args = make_parser().parse_args(benchmark.command(folder, folder / "out", quick=quick))
    assert args.out == folder / "out"


def test_only_sequences_that_exist_are_run(folder: Path) -> None:
    (odometry,) = (each for each in benchmarks.BENCHMARKS if each.name == "odometry")
    command = odometry.command(folder, folder / "out", quick=False)
    assert [argument for argument in command if argument.startswith(str(folder))][:-1] == [
        str(folder / "hololens_000"),
        str(folder / "redkitchen?stride=3"),
    ]


def test_a_benchmark_without_data_is_skipped_with_the_reason(tmp_path: Path) -> None:
    (pairs,) = (each for each in benchmarks.BENCHMARKS if each.name == "pairs")
    outcome = benchmarks.measure(pairs, tmp_path, tmp_path / "out", quick=True, run=None)
    assert "ROS_MATCHING_DATA" in outcome.reason
    assert "Not measured" in outcome.markdown()


def test_tables_and_failures_are_reported(tmp_path: Path) -> None:
    (hard,) = (each for each in benchmarks.BENCHMARKS if each.name == "hard")

    def succeed(arguments: Sequence[str]) -> subprocess.CompletedProcess:
        (tmp_path / "hard").mkdir()
        (tmp_path / "hard" / "hard.md").write_text("| a table |\n")
        return subprocess.CompletedProcess(arguments, 0)

    def fail(arguments: Sequence[str]) -> subprocess.CompletedProcess:
        return subprocess.CompletedProcess(arguments, 2, stderr="first line\nno such matcher\n")

    assert "| a table |" in benchmarks.measure(hard, tmp_path, tmp_path, quick=True, run=succeed).markdown()
    assert "no such matcher" in benchmarks.measure(hard, tmp_path, tmp_path, quick=True, run=fail).reason


def test_tables_between_markers_are_replaced(tmp_path: Path) -> None:
    rows = [
        {"sequence": "hololens_000", "matcher": "default (x)", "tracked": 0.99, "ate_percent": 0.5},
        {"sequence": "hololens_000", "matcher": "sift", "tracked": 0.3, "ate_percent": None},
    ]
    report = tmp_path / "benchmark.json"
    report.write_text(json.dumps({"tables": [{"rows": rows}]}))
    document = "a\n<!-- table: readme -->\nold\n<!-- end -->\nb\n<!-- table: hard -->\nkept\n<!-- end -->\n"
    text = benchmarks.updated(document, {"readme": benchmarks.odometry_table(report)})
    assert "| HoloLens, handheld office walk | 99 (30) | 0.50 (lost) |" in text
    assert "old" not in text
    assert "kept" in text
