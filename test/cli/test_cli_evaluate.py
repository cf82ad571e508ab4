from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

import ros_matching.evaluation.measurement
import ros_matching.io
from ros_matching.cli.main import main
from ros_matching.datatypes import Camera, Frame
from ros_matching.networks.checkpoint import WeightsCard, save_weights
from ros_matching.networks.cnn_geometric.network import cnn_geometric_lite
from ros_matching.networks.registry import entry


class Shifting:
    """A wall of random texture, 10 away, that moves a pixel a frame as the camera moves sideways."""

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
            image = np.ascontiguousarray(texture[:, index : index + 160])
            yield Frame(index, index, image, self.camera, pose, np.full((120, 160), 10, np.float32))


@pytest.fixture(autouse=True)
def _nothing_is_drawn(monkeypatch) -> None:
    monkeypatch.setattr(ros_matching.evaluation.measurement, "plot_panels", lambda panels, path: path.touch())


def test_pairs_of_a_source_are_measured_and_written(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(ros_matching.io, "open_source", lambda spec: Shifting())
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
    assert content["settings"]["keypoints"] == 2048
    assert [(pair["matcher"], pair["frames"]) for pair in content["details"][:2]] == [("sift", [0, 1]), ("orb", [0, 1])]
    assert set(content["details"][0]["errors"]["own"]) == {"rotation_deg", "translation_deg"}


def test_settings_can_be_chosen_on_the_frames_of_training(data, tmp_path, monkeypatch):
    class Longer(Shifting):
        def __len__(self) -> int:
            return 10

    monkeypatch.setattr(ros_matching.io, "open_source", lambda spec: Longer())
    command = ("--data", str(data), "--sequence", "fox", "--matcher", "orb", "--gaps", "1")
    for part, step, frames in (("held-out", 1, [8]), ("training", 2, [0, 2, 4, 6])):
        assert main(["evaluate", "pairs", *command, "--part", part, "--step", str(step), "--out", str(tmp_path)]) == 0
        details = json.loads((tmp_path / "pairs.json").read_text())["details"]
        assert [pair["frames"][0] for pair in details] == frames


@pytest.fixture
def data(tmp_path) -> Path:
    """A data folder with eleven photos, two of which are held out."""
    folder = tmp_path / "data"
    (folder / "photos").mkdir(parents=True)
    for number in range(11):
        noise = np.random.default_rng(number).integers(0, 256, (120, 160, 3), dtype=np.uint8)
        cv2.imwrite(str(folder / f"photos/{number:02d}.png"), cv2.GaussianBlur(noise, (0, 0), 1.5))
    return folder


def evaluate(measure: str, *arguments: str) -> list[dict]:
    """Run ``ros-matching evaluate`` and give the rows of the table that it writes."""
    out = Path(arguments[arguments.index("--out") + 1])
    assert main(["evaluate", measure, *arguments, "--quiet"]) == 0
    return json.loads((out / f"{measure}.json").read_text())["tables"][0]["rows"]


def test_features_of_held_out_photos(data, tmp_path):
    rows = evaluate("features", "--data", str(data), "--matcher", "sift", "--matcher", "orb", "--out", str(tmp_path))
    assert [(row["matcher"], row["pairs"]) for row in rows] == [("sift", 2), ("orb", 2)]
    assert rows[0]["mma3"] > 0.5


def test_alignment_of_held_out_photos(data, tmp_path):
    size = ("--pair-size", "160", "120", "--photos", "1")
    rows = evaluate("alignment", "--data", str(data), "--matcher", "sift", *size, "--out", str(tmp_path))
    assert {row["aligner"] for row in rows} == {"none", "sift, homography"}
    assert [row["pairs"] for row in rows] == [1] * 6 + [3] * 2


def test_pruning_and_depth_of_a_source(tmp_path, monkeypatch):
    monkeypatch.setattr(ros_matching.io, "open_source", lambda spec: Shifting())
    rows = evaluate("pruning", "--source", "shifting", "--gaps", "2", "--out", str(tmp_path))
    assert [(row["pruner"], row["pairs"]) for row in rows] == [("none", 2), ("own RANSAC", 2), ("MAGSAC", 2)]
    assert rows[0]["precision"] > 0.9
    views = ("--views", "3", "--view-size", "128", "96", "--planes", "9", "--step", "1")
    rows = evaluate("depth", "--source", "shifting", *views, "--out", str(tmp_path))
    assert [(row["estimator"], row["views"]) for row in rows] == [("ncc", 4), ("sgbm", 4)]
    assert rows[0]["abs_rel"] < 0.02


def test_overlaps_of_a_source_with_depth(tmp_path, capsys):
    source = ("--source", "scene:room?frames=20&fps=5&width=160&height=120", "--gaps", "2", "9", "--step", "3")
    rows = evaluate("overlap", *source, "--out", str(tmp_path))
    assert [(row["by"], row["pairs"]) for row in rows] == [("overlap", 10), ("keypoints matched", 10)]
    assert rows[0]["error"] < 0.2
    assert main(["evaluate", "overlap", "--matcher", "sift", *source]) == 2
    assert "overlaps" in capsys.readouterr().err
    assert main(["evaluate", "overlap", *source[:2], "--gaps", "40"]) == 2
    assert "has no pair of frames with depth" in capsys.readouterr().err


@pytest.fixture(scope="module")
def weights(tmp_path_factory) -> Path:
    """A folder with weights of the lite networks, as they are before any training."""
    folder = tmp_path_factory.mktemp("weights")
    torch.manual_seed(0)
    networks = {name: entry(name).make({}) for name in ("posfeat_lite", "ncmnet_lite", "pbs_mvsnet_lite")}
    networks["cnn_geometric_lite"] = cnn_geometric_lite()
    for name, network in networks.items():
        network.train()
        if name == "posfeat_lite":
            network(torch.randn(2, 3, 64, 64))  # statistics that keep its maps alive
        card = WeightsCard(name, "random", "nothing", "none", "Apache-2.0")
        save_weights(folder / f"{name}.safetensors", network.state_dict(), card)
    return folder


def test_networks_of_files_and_folders_are_measured(data, weights, tmp_path, monkeypatch):
    """Untrained, they find nothing; but all parts fit each other."""
    monkeypatch.setattr(ros_matching.io, "open_source", lambda spec: Shifting())
    files = {name: weights / f"{name}.safetensors" for name in ("posfeat_lite", "ncmnet_lite")}
    given = [f"--weights={path}" for path in files.values()]
    source = ("--source", "shifting", "--gaps", "2", "--out", str(tmp_path))
    learned = ("--matcher", "posfeat", "--matcher", "posfeat+ncmnet", "--matcher", f"posfeat={weights}")
    names = [row["matcher"] for row in evaluate("pairs", *learned, *given, *source)]
    assert names == ["posfeat", "posfeat+ncmnet", f"posfeat={weights}"]
    pruner = f"ncmnet_lite={files['ncmnet_lite']}"
    rows = evaluate("pruning", "--matcher", "posfeat", "--pruner", pruner, *given, *source)
    assert rows[-1]["pruner"] == pruner
    estimator = f"pbs_mvsnet_lite={weights / 'pbs_mvsnet_lite.safetensors'}"
    views = ("--views", "3", "--view-size", "64", "64", "--planes", "16", "--step", "4")
    assert [
        row["estimator"] for row in evaluate("depth", "--estimator", estimator, *views, *source[:2], *source[-2:])
    ] == ["ncc", "sgbm", estimator]
    aligner = f"cnn_geometric_lite={weights / 'cnn_geometric_lite.safetensors'}"
    photos = ("--data", str(data), "--photos", "1", *source[-2:])
    rows = evaluate("alignment", "--aligner", aligner, f"--weights={weights}", *photos)
    assert rows[1]["aligner"] == aligner


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["pruning", "--pruner", "oanet"], "oanet"),
        (["depth", "--estimator", "colmap"], "colmap"),
        (["alignment", "--aligner", "dgc"], "dgc"),
        (["features", "--photos", "3"], "photos"),
        (["alignment", "--aligner", "cnn_geometric_lite=/nowhere.safetensors"], "/nowhere.safetensors"),
    ],
)
def test_missing_parts_are_named(arguments, message, data, capsys):
    assert main(["evaluate", *arguments, "--data", str(data)]) == 2
    assert message in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--sequence", "kitchen"], "no held-out pairs of kitchen"),
        (["--sequence", "lund_door", "--part", "training"], "no training pairs of lund_door"),
        (["--source", "shifting", "--gaps", "0"], "gaps of one frame or more"),
        (["--source", "shifting", "--gaps", "9"], "too few frames"),
        (["--source", "shifting", "--step", "0"], "a step of one frame or more"),
        (["--matcher", "sift=a.safetensors"], "'sift' takes no weights"),
        (["--matcher", "surf"], "surf"),
        (["--data", "/nowhere"], "no data folder /nowhere"),
    ],
)
def test_wrong_input_is_refused(arguments, message, capsys, monkeypatch):
    monkeypatch.setattr(ros_matching.io, "open_source", lambda spec: Shifting())
    assert main(["evaluate", "pairs", *arguments]) == 2
    assert message in capsys.readouterr().err
