"""Recognition of formats, selection of frames, and errors."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from recordings import K, folder, matrix_text, write

from ros_matching.datatypes import Frame
from ros_matching.errors import CalibrationError, SourceError
from ros_matching.io import open_source
from ros_matching.io.source import select_frames


def test_an_unknown_folder_lists_expected_and_found_files(tmp_path: Path) -> None:
    write(tmp_path / "notes.txt", "")
    (tmp_path / "sub").mkdir()
    with pytest.raises(SourceError) as caught:
        open_source(tmp_path)
    message = str(caught.value)
    for expected in ("KITTI", "TUM", "EuRoC", "7-Scenes", "bag", "video", "K.txt", "Found: notes.txt, sub/"):
        assert expected in message


def test_an_empty_folder_and_an_unknown_file(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="an empty folder"):
        open_source(tmp_path)
    write(tmp_path / "data.bin", "12345")
    with pytest.raises(SourceError, match="a file of 5 bytes"):
        open_source(tmp_path / "data.bin")
    with pytest.raises(SourceError, match="there is no file or folder"):
        open_source(tmp_path / "none")
    with pytest.raises(SourceError, match="given by its folder"):
        open_source(tmp_path / "img%04d.png")


@pytest.mark.parametrize(
    ("start", "stop", "stride", "expected"),
    [(0, None, 1, [0, 1, 2, 3]), (1, None, 2, [1, 3]), (0, 3, 2, [0, 2]), (2, 99, 1, [2, 3]), (-2, None, 1, [2, 3])],
)
def test_frames_are_selected_as_by_a_slice(start, stop, stride, expected, tmp_path: Path) -> None:
    source = open_source(folder(tmp_path), start=start, stop=stop, stride=stride)
    frames = list(source)
    assert [frame.index for frame in frames] == expected
    assert len(source) == len(expected)
    assert [frame.stamp_ns for frame in frames] == [10**9 + round(index * 1e9 / 30) for index in expected]


def test_skipped_images_are_not_read(tmp_path: Path) -> None:
    path = folder(tmp_path) / "images" / "00001.png"
    path.write_bytes(b"broken")
    assert [frame.index for frame in open_source(tmp_path, stride=2)] == [0, 2]


def test_a_selection_of_nothing_is_an_error(tmp_path: Path) -> None:
    folder(tmp_path)
    with pytest.raises(SourceError, match="start=7"):
        open_source(tmp_path, start=7)
    with pytest.raises(SourceError, match="stride must be at least 1"):
        open_source(tmp_path, stride=0)


def test_any_source_can_be_reduced(tmp_path: Path) -> None:
    class Plain:
        """A source that knows nothing of selection."""

        def __init__(self) -> None:
            self.frames: list[Frame] = list(open_source(folder(tmp_path)))
            self.name, self.camera = "plain", self.frames[0].camera

        def __len__(self) -> int:
            return len(self.frames)

        def __iter__(self):
            return iter(self.frames)

    source = select_frames(Plain(), 1, None, 2)
    assert ([frame.index for frame in source], len(source), source.name) == ([1, 3], 2, "plain")
    assert source.camera.width == 48


def test_arguments_may_be_written_behind_the_path(tmp_path: Path) -> None:
    folder(tmp_path)
    write(tmp_path / "other.txt", matrix_text(K * [[2, 0, 1], [0, 2, 1], [0, 0, 1]]))
    source = open_source(f"{tmp_path}?start=1&fps=10&calibration={tmp_path / 'other.txt'}", stride=2)
    assert [(frame.index, frame.stamp_ns) for frame in source] == [(1, 1_100_000_000), (3, 1_300_000_000)]
    assert source.camera.fx == 80


@pytest.mark.parametrize(
    ("query", "expected"),
    [("colour=1", "no setting 'colour'; it has: start"), ("start=one", "expected start to be of type int, got 'one'")],
)
def test_wrong_arguments_behind_the_path(query: str, expected: str, tmp_path: Path) -> None:
    with pytest.raises(SourceError, match=expected):
        open_source(f"{folder(tmp_path)}?{query}")


def test_an_argument_that_a_format_does_not_take_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match=r"\(image folder\) does not take topic; it takes calibration, fps"):
        open_source(folder(tmp_path), topic="/image")
    with pytest.raises(SourceError, match="takes its settings behind its name"):
        open_source("scene:room", fps=3)
    with pytest.raises(SourceError, match="expected a frame rate"):
        open_source(tmp_path, fps=0)


def test_a_given_calibration_replaces_that_of_the_recording(tmp_path: Path) -> None:
    folder(tmp_path / "walk")
    write(tmp_path / "mine.txt", matrix_text(K + np.diag([5.0, 5.0, 0.0])))
    assert open_source(tmp_path / "walk", calibration=tmp_path / "mine.txt").camera.fx == 45
    with pytest.raises(CalibrationError, match="there is no calibration file"):
        open_source(tmp_path / "walk", calibration=tmp_path / "none.txt")


def test_rendered_scenes_are_sources_too() -> None:
    pytest.importorskip("torch")
    source = open_source("scene:room?frames=4&width=32&height=24", start=1, stride=2)
    frames = list(source)
    assert [frame.index for frame in frames] == [1, 3]
    assert frames[0].image.shape == (24, 32, 3)
    assert np.isfinite(frames[0].depth).all()


def test_importing_io_is_cheap() -> None:
    """The command line imports it for every subcommand: nothing heavy may come along."""
    heavy = ("cv2", "torch", "rosbags", "yaml", "scipy")
    code = f"import sys, ros_matching.io; print([name for name in {heavy} if name in sys.modules])"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert loaded.strip() == "[]"


def test_a_former_option_is_taken_with_a_warning(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    folder(tmp_path)
    with pytest.raises(SourceError, match="ground_truth_topic"):
        open_source(f"{tmp_path}?truth_topic=/pose")
    assert "deprecated" in caplog.text
