"""The overlay in the Python of .venv without sourcing: resource/ros_matching_overlay.py."""

from __future__ import annotations

import importlib.util
import os
import shutil
import sys
import sysconfig
from pathlib import Path
from types import ModuleType

import pytest

SCRIPT = Path(__file__).resolve().parent.parent / "resource" / "ros_matching_overlay.py"


@pytest.fixture
def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The module as a virtual environment in ``tmp_path`` has it, with ROS variables empty."""
    shutil.copy(SCRIPT, tmp_path)
    spec = importlib.util.spec_from_file_location("ros_matching_overlay", tmp_path / SCRIPT.name)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    for variable in ("AMENT_PREFIX_PATH", "LD_LIBRARY_PATH", "_ROS_WHEELS_BOOTSTRAP_COMPLETE"):
        monkeypatch.setenv(variable, "")
    return module


@pytest.fixture
def starts(monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """The command lines of the processes that this one was replaced by."""
    commands: list[list[str]] = []
    monkeypatch.setattr(os, "execv", lambda _, command: commands.append(command))
    return commands


def test_the_source_tree_comes_before_the_generated_messages(
    installed: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    messages = tmp_path / "install" / "lib" / "python3" / "site-packages"
    (messages / "ros_matching" / "msg").mkdir(parents=True)
    (messages / "ros_matching" / "msg" / "__init__.py").touch()
    site_packages = tmp_path / "venv"
    site_packages.mkdir()
    monkeypatch.setattr(sysconfig, "get_path", lambda _: str(site_packages))
    installed.join("/source", str(tmp_path / "install"))
    lines = (site_packages / "ros_matching_overlay.pth").read_text().splitlines()
    assert lines[:2] == ["/source", str(messages)]
    assert lines[2].startswith("import ros_matching_overlay;")
    assert (site_packages / "ros_matching_overlay.py").is_file()


def test_python_restarts_once(installed: ModuleType, starts: list[list[str]]) -> None:
    os.environ["AMENT_PREFIX_PATH"] = "/opt/ros/jazzy"
    installed.enter("/overlay")
    installed.enter("/overlay")
    assert os.environ["AMENT_PREFIX_PATH"] == "/overlay:/opt/ros/jazzy"
    assert os.environ["LD_LIBRARY_PATH"] == "/overlay/lib"
    assert starts == [sys.orig_argv]


def test_the_ros_wheels_restart_python(installed: ModuleType, starts: list[list[str]], tmp_path: Path) -> None:
    (tmp_path / "ros_wheels_bootstrapper").mkdir()
    os.environ["_ROS_WHEELS_BOOTSTRAP_COMPLETE"] = "1"  # inherited from a process of another environment
    installed.enter("/overlay")
    assert "_ROS_WHEELS_BOOTSTRAP_COMPLETE" not in os.environ
    assert os.environ["AMENT_PREFIX_PATH"] == f"/overlay:{sys.prefix}"
    assert not starts
