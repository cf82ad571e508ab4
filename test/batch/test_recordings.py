"""Recordings of a batch: lists, patterns, options behind a path, and unique names."""

from __future__ import annotations

from pathlib import Path

import pytest

from ros_matching.batch.recordings import find_recordings
from ros_matching.errors import SourceError


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two sessions with a bag of the same name each, and one more bag."""
    for name in ("a/drive.mcap", "b/drive.mcap", "b/hall.mcap"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    return tmp_path


def test_a_pattern_finds_its_matches_in_order_and_passes_its_options_on(folder: Path) -> None:
    found = find_recordings([f"{folder}/*/*.mcap?stride=2"])
    assert [recording.source for recording in found] == [
        f"{folder}/{name}?stride=2" for name in ("a/drive.mcap", "b/drive.mcap", "b/hall.mcap")
    ]
    assert [recording.name for recording in found] == ["a_drive", "b_drive", "hall"]


def test_the_paths_of_a_list_are_relative_to_it(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir("/")
    file = folder / "list.txt"
    file.write_text("# two recordings\na/drive.mcap?start=5\n\nscene:room?frames=3&seed=1\n/data/x\n")
    sources = [recording.source for recording in find_recordings([str(file)])]
    assert sources == [f"{folder}/a/drive.mcap?start=5", "scene:room?frames=3&seed=1", "/data/x"]


def test_names_are_unique_file_names() -> None:
    sources = [
        "/a/x/run",
        "/b/x/run",
        "/b/x/run?stride=2",
        "/b/x/run?stride=3",
        "scene:room?seed=1",
        "scene:room?seed=2",
    ]
    names = [recording.name for recording in find_recordings([*sources, sources[0]])]
    assert len(names) == len(sources) == len({name.lower() for name in names})
    assert all(Path(name).name == name and not name.startswith(".") for name in names)


def test_names_that_differ_only_in_case_or_in_odd_characters_are_unique() -> None:
    names = [recording.name for recording in find_recordings(["/Run", "/run", "/r un", "/r:un"])]
    assert len({name.lower() for name in names}) == len(names)


def test_nothing_found_is_an_error_with_the_remedy(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="nothing matches"):
        find_recordings([f"{tmp_path}/*.mcap"])
    (tmp_path / "empty.txt").write_text("# nothing\n")
    with pytest.raises(SourceError, match="a source per line"):
        find_recordings([f"{tmp_path}/empty.txt"])
