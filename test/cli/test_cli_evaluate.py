from __future__ import annotations

import json

import pytest

from ros_matching.cli.main import main

SCENE = "scene:room?frames=4&width=160&height=120&antialias=false"


def test_pairs_of_a_rendered_scene_are_measured_and_written(tmp_path, capsys):
    pytest.importorskip("matplotlib")
    command = ["evaluate", "pairs", "--source", SCENE, "--gaps", "1", "2", "--matcher", "sift", "--matcher", "orb"]
    assert main([*command, "--out", str(tmp_path)]) == 0
    output = capsys.readouterr().out
    assert "AUC@5" in output
    assert f"written to {tmp_path}: pairs.md, pairs.json, pairs.png" in output
    whole, by_gap = json.loads((tmp_path / "pairs.json").read_text())["tables"]
    assert [(row["matcher"], row["gaps"], row["pairs"]) for row in whole["rows"]] == [
        ("sift", "1 2", 5),
        ("orb", "1 2", 5),
    ]
    assert len(by_gap["rows"]) == 4
    assert whole["rows"][0]["precision"] > 0.6


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--sequence", "kitchen"], "no validation pairs of kitchen"),
        (["--source", SCENE, "--gaps", "0"], "gaps of one frame or more"),
        (["--source", SCENE, "--gaps", "9"], "too few frames"),
        (["--matcher", "sift=a.safetensors"], "'sift' takes no weights"),
        (["--matcher", "surf"], "no front end is called 'surf'"),
        (["--data", "/nowhere"], "no data folder /nowhere"),
    ],
)
def test_wrong_input_is_refused(arguments, message, capsys):
    assert main(["evaluate", "pairs", *arguments]) == 2
    assert message in capsys.readouterr().err
