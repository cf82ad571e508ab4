"""Topics of a bag: which images and which calibration are read, by name, option or message."""

from __future__ import annotations

from pathlib import Path

import pytest
from bag_recordings import (
    ALL,
    TYPES,
    camera_info,
    camera_topics,
    check,
    compressed_image,
    header,
    raw_image,
    stamp,
    write_bag,
    write_mcap,
    write_ros1,
)
from recordings import K

from ros_matching.errors import CalibrationError, SourceError
from ros_matching.io import open_source


def topics(images: str, *infos: str) -> dict:
    """Images on a topic, and a CameraInfo on each of some topics: fx is 40 on the first, then 80, 120, ..."""
    make = compressed_image if "compressed" in images else raw_image
    found = {images: [make(index, stamp(index)) for index in ALL]}
    for number, info in enumerate(infos, start=1):
        found[info] = [camera_info(stamp(0), K * [[number], [1], [1]])]
    return found


@pytest.mark.parametrize(
    ("images", "info"),
    [
        ("/cam/image_raw", "/cam/camera_info"),
        ("/cam/image_raw/compressed", "/cam/camera_info"),
        ("/cam/x/compressed", "/cam/x/camera_info"),
        ("/cam/x/compressed", "/cam/camera_info"),
        ("/cam/image_rect_compressed", "/cam/camera_info"),
        ("/cam/image", "/cam/calibration"),
        ("/cam", "/cam/camera_info"),
        ("/image", "/camera_info"),
    ],
)
def test_the_calibration_in_the_namespace_of_the_images(images: str, info: str, tmp_path: Path) -> None:
    source = open_source(
        write_bag(tmp_path / "drive", topics(images, info, "/other/camera_info", "/third/camera_info"))
    )
    assert source.camera.fx == (80 if "rect" in images else 40)
    check(source, ALL)


def test_the_nearest_calibration_precedes(tmp_path: Path) -> None:
    path = write_bag(tmp_path / "drive", topics("/cam/x/compressed", "/cam/x/camera_info", "/cam/camera_info"))
    assert open_source(path).camera.fx == 40


def test_the_topic_of_the_calibration_may_be_given(tmp_path: Path) -> None:
    path = write_bag(tmp_path / "drive", topics("/cam/image_raw", "/cam/camera_info", "/left/info", "/right/info"))
    assert open_source(path, camera_info_topic="/left/info").camera.fx == 80
    assert open_source(f"{path}?camera_info_topic=right/info").camera.fx == 120
    with pytest.raises(CalibrationError, match=r"no CameraInfo on /none.*/cam/camera_info, /left/info, /right/info"):
        open_source(path, camera_info_topic="/none")
    with pytest.raises(SourceError, match="exclude each other"):
        open_source(path, camera_info_topic="/left/info", calibration=tmp_path / "K.txt")


def test_an_ambiguous_calibration_names_the_candidates(tmp_path: Path) -> None:
    path = write_bag(tmp_path / "drive", topics("/cam/image_raw", "/left/camera_info", "/right/camera_info"))
    with pytest.raises(CalibrationError, match=r"camera_info_topic=NAME: /left/camera_info, /right/camera_info"):
        open_source(path)


@pytest.mark.parametrize("write", [write_bag, write_ros1])
def test_the_same_topics_in_ros1_and_ros2(write, tmp_path: Path) -> None:
    path = write(tmp_path / "drive.bag", topics("/cam/x/compressed", "/cam/camera_info", "/other/camera_info"))
    assert open_source(path).camera.fx == 40


def test_depth_is_no_colour(tmp_path: Path) -> None:
    depth = TYPES.CompressedImage(header(stamp(0)), "16UC1; compressedDepth png", raw_image(0, 0).data)
    path = write_bag(tmp_path / "drive", camera_topics(**{"/cam/aligned/image_raw/compressedDepth": [depth]}))
    check(open_source(path), ALL)
    with pytest.raises(SourceError, match="holds depth, not images"):
        open_source(path, topic="/cam/aligned/image_raw/compressedDepth")


def test_theora_is_refused_by_name(tmp_path: Path) -> None:
    def theora(writer) -> None:
        schema = writer.register_schema("theora_image_transport/msg/Packet", "ros2msg", b"uint8[] data\n")
        writer.add_message(writer.register_channel("/cam/image_raw/theora", "cdr", schema), stamp(0), b"\0" * 8, 0)

    pytest.importorskip("zstandard")
    infos = {"/cam/camera_info": [camera_info(stamp(0))]}
    path = write_mcap(tmp_path / "drive.mcap", infos, before=theora)
    for given in (None, "/cam/image_raw/theora"):
        with pytest.raises(SourceError, match=r"Theora.*republish"):
            open_source(path, topic=given)
