"""Video files: frames, stamps, calibration beside them, and files that are broken."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
from recordings import K, colour, image, matrix_text, write

from ros_matching.errors import CalibrationError, SourceError
from ros_matching.io import open_source

COUNT = 12
SIZE = (64, 48)


def video(path: Path, count: int = COUNT, fps: float = 20.0) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*"MJPG"), fps, SIZE)
    if not writer.isOpened():
        pytest.skip("this OpenCV cannot write videos")
    for index in range(count):
        writer.write(image(index, *SIZE)[..., ::-1])
    writer.release()
    write(path.with_name("K.txt"), matrix_text(K))
    return path


def test_frames_in_order_with_even_stamps(tmp_path: Path) -> None:
    source = open_source(video(tmp_path / "drive.avi"))
    assert (source.name, len(source), source.camera.width) == ("drive", COUNT, 64)
    for _ in range(2):
        frames = list(source)
        assert [frame.stamp_ns for frame in frames] == [10**9 + 50_000_000 * index for index in range(COUNT)]
        for index, frame in enumerate(frames):
            assert np.abs(frame.image.mean(axis=(0, 1)) - colour(index)).max() < 4  # JPEG rounds


def test_selected_frames(tmp_path: Path) -> None:
    source = open_source(video(tmp_path / "drive.avi"), start=2, stop=9, stride=3, fps=10)
    frames = list(source)
    assert [frame.index for frame in frames] == [2, 5, 8]
    assert [frame.stamp_ns for frame in frames] == [1_200_000_000, 1_500_000_000, 1_800_000_000]
    for frame in frames:
        assert np.abs(frame.image.mean(axis=(0, 1)) - colour(frame.index)).max() < 4
    again = open_source(f"{tmp_path / 'drive.avi'}?start=2&stride=3", start=1, stop=3)
    assert [frame.index for frame in again] == [5, 8]


def test_the_calibration_of_the_video_goes_before_that_of_the_folder(tmp_path: Path) -> None:
    path = video(tmp_path / "drive.avi")
    write(tmp_path / "drive.K.txt", matrix_text(K * [[1.5], [1], [1]] - [[0, 0, 10], [0, 0, 0], [0, 0, 0]]))
    assert open_source(path).camera.fx == 60
    (tmp_path / "drive.K.txt").unlink()
    assert open_source(path).camera.fx == 40
    (tmp_path / "K.txt").unlink()
    with pytest.raises(CalibrationError, match=r"expected one of drive\.yaml.*K\.txt"):
        open_source(path)


@pytest.mark.parametrize("share", [0.0, 0.01])
def test_a_file_without_frames_is_refused(share: float, tmp_path: Path) -> None:
    path = video(tmp_path / "drive.avi")
    data = path.read_bytes()
    path.write_bytes(data[: int(share * len(data))])
    with pytest.raises(SourceError, match=r"drive.avi (cannot be opened as a video|holds no frame)"):
        open_source(path)


def test_a_file_that_is_cut_off_is_noticed(tmp_path: Path) -> None:
    path = video(tmp_path / "drive.avi", count=60)
    data = path.read_bytes()
    path.write_bytes(data[: len(data) // 2])
    with pytest.raises(SourceError, match=r"drive\.avi"):
        list(open_source(path))
