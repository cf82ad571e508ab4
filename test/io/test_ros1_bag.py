"""ROS 1 bags: read as they are, also compressed, without an index, cut off, or encrypted."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from bag_recordings import (
    ALL,
    TYPES,
    as_ros1,
    camera_topics,
    check,
    compressed_image,
    header,
    noise,
    noise_topics,
    ros_pose,
    stamp,
    typesys,
    write_channel,
    write_mcap,
    write_ros1,
)
from recordings import K, pose

from ros_matching.errors import SourceError
from ros_matching.io import open_source


@pytest.mark.parametrize("compression", ["", "BZ2", "LZ4"])
def test_images_calibration_and_ground_truth(compression: str, tmp_path: Path) -> None:
    poses = [TYPES.PoseStamped(header(stamp(index), "map"), ros_pose(pose(index))) for index in ALL]
    path = write_ros1(tmp_path / "drive.bag", camera_topics(**{"/truth": poses}), compression)
    source = open_source(path, ground_truth_topic="/truth")
    assert source.name == "drive"
    np.testing.assert_array_equal(source.camera.matrix, K)
    check(source, ALL)
    np.testing.assert_allclose(
        [frame.true_world_from_camera for frame in source], [pose(index) for index in ALL], atol=1e-12
    )
    check(open_source(path, start=1, stride=2), [1, 3])


def test_compressed_images_and_a_folder_of_the_bag(tmp_path: Path) -> None:
    topics = {
        "/cam/image_raw/compressed": [compressed_image(index, stamp(index)) for index in ALL],
        "/cam/camera_info": camera_topics()["/cam/camera_info"],
    }
    write_ros1(tmp_path / "drive.bag", topics)
    check(open_source(tmp_path), ALL)


def test_ros1_messages_in_mcap(tmp_path: Path) -> None:
    """As ``mcap convert`` makes it of a bag."""
    pytest.importorskip("zstandard")
    store = typesys.get_typestore(typesys.Stores.ROS1_NOETIC)

    def channels(writer) -> None:
        for topic, messages in camera_topics().items():
            kind = messages[0].__msgtype__
            text = store.generate_msgdef(kind, ros_version=1)[0].encode()
            data = [bytes(store.serialize_ros1(as_ros1(store, message), kind)) for message in messages]
            write_channel(writer, topic, kind.replace("/msg/", "/"), ("ros1msg", text), "ros1", data)

    source = open_source(write_mcap(tmp_path / "drive.mcap", {}, profile="ros1", before=channels))
    check(source, ALL)
    np.testing.assert_array_equal(source.camera.matrix, K)


def test_a_bag_next_to_a_data_set_is_ignored(tmp_path: Path) -> None:
    write_ros1(tmp_path / "drive.bag", camera_topics())
    (tmp_path / "mav0").mkdir()
    with pytest.raises(SourceError, match="no known format"):
        open_source(tmp_path)


def long_bag(path: Path) -> bytes:
    return write_ros1(path, noise_topics(400)).read_bytes()


@pytest.mark.parametrize("fraction", [0.4, 0.8])
def test_a_recording_that_was_cut_off_is_read_up_to_the_cut(fraction: float, tmp_path: Path) -> None:
    path = tmp_path / "drive.bag.active"
    data = bytearray(long_bag(tmp_path / "whole.bag"))
    at = data.index(b"index_pos=") + len("index_pos=")
    data[at : at + 8] = bytes(8)  # as it is while recording
    path.write_bytes(data[: int(fraction * len(data))])
    source = open_source(path)
    frames = list(source)
    assert 400 * fraction - 10 < len(frames) < 400
    assert [frame.index for frame in frames] == list(range(len(frames)))
    assert all((frame.image == noise(frame.index)).all() for frame in frames[::40])
    assert "cut off" in source.faults[-1].reason


def test_an_encrypted_bag(tmp_path: Path) -> None:
    data = long_bag(tmp_path / "whole.bag")
    field = b"encryptor=rosbag/AesCbcEncryptor"
    length = int.from_bytes(data[13:17], "little")
    size = (length + 4 + len(field)).to_bytes(4, "little")
    (tmp_path / "drive.bag").write_bytes(
        data[:13] + size + data[17 : 17 + length] + len(field).to_bytes(4, "little") + field + data[17 + length :]
    )
    with pytest.raises(SourceError, match="encrypted"):
        open_source(tmp_path / "drive.bag")
