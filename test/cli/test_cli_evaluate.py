from __future__ import annotations

import json
from collections.abc import Iterator

import cv2
import numpy as np
import pytest

import ros_matching.evaluation.tables
import ros_matching.io
from ros_matching.cli.main import main
from ros_matching.datatypes import Camera, Frame


class Shifting:
    """A source of random texture that moves a pixel a frame, in front of a camera that moves sideways."""

    name = "shifting"
    camera = Camera(width=160, height=120, fx=100, fy=100, cx=79.5, cy=59.5)

    def __len__(self) -> int:
        return 4

    def __iter__(self) -> Iterator[Frame]:
        texture = np.random.default_rng(0).integers(0, 256, (120, 180, 3), dtype=np.uint8)
        texture = cv2.GaussianBlur(texture, (0, 0), 1.5)
        for index in range(len(self)):
            pose = np.eye(4)
            pose[0, 3] = 0.1 * index
            yield Frame(index, index, np.ascontiguousarray(texture[:, index : index + 160]), self.camera, pose)


def test_pairs_of_a_source_are_measured_and_written(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(ros_matching.io, "open_source", lambda spec: Shifting())
    monkeypatch.setattr(ros_matching.evaluation.tables, "plot_panels", lambda panels, path: path.touch())
    command = ["evaluate", "pairs", "--source", "shifting", "--gaps", "1", "2", "--matcher", "sift", "--matcher", "orb"]
    assert main([*command, "--out", str(tmp_path)]) == 0
    output = capsys.readouterr().out
    assert "AUC@5" in output
    assert f"written to {tmp_path}: pairs.md, pairs.json, pairs.png" in output
    content = json.loads((tmp_path / "pairs.json").read_text())
    whole, by_gap = content["tables"]
    assert [(row["matcher"], row["gaps"], row["pairs"]) for row in whole["rows"]] == [
        ("sift", "1 2", 5),
        ("orb", "1 2", 5),
    ]
    assert whole["rows"][0]["precision"] > 0.9
    assert len(by_gap["rows"]) == 4
    assert content["settings"]["max_keypoints"] == 2048


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--sequence", "kitchen"], "no validation pairs of kitchen"),
        (["--source", "shifting", "--gaps", "0"], "gaps of one frame or more"),
        (["--source", "shifting", "--gaps", "9"], "too few frames"),
        (["--matcher", "sift=a.safetensors"], "'sift' takes no weights"),
        (["--matcher", "surf"], "no front end is called 'surf'"),
        (["--data", "/nowhere"], "no data folder /nowhere"),
    ],
)
def test_wrong_input_is_refused(arguments, message, capsys, monkeypatch):
    monkeypatch.setattr(ros_matching.io, "open_source", lambda spec: Shifting())
    assert main(["evaluate", "pairs", *arguments]) == 2
    assert message in capsys.readouterr().err
