from __future__ import annotations

import argparse
import os
import resource
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import pytest

import ros_matching
from ros_matching.cli.main import COMMANDS, main, make_parser
from ros_matching.errors import SourceError

REPOSITORY = Path(__file__).resolve().parents[2]
HEAVY = {"cv2", "evo", "matplotlib", "numpy", "rclpy", "rosbags", "scipy", "torch", "tqdm"}


def python(*arguments: str, stdout: int = subprocess.PIPE) -> subprocess.CompletedProcess[str]:
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(REPOSITORY), os.environ.get("PYTHONPATH", "")])}
    return subprocess.run(
        [sys.executable, *arguments],
        env=environment,
        stdout=stdout,
        stderr=subprocess.PIPE,
        text=True,
        timeout=60,
        check=False,
    )


@pytest.fixture
def failing_command(monkeypatch):
    """A function that makes ``ros-matching track`` raise what it is given."""

    def arm(error: BaseException) -> None:
        def run(args: argparse.Namespace) -> int:
            raise error

        monkeypatch.setattr(import_module("ros_matching.cli.track"), "run", run)

    return arm


def test_version(capsys):
    with pytest.raises(SystemExit) as exit_info:
        main(["--version"])
    assert exit_info.value.code == 0
    assert capsys.readouterr().out == f"ros-matching {ros_matching.__version__}\n"


def test_help_names_every_command(capsys):
    with pytest.raises(SystemExit) as exit_info:
        main(["--help"])
    assert exit_info.value.code == 0
    text = capsys.readouterr().out
    assert all(command in text for command in COMMANDS)


def test_no_command_is_a_usage_error(capsys):
    with pytest.raises(SystemExit) as exit_info:
        main([])
    assert exit_info.value.code == 2
    assert "COMMAND" in capsys.readouterr().err


def test_the_parser_loads_nothing_heavy():
    result = python(
        "-c",
        f"""
import sys
before = set(sys.modules)
from ros_matching.cli.main import make_parser
make_parser()
print(*sorted({HEAVY!r} & (set(sys.modules) - before)))
""",
    )
    assert result.returncode == 0, result.stderr
    assert result.stdout.split() == []


def test_help_comes_at_once():
    durations = []  # in time of the processor, of which a busy machine does not take more
    for _ in range(3):
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        assert python("-m", "ros_matching.cli.main", "--help").returncode == 0
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        durations.append(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
    assert min(durations) < 1.0


def test_every_command_has_help_and_debug():
    subparsers = next(a for a in make_parser()._actions if isinstance(a, argparse._SubParsersAction))
    assert tuple(subparsers.choices) == COMMANDS
    for parser in subparsers.choices.values():
        assert "--debug" in parser.format_help()


def test_an_error_is_one_line_and_exit_code_2(failing_command, capsys):
    failing_command(SourceError("no images in /nowhere; expected images/*.jpg"))
    assert main(["track", "/nowhere"]) == 2
    captured = capsys.readouterr()
    assert captured.err == "ros-matching track: no images in /nowhere; expected images/*.jpg\n"
    assert captured.out == ""


def test_an_error_of_the_system_is_one_line_too(failing_command, capsys):
    failing_command(PermissionError(13, "Permission denied", "/root/out"))
    assert main(["track", "x"]) == 2
    assert capsys.readouterr().err == "ros-matching track: [Errno 13] Permission denied: '/root/out'\n"


def test_debug_shows_the_traceback(failing_command):
    failing_command(SourceError("no images"))
    with pytest.raises(SourceError):
        main(["track", "--debug", "/nowhere"])


def test_a_mistake_of_ours_is_not_hidden(failing_command):
    failing_command(ZeroDivisionError())
    with pytest.raises(ZeroDivisionError):
        main(["track", "x"])


def test_ctrl_c_exits_with_130(failing_command, capsys):
    failing_command(KeyboardInterrupt())
    assert main(["track", "x"]) == 130
    assert "interrupted" in capsys.readouterr().err


def test_a_reader_that_goes_away_is_no_error():
    reader, writer = os.pipe()
    os.close(reader)
    result = python("-m", "ros_matching.cli.main", "track", "--list-settings", stdout=writer)
    os.close(writer)
    assert result.returncode == 141
    assert result.stderr == ""
