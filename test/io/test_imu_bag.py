"""The IMU of a bag: its samples, its extrinsics by /tf_static, and the choice among several."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from bag_recordings import START_NS, TYPES, camera_topics, header, ros_transform, write_bag

from ros_matching.errors import SourceError
from ros_matching.geometry.se3 import exp_so3, invert, pose_from
from ros_matching.io import open_source
from ros_matching.io.imu import imu_of

IMU_FROM_CAMERA = pose_from(exp_so3(np.array([0.3, -0.2, 1.0])), np.array([0.1, 0.0, -0.05]))


def imu_message(index: int, frame: str = "imu_link", force: float = 9.5):
    rate, unknown = TYPES.Vector3(0.1, 0.2, 0.3 + index), np.zeros(9)
    orientation = TYPES.Quaternion(0.0, 0.0, 0.0, 1.0)
    stamp_ns = START_NS + index * 5_000_000
    force_xyz = TYPES.Vector3(1.0, 2.0, force)
    return TYPES.Imu(header(stamp_ns, frame), orientation, unknown, rate, unknown, force_xyz, unknown)


def tf_static(*links):
    return [TYPES.TFMessage(list(links))]


def test_samples_and_extrinsics(tmp_path: Path) -> None:
    camera_from_imu = invert(IMU_FROM_CAMERA)
    links = [
        ros_transform(np.eye(4), "base_link", "camera_optical"),
        ros_transform(camera_from_imu, "camera_optical", "imu_link"),
    ]
    messages = [imu_message(row) for row in range(20)]
    bag = write_bag(tmp_path / "bag", camera_topics(**{"/imu": messages, "/tf_static": tf_static(*links)}))
    found = imu_of(open_source(bag))
    assert found.samples.stamps_ns.tolist() == [START_NS + row * 5_000_000 for row in range(20)]
    assert found.samples.gyroscope[3].tolist() == [0.1, 0.2, 3.3]
    assert found.samples.accelerometer[0].tolist() == [1.0, 2.0, 9.5]
    assert np.allclose(found.imu_from_camera, IMU_FROM_CAMERA)
    assert "/imu" in found.origin


def test_samples_that_are_not_finite_are_left_out_and_unknown_extrinsics_stay_unknown(tmp_path: Path) -> None:
    messages = [imu_message(row, force=np.nan if row == 2 else 9.8) for row in range(6)]
    found = imu_of(open_source(write_bag(tmp_path / "bag", camera_topics(**{"/imu": messages}))))
    assert len(found.samples) == 5
    assert found.imu_from_camera is None


def test_of_several_one_must_be_chosen(tmp_path: Path) -> None:
    topics = camera_topics(**{"/imu/a": [imu_message(0)], "/imu/b": [imu_message(1), imu_message(2)]})
    bag = write_bag(tmp_path / "bag", topics)
    with pytest.raises(SourceError, match="imu_topic=NAME"):
        imu_of(open_source(bag))
    assert len(imu_of(open_source(f"{bag}?imu_topic=/imu/b")).samples) == 2
    with pytest.raises(SourceError, match="must be sensor_msgs/msg/Imu"):
        imu_of(open_source(bag, imu_topic=next(iter(camera_topics()))))


def test_a_bag_without_imu_has_none(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="has no IMU"):
        imu_of(open_source(write_bag(tmp_path / "bag", camera_topics())))
