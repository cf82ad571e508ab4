"""Output files: complete or as they were before."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from ros_matching.atomic_file import atomic_path, output_path, write_atomic


def test_content_replaces_the_earlier_file_and_makes_its_folder(tmp_path: Path) -> None:
    file = tmp_path / "new" / "folder" / "a.txt"
    write_atomic(file, "first")
    write_atomic(file, b"second")
    assert file.read_text() == "second"
    assert list(file.parent.iterdir()) == [file]


def test_an_error_while_writing_leaves_the_earlier_file(tmp_path: Path) -> None:
    file = tmp_path / "a.ply"
    file.write_text("good")
    with pytest.raises(TypeError), atomic_path(file) as temporary:
        temporary.write_text("half") + None
    assert file.read_text() == "good"
    assert list(tmp_path.iterdir()) == [file]


def test_a_full_disk_leaves_the_earlier_file(tmp_path: Path) -> None:
    # A limit on the size of files fails in the same call as a full disk does: in write.
    file = tmp_path / "a.bin"
    file.write_bytes(b"good")
    code = (
        "import resource, signal, sys\n"
        "from ros_matching.atomic_file import write_atomic\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))\n"
        "try:\n"
        "    write_atomic(sys.argv[1], bytes(100_000))\n"
        "except OSError:\n"
        "    sys.exit(7)\n"
    )
    done = subprocess.run([sys.executable, "-c", code, str(file)], check=False)
    assert done.returncode == 7
    assert file.read_bytes() == b"good"
    assert list(tmp_path.iterdir()) == [file]


def test_a_killed_process_leaves_the_earlier_file(tmp_path: Path) -> None:
    file = tmp_path / "a.bin"
    file.write_bytes(b"good")
    code = (
        "import os, signal, sys\n"
        "from ros_matching.atomic_file import atomic_path\n"
        "with atomic_path(sys.argv[1]) as temporary:\n"
        "    temporary.write_bytes(b'half')\n"
        "    os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    subprocess.run([sys.executable, "-c", code, str(file)], check=False)
    assert file.read_bytes() == b"good"


def test_a_link_stays_a_link_and_a_mode_is_kept(tmp_path: Path) -> None:
    target, link = tmp_path / "target.txt", tmp_path / "link.txt"
    target.write_text("old")
    target.chmod(0o640)
    link.symlink_to(target)
    write_atomic(link, "new")
    assert link.is_symlink()
    assert target.read_text() == "new"
    assert target.stat().st_mode & 0o777 == 0o640


def test_a_new_file_has_the_mode_that_the_umask_gives(tmp_path: Path) -> None:
    ordinary = tmp_path / "ordinary"
    ordinary.touch()
    write_atomic(tmp_path / "atomic", "")
    assert (tmp_path / "atomic").stat().st_mode == ordinary.stat().st_mode


def test_a_pipe_is_written_in_place(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    read: list[bytes] = []
    reader = threading.Thread(target=lambda: read.append(pipe.read_bytes()))
    reader.start()
    write_atomic(pipe, b"content")
    reader.join()
    assert read == [b"content"]
    assert pipe.is_fifo()


def test_paths_that_no_file_can_have_are_os_errors(tmp_path: Path) -> None:
    loop, back = tmp_path / "loop", tmp_path / "back"
    loop.symlink_to(back)
    back.symlink_to(loop)
    for path in ("~nosuchuser/t.tum", str(loop), str(loop / "t.tum"), str(tmp_path), "a\0b", "x" * 5000):
        with pytest.raises(OSError), atomic_path(path) as temporary:
            temporary.write_text("")


def test_a_home_folder_is_expanded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    assert output_path("~/maps/a.ply") == tmp_path.resolve() / "maps" / "a.ply"
