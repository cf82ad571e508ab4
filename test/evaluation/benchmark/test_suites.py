"""Standard benchmarks: sequences are found in folders of each layout, and the table has what was measured."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from ros_matching.cli.main import main
from ros_matching.errors import ConfigError
from ros_matching.evaluation.benchmark import suites
from ros_matching.evaluation.benchmark.benchmark_runs import BenchmarkRun, SequenceRuns, benchmark_rows
from ros_matching.evaluation.benchmark.published_figures import published_figures
from ros_matching.evaluation.benchmark.suite_report import suite_tables
from ros_matching.evaluation.benchmark.suites import SUITES, FoundSequence, SuiteFolder, find_sequences
from ros_matching.evaluation.trajectory.run_report import FrameRecord, RunRecorder
from ros_matching.io import open_source

BODY_FROM_CAMERA = np.eye(4)
BODY_FROM_CAMERA[:3, :3] = Rotation.from_rotvec([0.1, -1.2, 1.3]).as_matrix()
BODY_FROM_CAMERA[:3, 3] = 0.05, -0.02, 0.11
BLACK = np.zeros((480, 640, 3), np.uint8)


def write_image(path: Path, image: np.ndarray = BLACK) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    assert cv2.imwrite(str(path), image[..., ::-1])


def xyzw(pose: np.ndarray) -> list[float]:
    return [float(value) for value in Rotation.from_matrix(pose[:3, :3]).as_quat()]


def euroc(folder: Path, images: list[np.ndarray], poses: list[np.ndarray], k: np.ndarray) -> None:
    """A sequence with the ground truth of the body, which the camera is mounted on."""
    camera, truth = folder / "mav0" / "cam0", folder / "mav0" / "state_groundtruth_estimate0"
    stamps = [10**18 + index * 50_000_000 for index in range(len(images))]
    for stamp, image in zip(stamps, images, strict=True):
        write_image(camera / "data" / f"{stamp}.png", image)
    (camera / "data.csv").write_text("#timestamp [ns],filename\n" + "".join(f"{s},{s}.png\n" for s in stamps))
    height, width = images[0].shape[:2]
    (camera / "sensor.yaml").write_text(
        f"sensor_type: camera\nT_BS:\n  rows: 4\n  cols: 4\n  data: {BODY_FROM_CAMERA.ravel().tolist()}\n"
        f"resolution: [{width}, {height}]\ncamera_model: pinhole\n"
        f"intrinsics: [{k[0, 0]}, {k[1, 1]}, {k[0, 2]}, {k[1, 2]}]\n"
        "distortion_model: radial-tangential\ndistortion_coefficients: [0.0, 0.0, 0.0, 0.0]\n"
    )
    lines = ["#timestamp, p_x, p_y, p_z, q_w, q_x, q_y, q_z\n"]
    for stamp, pose in zip(stamps, poses, strict=True):
        body = pose @ np.linalg.inv(BODY_FROM_CAMERA)
        x, y, z, w = xyzw(body)
        lines.append(",".join(map(repr, [stamp, *body[:3, 3].tolist(), w, x, y, z])) + "\n")
    truth.mkdir(parents=True)
    (truth / "data.csv").write_text("".join(lines))


def tum(folder: Path, count: int) -> None:
    for index in range(count):
        write_image(folder / "rgb" / f"{index}.png")
    (folder / "rgb.txt").write_text("".join(f"{1000 + index / 30:.6f} rgb/{index}.png\n" for index in range(count)))


def kitti(root: Path, number: str, count: int) -> None:
    folder = root / "sequences" / number
    for index in range(count):
        write_image(folder / "image_0" / f"{index:06d}.png")
    (folder / "calib.txt").write_text("P0: 700 0 320 0 0 700 240 0 0 0 1 0\n")
    (folder / "times.txt").write_text("".join(f"{index / 10:.6e}\n" for index in range(count)))


def icl(folder: Path, count: int) -> None:
    for index in range(count):
        write_image(folder / "rgb" / f"{index}.png")
    (folder / "associations.txt").write_text("")


def tartanair(root: Path, name: str, count: int) -> None:
    for index in range(count):
        write_image(root / "mono" / name / f"{index:06d}.png")
    (root / "mono_gt").mkdir(exist_ok=True)
    rows = [f"0 0 {-index} 0 0 0 1\n" for index in range(count)]  # north-east-down: up
    (root / "mono_gt" / f"{name}.txt").write_text("".join(rows))


def found_names(suite: str, root: Path) -> list[tuple[str, int]]:
    return [(found.sequence.name, found.frames) for found in find_sequences(SUITES[suite], root).found]


def test_euroc_is_found_as_it_is_unpacked(tmp_path: Path) -> None:
    for folder, count in (("machine_hall/MH_03_medium/MH_03_medium", 3), ("V1_01_easy", 4), ("V202", 2)):
        euroc(tmp_path / folder, [BLACK] * count, [np.eye(4)] * count, np.eye(3) + 400 * np.eye(3))
    folder = find_sequences(SUITES["euroc"], tmp_path)
    assert [(found.sequence.name, found.frames) for found in folder.found] == [("MH03", 3), ("V101", 4), ("V202", 2)]
    assert folder.missing == ("MH01", "MH02", "MH04", "MH05", "V102", "V103", "V201", "V203")
    assert not any(found.is_whole for found in folder.found)


def test_each_other_layout_is_found_by_its_names(tmp_path: Path) -> None:
    tum(tmp_path / "tum" / "rgbd_dataset_freiburg1_desk2", 3)
    tum(tmp_path / "tum" / "rgbd_dataset_freiburg2_desk", 3)  # not of the suite
    kitti(tmp_path / "kitti" / "dataset", "07", 4)
    kitti(tmp_path / "kitti" / "dataset", "11", 4)  # without ground truth, not of the suite
    icl(tmp_path / "icl" / "living_room_traj2_frei_png", 2)
    icl(tmp_path / "icl" / "living_room_traj2n_frei_png", 5)  # with noise, not of the suite
    icl(tmp_path / "icl" / "traj0_frei_png", 3)
    tartanair(tmp_path / "tartanair", "MH004", 5)
    assert found_names("tum", tmp_path / "tum") == [("desk2", 3)]
    assert found_names("kitti", tmp_path / "kitti") == [("07", 4)]
    assert found_names("icl", tmp_path / "icl") == [("living2", 2), ("office0", 3)]
    assert found_names("tartanair", tmp_path / "tartanair") == [("MH004", 5)]


def test_the_test_set_of_tartanair_has_its_calibration_and_poses(tmp_path: Path) -> None:
    tartanair(tmp_path, "ME001", 3)
    source = open_source(tmp_path / "mono" / "ME001")
    assert source.camera.matrix[[0, 1, 0, 1], [0, 1, 2, 2]].tolist() == [320, 320, 320, 240]
    first, _, third = (frame.true_world_from_camera for frame in source)
    # Two metres up in the world, as the camera sees it: against its y axis.
    assert (np.linalg.inv(first) @ third)[:3, 3] == pytest.approx([0, -2, 0])


def test_the_folder_with_most_frames_is_used_and_a_broken_one_is_named(tmp_path: Path) -> None:
    tum(tmp_path / "rgbd_dataset_freiburg1_xyz", 4)
    tum(tmp_path / "fr1_xyz", 2)
    tum(tmp_path / "rgbd_dataset_freiburg1_rpy", 2)
    (tmp_path / "rgbd_dataset_freiburg1_rpy" / "rgb.txt").write_text("no stamp\n")
    folder = find_sequences(SUITES["tum"], tmp_path)
    assert [(found.path.name, found.frames) for found in folder.found] == [("rgbd_dataset_freiburg1_xyz", 4)]
    assert [path.name for path in folder.others] == ["fr1_xyz"]
    [reason] = folder.unusable
    assert reason.startswith("rpy: ")
    assert "rgb.txt" in reason


def test_a_sequence_may_be_a_link_and_the_folder_itself_may_be_one(tmp_path: Path) -> None:
    tum(tmp_path / "disk" / "rgbd_dataset_freiburg1_room", 3)
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "fr1_room").symlink_to(tmp_path / "disk" / "rgbd_dataset_freiburg1_room")
    assert found_names("tum", tmp_path / "data") == [("room", 3)]
    assert found_names("tum", tmp_path / "disk" / "rgbd_dataset_freiburg1_room") == [("room", 3)]


def test_a_folder_without_any_sequence_says_what_was_expected(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"no sequence of KITTI odometry \(expected folders of: 00, 01"):
        find_sequences(SUITES["kitti"], tmp_path)
    with pytest.raises(ConfigError, match="there is no folder"):
        find_sequences(SUITES["kitti"], tmp_path / "nowhere")


@pytest.mark.parametrize("key", SUITES)
def test_published_figures_fit_the_sequences_and_their_stated_means(key: str) -> None:
    names = [sequence.name for sequence in SUITES[key].sequences]
    figures = published_figures(key)
    assert figures
    for system in figures:
        assert set(system.ate) <= set(names)
        assert system.source.url.startswith("https://")
        if len(system.ate) == len(names):
            assert system.mean == pytest.approx(np.mean(list(system.ate.values())), abs=0.001, rel=0.002)
        else:
            assert system.mean is None


def ran(matcher: str, error_m: float, tracked: int = 50) -> BenchmarkRun:
    """A run whose x positions alternate by +- ``error_m``, in a unit of half a metre and another world."""
    recorder = RunRecorder("", matcher)
    world = np.eye(4)
    world[:3, :3] = Rotation.from_rotvec([0.3, 2.0, -0.4]).as_matrix()
    for index in range(50):
        truth = np.eye(4)
        truth[:3, 3] = np.sin(index / 8), np.cos(index / 8), index / 50
        recorder.add_ground_truth(index * 10**8, truth)
        pose = truth.copy()
        pose[:3, 3] += [error_m * (-1) ** index, 0, 0]
        pose[:3, 3] *= 0.5
        known = world @ pose if index < tracked else None
        recorder.add(FrameRecord(index, index * 10**8, "lost" if known is None else "tracking", known))
    return BenchmarkRun(matcher, recorder.report())


def table_of(runs: dict[str, list[BenchmarkRun]], folder: SuiteFolder, *, slam: bool = False) -> list:
    rows = benchmark_rows([SequenceRuns(name, 50, tuple(of)) for name, of in runs.items()])
    suite = replace(SUITES["icl"], sequences=SUITES["icl"].sequences[:2])
    return suite_tables(suite, folder, rows, published_figures("icl"), stride=1, runs=3, alignment="sim3", slam=slam)


def at_hand(*frames: int) -> SuiteFolder:
    sequences = SUITES["icl"].sequences
    found = [FoundSequence(sequences[row], Path(f"part{row}"), count) for row, count in enumerate(frames)]
    return SuiteFolder(tuple(found), (), (), ())


def test_the_table_has_the_error_after_alignment_next_to_published_figures() -> None:
    runs = {"living0": [ran("a", 0.05), ran("b", 0.0, 20)], "living1": [ran("a", 0.09), ran("b", 0.01, 45)]}
    [table] = table_of(runs, at_hand(1510, 967))
    first, second, *others = table.rows
    assert float(first["living0"]) == pytest.approx(0.05, abs=0.002)
    assert float(first["living1"]) == pytest.approx(0.09, abs=0.003)
    assert float(first["mean"]) == pytest.approx(0.07, abs=0.003)
    assert second["living0"] == "failed (40 %)"
    assert second["living1"].endswith(" (90 %)")
    assert second["mean"] == ""
    assert [others[0][key] for key in ("system", "living0", "living1")] == ["DPVO", "0.006", "0.087"]
    assert "Sim(3)" in table.note
    assert "princeton-vl/DPVO" in table.note


def test_the_table_states_if_loops_were_closed() -> None:
    for slam, kind, method in ((False, "odometry", "without loop closing"), (True, "SLAM", "after all loops")):
        [table] = table_of({"living0": [ran("a", 0.05)]}, at_hand(1510), slam=slam)
        assert table.rows[0]["kind"] == kind
        assert method in table.note


def test_an_excerpt_is_not_beside_published_figures() -> None:
    table, excerpts = table_of({"living0": [ran("a", 0.05)], "living1": [ran("a", 0.09)]}, at_hand(1510, 200))
    assert table.rows[0]["living1"] == ""
    assert table.rows[0]["mean"] == ""
    [row] = excerpts.rows
    assert (row["sequence"], row["folder"], row["of"]) == ("living1", "part1", 967)
    assert "Not comparable" in excerpts.note


@pytest.fixture(scope="module")
def rendered(tmp_path_factory) -> Path:
    """A rendered room as V1_02 of EuRoC, and its number of frames."""
    pytest.importorskip("torch")
    root = tmp_path_factory.mktemp("euroc")
    source = open_source("scene:room?seed=1&frames=14&fps=5&width=240&height=180")
    frames = list(source)
    poses = [frame.true_world_from_camera for frame in frames]
    euroc(root / "V1_02_medium", [frame.image for frame in frames], poses, source.camera.matrix)
    return root


def test_the_command_runs_the_sequences_by_the_protocol(rendered, tmp_path, monkeypatch, capsys) -> None:
    pytest.importorskip("evo")
    counted = tuple(replace(sequence, frames=14) for sequence in SUITES["euroc"].sequences)
    monkeypatch.setitem(suites.SUITES, "euroc", replace(SUITES["euroc"], sequences=counted, runs=2))
    out = tmp_path / "out"
    arguments = ["--suite", "euroc", str(rendered), "--matcher", "sift", "--out", str(out)]
    assert main(["benchmark", *arguments]) == 0
    printed = capsys.readouterr()
    assert "V102: " in printed.err
    assert "not at hand: MH01, MH02" in printed.err
    content = json.loads((out / "benchmark.json").read_text())
    assert [run["frames"] for run in content["details"]] == [14, 13]  # two runs, each from one frame later
    assert content["settings"]["alignment"] == "sim3"
    row = content["tables"][0]["rows"][0]
    assert row["system"] == "**ros_matching, sift**"
    figure = np.median([run["ate_rmse"] for run in content["details"]])
    assert float(row["V102"].split()[0]) == pytest.approx(figure, abs=0.0006)
    assert figure < 0.02  # of the camera: the body's positions, 12 cm off, would not fit
    assert "DPV-SLAM" in (out / "benchmark.md").read_text()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["a", "b"], "--suite takes one folder"),
        (["a", "--stride", "1", "--stride", "2"], "--suite takes one --stride"),
        (["a"], "there is no folder a"),
    ],
)
def test_arguments_that_do_not_fit_a_suite_are_refused(arguments, message, capsys) -> None:
    assert main(["benchmark", "--suite", "kitti", *arguments, "--quiet"]) == 2
    assert message in capsys.readouterr().err
