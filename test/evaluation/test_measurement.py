from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from ros_matching.evaluation.curves import Panel, plot_panels
from ros_matching.evaluation.measurement import Column, Measurement, Table, write_measurement

COLUMNS = (
    Column("matcher", "matcher"),
    Column("share", "share %", ".1f", 100),
    Column("count", "count", "d"),
    Column("absent", "absent", ".1f"),
)
ROWS = [
    {"matcher": "sift", "share": 0.1234, "count": 7},
    {"matcher": "a longer one", "share": float("nan"), "count": 10},
]


def test_a_table_is_markdown_aligned_and_without_empty_columns():
    assert Table("t", COLUMNS, ROWS).markdown().splitlines() == [
        "| matcher      | share % | count |",
        "| ------------ | ------: | ----: |",
        "| sift         |    12.3 |     7 |",
        "| a longer one |         |    10 |",
    ]


def test_a_measurement_is_written_as_markdown_json_and_plot(tmp_path):
    pytest.importorskip("matplotlib")
    lines = {f"line {number}": (np.arange(3.0), np.arange(3.0) * number) for number in range(12)}
    panels = [Panel(f"panel {number}", "x", "y", lines) for number in range(5)]
    measurement = Measurement(
        "pairs",
        {"size_px": np.int64(640), "weights": Path("a/b")},
        [Table("Some figures", COLUMNS, ROWS, "A note.")],
        panels,
    )
    written = write_measurement(measurement, tmp_path / "new")
    assert [path.name for path in written] == ["pairs.md", "pairs.json", "pairs.png"]
    assert written[0].read_text().startswith("Some figures\n\n| matcher")
    assert written[0].read_text().endswith("\n\nA note.\n")
    content = json.loads(written[1].read_text())
    assert content["settings"] == {"size_px": 640, "weights": "a/b"}
    assert content["tables"][0]["rows"][1] == {"matcher": "a longer one", "share": None, "count": 10}
    assert content["versions"]["numpy"] == np.__version__
    assert written[2].read_bytes().startswith(b"\x89PNG")


@pytest.mark.filterwarnings("error")
def test_a_plot_allows_long_names_and_a_single_line(tmp_path):
    pytest.importorskip("matplotlib")
    x = np.arange(3.0)
    for number, name in enumerate(["a", 40 * "long name "]):
        path = tmp_path / f"{number}.png"
        plot_panels([Panel("panel", "x", "y", {name: (x, x), "other": (x, x)})], path)
        assert path.stat().st_size > 5000
