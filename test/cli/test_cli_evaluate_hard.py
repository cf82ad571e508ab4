"""``ros-matching evaluate hard``, on one pair of a line."""

from __future__ import annotations

import json

import pytest

import ros_matching.evaluation.measurement
import ros_matching.scenes.hard_views
from ros_matching.cli.main import main
from ros_matching.evaluation.pairs.hard_suite import REAL_LINES

ONE_PAIR = ("--pairs", "1", "--matcher", "sift", "--matcher", "orb")


@pytest.fixture(autouse=True)
def without_data(monkeypatch):
    monkeypatch.delenv("ROS_MATCHING_DATA", raising=False)
    monkeypatch.setattr(ros_matching.evaluation.measurement, "plot_panels", lambda panels, path: path.touch())


def test_a_line_is_rendered_measured_and_written(tmp_path, capsys):
    assert main(["evaluate", "hard", "--lines", "angle-20", *ONE_PAIR, "--quiet", "--out", str(tmp_path)]) == 0
    assert capsys.readouterr() == ("", "")
    content = json.loads((tmp_path / "hard.json").read_text())
    own, _, difference = content["tables"]
    assert [(row["line"], row["matcher"], row["pairs"]) for row in own["rows"]] == [
        ("angle-20", "sift", 1),
        ("angle-20", "orb", 1),
    ]
    assert own["rows"][0]["correct"] > 0.5
    assert own["rows"][0]["own_auc20"] > 0.7
    assert [(row["first"], row["other"]) for row in difference["rows"]] == [("sift", "orb")]
    assert content["settings"]["seed"] == 0
    assert {detail["line"] for detail in content["details"]} == {"angle-20"}
    assert (tmp_path / "hard.png").exists()


def test_without_data_the_real_lines_are_skipped_and_that_is_said(capsys, monkeypatch):
    lines = ros_matching.scenes.hard_views.HARD_LINES
    monkeypatch.setattr(ros_matching.scenes.hard_views, "HARD_LINES", {"low-light": lines["low-light"]})
    assert main(["evaluate", "hard", *ONE_PAIR]) == 0
    captured = capsys.readouterr()
    assert "AUC@5" in captured.out
    for name, pairs in REAL_LINES.items():
        assert f"the line {name} is skipped: it needs {pairs.sequence}/ in the data folder" in captured.err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--lines", "fog"], "there are no lines fog; there are: moving, moving-one, repeated"),
        (["--lines", "fox"], "the line fox needs fox/ in the data folder, given with --data"),
        (["--lines", "moving", "--pairs", "0"], "one pair or more, got 0"),
        (["--lines", "fox", "--data", "/nowhere"], "no data folder /nowhere"),
    ],
)
def test_wrong_input_is_refused(arguments, message, capsys):
    assert main(["evaluate", "hard", "--matcher", "sift", *arguments]) == 2
    assert message in capsys.readouterr().err
