"""``ros-matching slam``, ``map-info`` and ``map-export``, on a rendered room."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from ros_matching.atlas.map_storage import load_map
from ros_matching.cli.main import main
from ros_matching.io.colmap_model import read_model
from ros_matching.io.rendered import open_scene
from ros_matching.io.trajectory import read_tum

pytest.importorskip("gtsam", reason="needs GTSAM (extra slam)")

SCENE = "scene:room?frames=45&fps=10&width=256&height=192&antialias=false"
RUN = (SCENE, "--matcher", "sift", "--keypoints", "500", "--quiet")


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """The results of a run, with its map in ``map``."""
    folder = tmp_path_factory.mktemp("slam")
    assert main(["slam", *RUN, "--out", str(folder), "--save", str(folder / "map")]) == 0
    return folder


def test_a_run_writes_both_trajectories_and_a_report(folder):
    assert {path.name for path in folder.iterdir()} == {
        "trajectory.tum",
        "odometry.tum",
        "ground_truth.tum",
        "report.json",
        "slam.png",
        "trajectory.png",
        "map",
    }
    report = json.loads((folder / "report.json").read_text())
    assert report["tracked"] > 35
    assert report["ate_percent"] < 2
    assert report["odometry"]["ate_percent"] < 2
    assert report["wrong_loops"] == 0
    assert report["map"]["keyframes"] == len(load_map(folder / "map"))
    assert report["map"]["unit"] == "up_to_scale"
    trajectory, odometry = read_tum(folder / "trajectory.tum"), read_tum(folder / "odometry.tum")
    np.testing.assert_array_equal(trajectory.stamps_ns, odometry.stamps_ns)


def test_the_saved_map_is_that_of_the_run(folder):
    slam_map, source = load_map(folder / "map"), open_scene(SCENE)
    assert slam_map.camera == source.camera
    trajectory = read_tum(folder / "trajectory.tum")
    rows = {stamp: row for row, stamp in enumerate(trajectory.stamps_ns.tolist())}
    known = [keyframe for keyframe in slam_map.keyframes if keyframe.stamp_ns in rows]
    assert len(known) > 3
    for keyframe in known:
        expected = trajectory.positions[rows[keyframe.stamp_ns]]
        np.testing.assert_allclose(keyframe.center, expected, atol=1e-6)


def test_map_info_describes_a_map(folder, capsys):
    assert main(["map-info", str(folder / "map"), "--verify"]) == 0
    printed = capsys.readouterr().out
    assert "256x192" in printed
    assert "sift" in printed
    assert "in 1 connected parts" in printed
    assert main(["map-info", str(folder)]) == 2
    assert "has no manifest.json" in capsys.readouterr().err


def test_map_export_writes_a_model_and_a_trajectory(folder, tmp_path):
    out = tmp_path / "colmap"
    assert main(["map-export", str(folder / "map"), "--colmap", str(out), "--tum", str(tmp_path / "map.tum")]) == 0
    slam_map, model = load_map(folder / "map"), read_model(out / "sparse" / "0")
    assert len(model.images) == len(slam_map)
    for image in model.images:
        keyframe = slam_map.keyframe(image.id - 1)
        np.testing.assert_allclose(image.camera_from_world, keyframe.camera_from_map, atol=1e-9)
        assert (out / "images" / image.name).read_bytes() == keyframe.jpeg
    assert (out / "sparse" / "0" / "points3D.txt").stat().st_size > 1000
    np.testing.assert_allclose(
        read_tum(tmp_path / "map.tum").positions, [keyframe.center for keyframe in slam_map.keyframes], atol=1e-9
    )


def test_points_of_the_exported_model_are_those_of_the_map(folder, tmp_path):
    out = tmp_path / "colmap"
    main(["map-export", str(folder / "map"), "--colmap", str(out)])
    slam_map = load_map(folder / "map")
    lines = [line for line in (out / "sparse/0/points3D.txt").read_text().splitlines() if not line.startswith("#")]
    exported = np.array([[float(word) for word in line.split()[1:4]] for line in lines])
    nearest = np.linalg.norm(slam_map.landmarks.positions[:, None] - exported, axis=2).min(0)
    depth = np.median(np.linalg.norm(exported - slam_map.keyframe(slam_map.ids[0]).center, axis=1))
    assert np.median(nearest) < 0.02 * depth


def test_export_needs_a_target_and_an_empty_folder(folder, tmp_path, capsys):
    assert main(["map-export", str(folder / "map")]) == 2
    assert "--colmap DIR or --tum FILE" in capsys.readouterr().err
    (tmp_path / "file").touch()
    assert main(["map-export", str(folder / "map"), "--colmap", str(tmp_path)]) == 2
    assert "not an empty folder" in capsys.readouterr().err


def test_a_map_of_other_features_is_refused(folder, tmp_path, capsys):
    code = main(["slam", SCENE, "--matcher", "orb", "--map", str(folder / "map"), "--out", str(tmp_path)])
    assert code == 2
    assert "use the matcher and weights of the map" in capsys.readouterr().err


def test_localization_needs_a_map(capsys):
    assert main(["slam", SCENE, "--mode", "localization"]) == 2
    assert "give it with --map" in capsys.readouterr().err
