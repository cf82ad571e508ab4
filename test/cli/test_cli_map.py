from __future__ import annotations

import json
import sys
from dataclasses import replace

import cv2
import numpy as np
import pytest
from map_world import METRIC_FROM, WALL, KnownTracker, KnownWall, SlidingSource

import ros_matching.evaluation.measurement
import ros_matching.io
import ros_matching.mapping
import ros_matching.visual_odometry
from ros_matching.cli.main import main
from ros_matching.io.colmap_model import read_model
from ros_matching.io.point_clouds import read_cloud
from ros_matching.io.trajectory import Trajectory, read_tum, write_kitti, write_tum
from ros_matching.mapping import DenseMapper


@pytest.fixture
def sliding(monkeypatch, tmp_path):
    """Runs ``map`` on the sliding source; returns the exit code and the folder."""

    def run(*arguments: str, source: SlidingSource | None = None, scales=(1.0,), out: str = "out"):
        monkeypatch.setattr(ros_matching.io, "open_source", lambda spec, **_: source or SlidingSource())
        monkeypatch.setattr(
            ros_matching.mapping,
            "load_dense_mapper",
            lambda device, config, **_: DenseMapper(KnownWall(*scales), config),
        )
        folder = tmp_path / out
        code = main(["map", "sliding", "--matcher", "sift", "--quiet", "--out", str(folder), *arguments])
        return code, folder

    return run


def report(folder) -> dict:
    tables = json.loads((folder / "report.json").read_text())["tables"]
    return tables[0]["rows"][0]


def test_true_poses_give_the_true_wall(sliding):
    code, folder = sliding("--poses", "truth", "--pcd", "--images", "2")
    assert code == 0
    cloud = read_cloud(folder / "cloud.ply")
    assert len(cloud) > 500
    np.testing.assert_allclose(cloud.points[:, 2], WALL, rtol=1e-4)
    np.testing.assert_allclose(read_cloud(folder / "cloud.pcd").points, cloud.points)
    assert cv2.imread(str(folder / "cloud.png")).shape == (600, 960, 3)
    found = report(folder)
    assert found["mapped"] >= 4
    assert found["points"] == len(cloud)
    assert found["scale"] == 1
    assert found["abs_rel"] < 1e-4
    assert found["precision1"] == 1
    assert len(read_tum(folder / "keyframes.tum")) == found["keyframes"]
    images = sorted((folder / "depth").glob("*.png"))
    assert len(images) == -(-found["mapped"] // 2)
    assert cv2.imread(str(images[0])).shape == (120, 320, 3)
    assert "Cloud against the true surface" in (folder / "report.md").read_text()


def test_the_trackers_poses_are_corrected_and_aligned(sliding, monkeypatch):
    monkeypatch.setattr(ros_matching.visual_odometry, "VisualOdometry", KnownTracker)
    code, folder = sliding(scales=[KnownTracker.scale])
    assert code == 0
    found = report(folder)
    assert found["keyframes"] == 10
    assert found["scale"] == pytest.approx(1 / KnownTracker.scale, rel=1e-3)
    assert found["abs_rel"] < 1e-3
    assert found["f1"] > 0.9
    poses = read_tum(folder / "keyframes.tum").world_from_camera
    np.testing.assert_allclose(poses[:-1, 1, 3], [0.25 * 0.01 * (2 * k % 3) for k in range(9)], atol=1e-9)


def test_a_tracker_that_becomes_metric_gives_a_metric_map(sliding, monkeypatch, caplog):
    monkeypatch.setattr(ros_matching.visual_odometry, "VisualOdometry", KnownTracker)
    code, folder = sliding("--scale", "depth", scales=[KnownTracker.scale, 1.0])
    assert code == 0
    found = report(folder)
    assert found["keyframes"] == 10 - METRIC_FROM
    assert found["scale"] == pytest.approx(1, rel=1e-3)
    assert found["f1"] > 0.9
    np.testing.assert_allclose(read_cloud(folder / "cloud.ply").points[:, 2], WALL, rtol=1e-3)
    assert len(read_tum(folder / "keyframes.tum")) == 10 - METRIC_FROM
    assert "metric" in caplog.text


def test_rerun_gets_what_is_mapped(sliding, tmp_path):
    chunks_of = pytest.importorskip("rerun.chunk", reason="needs a recent Rerun SDK (pip install rerun-sdk)")
    code, folder = sliding("--poses", "truth", "--rerun", str(tmp_path / "seen" / "map.rrd"))
    assert code == 0
    stream = chunks_of.RrdReader(tmp_path / "seen" / "map.rrd").stream()
    paths = {str(chunk.entity_path) for chunk in stream.to_chunks()}
    assert {"/image", "/world/camera/depth"} <= paths
    assert sum(path.startswith("/world/points/") for path in paths) == report(folder)["mapped"]


def test_rerun_that_is_not_installed_is_reported(sliding, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "rerun", None)
    code, _ = sliding("--poses", "truth", "--rerun")
    assert code == 2
    assert "pip install rerun-sdk" in capsys.readouterr().err


def test_a_scale_source_needs_the_trackers_poses(sliding, capsys):
    code, _ = sliding("--poses", "truth", "--scale", "depth")
    assert code == 2
    assert "--wheel-odometry" in capsys.readouterr().err


def test_poses_of_a_file_need_no_ground_truth(sliding, tmp_path):
    truth = [(frame.stamp_ns, frame.true_world_from_camera) for frame in SlidingSource()]
    stamps, poses = zip(*truth[2:], strict=True)
    write_tum(tmp_path / "poses.tum", Trajectory(np.array(stamps), np.array(poses)))
    code, folder = sliding("--poses", str(tmp_path / "poses.tum"), source=SlidingSource(with_truth=False))
    assert code == 0
    found = report(folder)
    assert found["mapped"] >= 3
    assert "abs_rel" not in found
    assert found["note"] == "no ground truth"


def test_poses_of_a_kitti_file_count_frames(sliding, tmp_path):
    truth = [frame.true_world_from_camera for frame in SlidingSource()]
    write_kitti(tmp_path / "poses.txt", Trajectory(np.arange(len(truth)), np.array(truth)))
    code, folder = sliding("--poses", str(tmp_path / "poses.txt"), source=SlidingSource(with_truth=False))
    assert code == 0
    np.testing.assert_allclose(read_cloud(folder / "cloud.ply").points[:, 2], WALL, rtol=1e-4)


@pytest.mark.parametrize(("factor", "warned"), [(1.0, False), (0.2, True)])
def test_depth_images_in_another_unit_than_the_maps_are_reported(sliding, factor, warned):
    """Millimetres read in units of 5000 a metre are five times too near."""

    class Source(SlidingSource):
        calibration = replace(SlidingSource.calibration, depth_units_per_metre=5000.0)

        def __iter__(self):
            return (replace(frame, depth=frame.depth * np.float32(factor)) for frame in super().__iter__())

    _, folder = sliding("--poses", "truth", source=Source())
    settings = json.loads((folder / "report.json").read_text())["settings"]
    assert settings["calibration"].startswith("the wall: 160x120")
    assert ("depth_scale=1000 instead of 5000" in settings.get("warning", "")) == warned


def test_keyframes_are_exported_with_the_poses_that_were_used(sliding, tmp_path):
    code, folder = sliding("--poses", "truth", "--export", f"colmap={tmp_path / 'c'}")
    assert code == 0
    images = read_model(tmp_path / "c" / "sparse" / "0").images
    exported = np.linalg.inv([image.camera_from_world for image in images])
    used = read_tum(folder / "keyframes.tum").world_from_camera
    np.testing.assert_allclose(exported, used, atol=1e-9)
    assert len(list((tmp_path / "c" / "images").iterdir())) == len(images)


def test_without_poses_the_error_says_what_else_there_is(sliding, capsys, tmp_path):
    code, _ = sliding("--poses", "truth", source=SlidingSource(with_truth=False))
    assert code == 2
    assert "the source has no true poses; use '--poses tracker'" in capsys.readouterr().err
    write_tum(tmp_path / "other.tum", Trajectory(np.array([1, 2]), np.stack([np.eye(4)] * 2)))
    code, _ = sliding("--poses", str(tmp_path / "other.tum"))
    assert code == 2
    assert "other.tum" in capsys.readouterr().err


def test_an_empty_cloud_is_said_with_the_reason(sliding, capsys):
    code, folder = sliding("--poses", "truth", "--set", "mapping.min_parallax_deg=45")
    assert code == 1
    assert "the baseline is too small" in capsys.readouterr().err
    assert len(read_cloud(folder / "cloud.ply")) == 0
    assert not (folder / "cloud.png").exists()
    assert report(folder)["mapped"] == 0


def test_settings_are_listed_and_checked(sliding, capsys):
    with pytest.raises(SystemExit):
        main(["map", "--list-settings"])
    listed = capsys.readouterr().out
    assert "mapping.min_confidence" in listed
    assert "tracking.keyframe_parallax_deg" in listed
    code, _ = sliding("--set", "mapping.window=1")
    assert code == 2
    assert "window" in capsys.readouterr().err


def test_estimators_are_compared_on_the_same_keyframes(monkeypatch, tmp_path):
    monkeypatch.setattr(ros_matching.evaluation.measurement, "plot_panels", lambda panels, path: path.touch())
    monkeypatch.setattr(ros_matching.io, "open_source", lambda spec: SlidingSource())
    command = ["evaluate", "cloud", "--source", "sliding", "--matcher", "sift", "--quiet", "--out", str(tmp_path)]
    assert main([*command, "--estimator", "ncc", "--estimator", "sgbm"]) == 0
    rows = json.loads((tmp_path / "cloud.json").read_text())["tables"][0]["rows"]
    assert [row["name"] for row in rows] == ["ncc", "sgbm"]
    assert rows[0]["keyframes"] == rows[1]["keyframes"] >= 5
    for row in rows:
        assert row["mapped"] >= 4
        assert row["median_rel"] < 0.02
        assert row["f2"] > 0.7


def test_an_imu_is_the_trackers(sliding, monkeypatch, tmp_path, capsys):
    given = []

    class Recorded(KnownTracker):
        def __init__(self, *arguments, imu=None, **options) -> None:
            given.append(imu)
            super().__init__(*arguments, **options)

    monkeypatch.setattr(ros_matching.visual_odometry, "VisualOdometry", Recorded)
    samples = np.column_stack([1.0 + np.arange(50) * 0.005, np.zeros((50, 5)), np.full(50, 9.81)])
    np.savetxt(tmp_path / "imu.csv", samples, delimiter=",", fmt="%.10g")
    np.savetxt(tmp_path / "T_imu_cam.txt", np.eye(4))
    options = "--imu", str(tmp_path / "imu.csv"), "--imu-extrinsics", str(tmp_path / "T_imu_cam.txt")
    code, _ = sliding(*options, scales=[KnownTracker.scale])
    assert code == 0
    assert given[0].buffer.counts.accepted == 50
    code, _ = sliding(*options, "--poses", "truth", out="truth")
    assert code == 2
    assert "need poses of the tracker" in capsys.readouterr().err
