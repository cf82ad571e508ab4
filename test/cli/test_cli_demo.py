"""ros-matching demo and run: real processes, real topics."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import cv2
import numpy as np
import pytest

from ros_matching.cli.main import main
from ros_matching.io import open_source
from ros_matching.io.trajectory import read_tum
from ros_matching.matching import DEFAULT

pytest.importorskip("rclpy", reason="needs ROS 2 (rclpy)")
pytest.importorskip("ros_matching.msg", reason="needs the built messages of this package (make build)")

pytestmark = pytest.mark.ros

FRAMES = 20
ENDLESS = "scene:room?frames=3000&width=160&height=120"
TIMEOUT_S = 200.0
ALONE = ("--against", "none")
COMMAND = [sys.executable, "-m", "ros_matching.cli.main"]


@pytest.fixture(scope="module")
def recording(tmp_path_factory) -> Path:
    """A rendered sequence as a folder, so that it is rendered once only; its stamps begin at zero."""
    folder = tmp_path_factory.mktemp("recordings") / "room"
    (folder / "images").mkdir(parents=True)
    source = open_source(f"scene:room?seed=1&frames={FRAMES}&fps=6&width=320&height=240")
    for frame in source:
        cv2.imwrite(str(folder / "images" / f"{frame.index:04d}.png"), frame.image[..., ::-1])
    np.savetxt(folder / "K.txt", source.camera.matrix)
    np.savetxt(folder / "times.txt", np.arange(FRAMES) / 6)
    np.savetxt(folder / "poses.txt", [frame.true_world_from_camera.ravel() for frame in source])
    return folder


def run_demo(*args: str | Path, **options) -> subprocess.CompletedProcess:
    command = [*COMMAND, "demo", *map(str, args)]
    return subprocess.run(command, capture_output=True, text=True, timeout=200, **options)


@pytest.mark.slow
def test_trajectory_over_ros_equals_the_offline_one(recording, tmp_path):
    assert main(["track", str(recording), "--out", str(tmp_path / "offline"), "--quiet"]) == 0
    demo = run_demo("--source", recording, "--out", tmp_path / "ros", "--against", "orb")
    assert demo.returncode == 0, demo.stderr
    offline, ros = (read_tum(tmp_path / name / "trajectory.tum") for name in ("offline", "ros"))
    assert len(offline) >= FRAMES // 2
    np.testing.assert_array_equal(ros.stamps_ns, offline.stamps_ns + 1_000_000_000)  # zero is no time in ROS
    length = np.linalg.norm(np.ptp(offline.world_from_camera[:, :3, 3], axis=0))
    np.testing.assert_allclose(ros.world_from_camera[:, :3, 3], offline.world_from_camera[:, :3, 3], atol=1e-6 * length)
    np.testing.assert_allclose(ros.world_from_camera[:, :3, :3], offline.world_from_camera[:, :3, :3], atol=1e-9)
    offline_report, ros_report = (
        json.loads((tmp_path / name / "report.json").read_text()) for name in ("offline", "ros")
    )
    for key in ("frames", "tracked", "lost", "dropped"):
        assert ros_report[key] == offline_report[key]
    for key in ("path_length", "ate_rmse", "rpe_trans", "rpe_rot_deg"):
        assert ros_report[key] == pytest.approx(offline_report[key], rel=1e-6)
    assert ros_report["ms_per_frame"] > 0
    assert (tmp_path / "ros" / "trajectory.png").stat().st_size > 1000
    for word in (
        "tracked",
        "ATE",
        "RPE",
        "trajectory.png",
        "report.json",
        f"| default ({DEFAULT}) |",
        "comparison.png",
    ):
        assert word in demo.stdout
    comparison = json.loads((tmp_path / "ros" / "comparison.json").read_text())
    ours, orb = comparison["tables"][0]["rows"]
    assert ours["tracked"] == pytest.approx(offline_report["tracked"] / FRAMES)
    assert ours["ate"] == pytest.approx(offline_report["ate_rmse"], rel=1e-6)
    assert (orb["matcher"], orb["frames"]) == ("orb", FRAMES)
    assert 100 < ours["peak_mb"] < 2000
    stages = ours["stage_ms"]  # of vo_status
    assert 0 < stages["extract"] < sum(stages.values()) <= ours["ms"]
    assert report_of(tmp_path / "ros" / "orb")["frames"] == FRAMES


def test_nothing_tracked_is_exit_code_1(recording, tmp_path):
    demo = run_demo("--source", recording, "--stop", 1, "--matcher", "orb", *ALONE, "--out", tmp_path, "--quiet")
    assert demo.returncode == 1
    assert "no frame was tracked" in demo.stderr
    assert demo.stdout == ""
    report = report_of(tmp_path)
    assert (report["frames"], report["tracked"], report["dropped"]) == (1, 0, 0)


def test_realtime_counts_every_frame_once(recording, tmp_path):
    run_demo(
        "--source", f"{recording}?fps=200", "--stop", 12, "--matcher", "orb", *ALONE, "--realtime", "--out", tmp_path
    )
    report = report_of(tmp_path)
    assert 1 <= report["frames"] <= 12
    assert report["frames"] + report["dropped"] == 12


def test_realtime_renders_a_scene_before_it_is_replayed(tmp_path):
    source = "scene:room?frames=8&fps=10&width=160&height=120"
    run_demo("--source", source, "--matcher", "orb", *ALONE, "--realtime", "--out", tmp_path)
    report = report_of(tmp_path)
    assert report["frames"] >= 1
    assert report["frames"] + report["dropped"] == 8


def test_node_that_cannot_start_is_reported_with_its_log(recording, tmp_path):
    params = tmp_path / "params.yaml"
    params.write_text("/**:\n  ros__parameters:\n    transport: pigeon\n")
    demo = run_demo("--source", recording, "--params", params, "--out", tmp_path, "--quiet")
    assert demo.returncode == 2
    assert "vo_node ended early" in demo.stderr
    assert "raw, compressed" in demo.stderr


def test_missing_source_is_one_line(tmp_path):
    demo = run_demo("--source", tmp_path / "nothing", "--out", tmp_path)
    assert demo.returncode == 2
    assert "ros-matching demo: there is no file or folder" in demo.stderr
    assert "Traceback" not in demo.stderr


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM])
def test_interrupted_demo_reports_and_takes_its_node_along(tmp_path, how):
    """The source is rendered frame by frame and far from its end, whenever the signal comes."""
    log = tmp_path / "vo_node.log"
    demo = subprocess.Popen(
        [*COMMAND, "demo", "--source", ENDLESS, "--matcher", "orb", "--out", tmp_path],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    wait_until(lambda: log.is_file() and "configured" in log.read_text(), demo)
    node = child_of(demo.pid)
    demo.send_signal(how)
    output, _ = demo.communicate(timeout=TIMEOUT_S)
    assert demo.returncode == 130, output
    assert not Path(f"/proc/{node}").exists()
    assert report_of(tmp_path)["interrupted"]


def test_run_replays_in_one_process_and_ends(recording):
    command = [*COMMAND, "run", "--source", f"{recording}?stop=3", "--ros-args", "-p", "wait_for_consumer:=true"]
    environment = os.environ | isolation()
    ran = subprocess.run(command, capture_output=True, text=True, timeout=120, env=environment)
    assert ran.returncode == 0, ran.stderr
    assert "replayed 3 frames" in ran.stderr + ran.stdout


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM])
def test_run_ends_cleanly_after_a_signal(how):
    command = [*COMMAND, "run", "--ros-args", "-r", "image:=/eye/image_raw"]
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=os.environ | isolation()
    )
    for line in process.stdout:
        if "configured" in line:
            break
    process.send_signal(how)
    output, _ = process.communicate(timeout=60)
    assert process.returncode == 0, output
    assert "Traceback" not in output


@pytest.mark.parametrize(
    ("options", "code", "words"),
    [
        (["--matcher", "magic"], 1, "magic"),
        (["--source", "/nowhere/at/all"], 2, "/nowhere/at/all"),
        (["--source", ENDLESS, "--rate", "0"], 2, "rate"),
        (["--rate", "fast", "--source", ENDLESS], 2, "rate must be a number"),
    ],
)
def test_run_that_cannot_start_ends_with_the_reason_last(options, code, words):
    ran = subprocess.run(
        [*COMMAND, "run", *options], capture_output=True, text=True, timeout=TIMEOUT_S, env=os.environ | isolation()
    )
    assert ran.returncode == code, ran.stderr
    assert words in ran.stderr.splitlines()[-1]
    assert "Traceback" not in ran.stderr


def test_run_has_the_options_of_the_launch_file(recording):
    options = ["--namespace", "robot1", "--frame-prefix", "robot1/", "--clock-topic", "clock", "--matcher", "orb"]
    options += ["--image-topic", "eye/image_raw", "--wait-for-consumer", "--source", f"{recording}?stop=3"]
    ran = subprocess.run(
        [*COMMAND, "run", *options], capture_output=True, text=True, timeout=TIMEOUT_S, env=os.environ | isolation()
    )
    assert ran.returncode == 0, ran.stderr
    assert "subscribed to /robot1/eye/image_raw and /robot1/camera_info" in ran.stderr
    assert "[robot1.replay_node]: replayed 3 frames" in ran.stderr


@pytest.fixture
def mapping_run(tmp_path):
    """A run with a map that replays for ever, as the leader of a process group."""
    options = ["--source", ENDLESS, "--matcher", "orb", "--cloud", tmp_path / "map.ply"]
    options += ["--ros-args", "-p", "mapping.planes:=16", "-p", "mapping.levels:=1"]  # quick
    process = subprocess.Popen(
        [*COMMAND, "run", *options],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env=os.environ | isolation(),
        start_new_session=True,
    )
    for line in process.stdout:
        if "replaying" in line:
            break
    yield process
    process.kill()
    process.wait()


def test_an_interrupt_from_the_terminal_finishes_the_map(mapping_run):
    os.killpg(mapping_run.pid, signal.SIGINT)
    output, _ = mapping_run.communicate(timeout=TIMEOUT_S)
    assert mapping_run.returncode == 0, output
    assert "Traceback" not in output
    assert "[mapping_node]: saved" in output or "[mapping_node]: nothing has been mapped" in output


def test_a_run_whose_mapping_dies_fails(mapping_run):
    os.kill(child_of(mapping_run.pid), signal.SIGKILL)
    output, _ = mapping_run.communicate(timeout=TIMEOUT_S)
    assert mapping_run.returncode == 1, output
    assert "mapping_node ended early: it was killed by SIGKILL" in output.splitlines()[-1]


def test_run_refuses_what_ros_cannot_parse():
    ran = subprocess.run([*COMMAND, "run", "--ros-args", "-p", "nonsense"], capture_output=True, text=True, timeout=60)
    assert ran.returncode == 2
    assert "ROS cannot be started with" in ran.stderr
    assert "Traceback" not in ran.stderr


def report_of(folder: Path) -> dict:
    return json.loads((folder / "report.json").read_text())


def isolation() -> dict[str, str]:
    from ros_matching.nodes.common.spinning import isolate

    return {"ROS_DOMAIN_ID": str(isolate()), "ROS_AUTOMATIC_DISCOVERY_RANGE": "LOCALHOST"}


def child_of(pid: int) -> int:
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return int(children[0])


def wait_until(condition, process: subprocess.Popen, timeout_s: float = TIMEOUT_S) -> None:
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert process.poll() is None, process.stdout.read()
        assert time.monotonic() < deadline
        time.sleep(0.05)
