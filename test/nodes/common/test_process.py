"""Nodes in processes of their own: they end with their parent, and Ctrl-C in a terminal reaches the parent only."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

pytest.importorskip("rclpy", reason="needs ROS 2 (rclpy)")
pytest.importorskip("ros_matching.msg", reason="needs the built messages of this package (make build)")

from ros_matching.errors import NodeError
from ros_matching.nodes.common.process import PARENT_VARIABLE, NodeProcess, describe_exit
from ros_matching.nodes.common.spinning import isolate

pytestmark = pytest.mark.ros

WAITING_REPLAY = ["-p", "source:=scene:room", "-p", "wait_for:=vo_node"]
PARENT = f"""
import time
from pathlib import Path
from ros_matching.nodes.common.process import NodeProcess
with NodeProcess("replay_node", {WAITING_REPLAY}, Path("log")) as process:
    print(process.pid, flush=True)
    time.sleep(1000)
"""
TIMEOUT_S = 100.0


def is_running(pid: int) -> bool:
    """Return True if a process exists and is not a zombie."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def wait_until(condition) -> None:
    deadline = time.monotonic() + TIMEOUT_S
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_a_node_ends_with_a_parent_that_is_killed(tmp_path):
    isolate()
    parent = subprocess.Popen([sys.executable, "-c", PARENT], stdout=subprocess.PIPE, text=True, cwd=tmp_path)
    pid = int(parent.stdout.readline())
    wait_until(lambda: "waiting until vo_node is active" in (tmp_path / "log").read_text())
    parent.kill()
    parent.wait()
    wait_until(lambda: not is_running(pid))


def test_a_node_whose_parent_has_died_already_does_not_start():
    parent = subprocess.Popen(["true"])
    parent.wait()
    command = [sys.executable, "-m", "ros_matching.nodes.replay.replay_node", "--ros-args", *WAITING_REPLAY]
    environment = os.environ | {PARENT_VARIABLE: str(parent.pid)}
    ran = subprocess.run(command, env=environment, timeout=TIMEOUT_S, capture_output=True, text=True)
    assert ran.returncode == 1
    assert "has ended" in ran.stderr


def test_a_node_is_out_of_reach_of_the_terminal_and_of_ignored_signals(tmp_path):
    isolate()
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)  # as in the background of a shell script
    try:
        with NodeProcess("replay_node", WAITING_REPLAY, tmp_path / "log") as process:
            assert os.getpgid(process.pid) != os.getpgid(0)
            wait_until(lambda: "waiting until vo_node is active" in (tmp_path / "log").read_text())
            assert process.exit_code is None
    finally:
        signal.signal(signal.SIGINT, before)
    assert process.exit_code == 0
    with pytest.raises(NodeError, match="exit code 0"):
        process.require_alive()


@pytest.mark.parametrize(("code", "words"), [(3, "with exit code 3"), (-9, "killed by SIGKILL"), (-99, "by signal 99")])
def test_an_exit_is_described(code, words):
    assert words in describe_exit(code)
