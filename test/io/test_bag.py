"""ROS 2 bags, written here by rosbags in both storage formats, with known images, calibration and ground truth."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from bag_recordings import (
    COUNT,
    STORAGES,
    STORE,
    TYPES,
    camera_info,
    camera_topics,
    check,
    compressed_image,
    header,
    raw_image,
    ros_pose,
    ros_transform,
    rosbag2,
    stamp,
    write_bag,
)
from recordings import K, image, pose

from ros_matching.errors import CalibrationError, SourceError
from ros_matching.geometry.se3 import exp_so3, invert, pose_from
from ros_matching.io import open_source


@pytest.mark.parametrize("storage", STORAGES)
@pytest.mark.parametrize("make", [raw_image, compressed_image])
def test_images_stamps_and_calibration(storage, make, tmp_path: Path) -> None:
    topic = "/cam/image_raw" if make is raw_image else "/cam/image_raw/compressed"
    topics = {topic: [make(index, stamp(index)) for index in range(COUNT)], "/cam/camera_info": [camera_info(0)]}
    path = write_bag(tmp_path / "drive", topics, storage)
    source = open_source(path)
    assert source.name == "drive"
    np.testing.assert_array_equal(source.camera.matrix, K)
    for _ in range(2):
        check(source, list(range(COUNT)))
    check(open_source(path, start=1, stride=2), [1, 3])


@pytest.mark.parametrize("storage", STORAGES)
def test_a_storage_file_without_metadata_will_do(storage, tmp_path: Path) -> None:
    path = write_bag(tmp_path / "drive", camera_topics(), storage)
    (path / "metadata.yaml").unlink()
    check(open_source(path), list(range(COUNT)))
    (file,) = path.iterdir()
    check(open_source(file), list(range(COUNT)))


@pytest.mark.parametrize("mode", ["FILE", "MESSAGE"])
def test_compressed_bags(mode: str, tmp_path: Path) -> None:
    storage = rosbag2.StoragePlugin.SQLITE3
    writer = rosbag2.Writer(tmp_path / "drive", version=9, storage_plugin=storage)
    writer.set_compression(getattr(rosbag2.CompressionMode, mode), rosbag2.CompressionFormat.ZSTD)
    with writer:
        for topic, messages in camera_topics().items():
            kind = messages[0].__msgtype__
            connection = writer.add_connection(topic, kind, typestore=STORE)
            for index, message in enumerate(messages):
                writer.write(connection, stamp(index), STORE.serialize_cdr(message, kind))
    check(open_source(tmp_path / "drive"), list(range(COUNT)))


def test_a_stamp_of_zero_is_replaced_by_the_time_of_recording(tmp_path: Path) -> None:
    topics = camera_topics() | {"/cam/image_raw": [raw_image(index, 0) for index in range(COUNT)]}
    stamps_ns = [frame.stamp_ns for frame in open_source(write_bag(tmp_path / "drive", topics))]
    assert stamps_ns == [stamp(index) + 1_000_000 for index in range(COUNT)]


def test_the_topic_is_chosen_or_required(tmp_path: Path) -> None:
    right = [raw_image(index + 10, stamp(index)) for index in range(COUNT)]
    path = write_bag(tmp_path / "drive", camera_topics(**{"/right/image_raw": right}))
    with pytest.raises(SourceError, match=r"several image topics: choose one by topic=.*/cam/image_raw \(sensor_msgs/"):
        open_source(path)
    check(open_source(path, topic="/cam/image_raw"), list(range(COUNT)))
    check(open_source(f"{path}?topic=cam/image_raw"), list(range(COUNT)))
    # The only CameraInfo is taken for the other camera too.
    assert next(iter(open_source(path, topic="/right/image_raw"))).image[0, 0, 0] == image(10)[0, 0, 0]
    with pytest.raises(SourceError, match=r"no images on /left.*/right/image_raw \(sensor_msgs"):
        open_source(path, topic="/left")


def test_raw_images_go_before_compressed_ones_and_depth_is_no_colour(tmp_path: Path) -> None:
    more = {
        "/cam/image_raw/compressed": [compressed_image(index + 9, stamp(index)) for index in range(COUNT)],
        "/cam/depth/image": [raw_image(index, stamp(index), "16UC1") for index in range(COUNT)],
    }
    path = write_bag(tmp_path / "drive", camera_topics(**more))
    check(open_source(path), list(range(COUNT)))
    assert next(iter(open_source(path, topic="/cam/image_raw/compressed"))).image[0, 0, 0] == image(9)[0, 0, 0]


def test_rectified_images_are_of_the_projection_matrix(tmp_path: Path) -> None:
    topics = camera_topics()
    topics["/cam/image_rect"] = topics.pop("/cam/image_raw")
    assert open_source(write_bag(tmp_path / "drive", topics)).camera.fx == 2 * K[0, 0]


def test_without_calibration(tmp_path: Path) -> None:
    topics = camera_topics()
    del topics["/cam/camera_info"]
    path = write_bag(tmp_path / "drive", topics)
    with pytest.raises(CalibrationError, match=r"no CameraInfo on /cam/camera_info .*Give calibration=PATH"):
        open_source(path)
    (tmp_path / "K.txt").write_text("50 0 20\n0 50 20\n0 0 1\n")
    assert open_source(path, calibration=tmp_path / "K.txt").camera.fx == 50


def test_a_camera_that_is_not_calibrated(tmp_path: Path) -> None:
    topics = camera_topics() | {"/cam/camera_info": [camera_info(0, np.zeros((3, 3)))]}
    with pytest.raises(CalibrationError, match="CameraInfo on /cam/camera_info: K is all zero"):
        open_source(write_bag(tmp_path / "drive", topics))


def test_images_that_cannot_be_used_are_skipped_and_named(tmp_path: Path) -> None:
    topics = camera_topics()
    topics["/cam/image_raw"][0] = raw_image(0, stamp(0), "12UC1")
    topics["/cam/image_raw"][3] = raw_image(3, stamp(3), "64FC2")
    source = open_source(write_bag(tmp_path / "a", topics))
    check(source, [1, 2, 4], count=COUNT)
    assert [fault.index for fault in source.faults] == [0, 3]
    assert "image 3 of /cam/image_raw" in source.faults[1].reason
    assert "'64FC2' is not supported" in source.faults[1].reason
    topics["/cam/image_raw"] = [raw_image(0, stamp(0), "12UC1")]
    with pytest.raises(SourceError, match=r"no image on /cam/image_raw can be decoded.*'12UC1'"):
        open_source(write_bag(tmp_path / "b", topics))


def test_an_image_of_another_size_and_stamps_out_of_order_are_skipped(tmp_path: Path) -> None:
    topics = camera_topics()
    images = topics["/cam/image_raw"]
    images[1].width //= 2
    images[3] = raw_image(3, stamp(0))
    source = open_source(write_bag(tmp_path / "drive", topics))
    check(source, [0, 2, 4], count=COUNT)
    assert [fault.index for fault in source.faults] == [1, 3]


def test_bags_without_images(tmp_path: Path) -> None:
    path = write_bag(tmp_path / "drive", {"/cam/camera_info": [camera_info(0)]})
    with pytest.raises(SourceError, match=r"no image topic.*/cam/camera_info \(sensor_msgs/msg/CameraInfo\)"):
        open_source(path)


class TestGroundTruth:
    BASE_FROM_CAMERA = pose_from(exp_so3(np.array([-1.2, 1.2, -1.2])), np.array([0.3, 0.1, 0.5]))

    def poses(self, path: Path, messages: list[Any], **more: list[Any]) -> list[np.ndarray | None]:
        bag = write_bag(path / "drive", camera_topics(**{"/truth": messages}, **more))
        return [frame.true_world_from_camera for frame in open_source(bag, ground_truth_topic="/truth")]

    def test_poses_of_the_camera(self, tmp_path: Path) -> None:
        messages = [TYPES.PoseStamped(header(stamp(index), "map"), ros_pose(pose(index))) for index in range(COUNT - 1)]
        poses = self.poses(tmp_path, messages)
        np.testing.assert_allclose(poses[:-1], [pose(index) for index in range(COUNT - 1)], atol=1e-12)
        assert poses[-1] is None

    def odometry(self) -> list[Any]:
        twist = TYPES.TwistWithCovariance(TYPES.Twist(TYPES.Vector3(0, 0, 0), TYPES.Vector3(0, 0, 0)), np.zeros(36))
        base_poses = [pose(index) @ invert(self.BASE_FROM_CAMERA) for index in range(COUNT)]
        return [
            TYPES.Odometry(
                header(stamp(index), "odom"), "base_link", TYPES.PoseWithCovariance(ros_pose(base), np.zeros(36)), twist
            )
            for index, base in enumerate(base_poses)
        ]

    def test_odometry_of_the_robot_is_moved_to_the_camera(self, tmp_path: Path) -> None:
        base_from_mast = pose_from(np.eye(3), np.array([0, 0, 0.4]))
        links = [
            ros_transform(base_from_mast, "base_link", "mast"),
            ros_transform(invert(base_from_mast) @ self.BASE_FROM_CAMERA, "/mast", "camera_optical"),
        ]
        poses = self.poses(tmp_path, self.odometry(), **{"/tf_static": [TYPES.TFMessage(links)]})
        np.testing.assert_allclose(poses, [pose(index) for index in range(COUNT)], atol=1e-12)

    def test_a_frame_that_is_not_tied_to_the_camera_is_said(self, tmp_path: Path, caplog) -> None:
        with caplog.at_level(logging.WARNING):
            poses = self.poses(tmp_path, self.odometry())
        assert "base_link, which /tf_static does not tie to the camera's (camera_optical)" in caplog.text
        np.testing.assert_allclose(poses[2], pose(2) @ invert(self.BASE_FROM_CAMERA), atol=1e-12)

    def test_transforms(self, tmp_path: Path) -> None:
        messages = [ros_transform(pose(index), "map", "camera_optical", stamp(index)) for index in range(COUNT)]
        np.testing.assert_allclose(self.poses(tmp_path, messages), [pose(index) for index in range(COUNT)], atol=1e-12)

    def test_a_pose_that_cannot_be_used_is_left_out(self, tmp_path: Path, caplog) -> None:
        messages = [TYPES.PoseStamped(header(stamp(index), "map"), ros_pose(pose(index))) for index in range(COUNT)]
        messages[1].pose.orientation = TYPES.Quaternion(0, 0, 0, 0)
        poses = self.poses(tmp_path, messages)
        assert "1 true poses are left out; the first: /truth, message 1" in caplog.text
        np.testing.assert_allclose(poses[2:], [pose(index) for index in range(2, COUNT)], atol=1e-12)

    def test_other_topics_are_no_ground_truth(self, tmp_path: Path) -> None:
        path = write_bag(tmp_path / "drive", camera_topics())
        with pytest.raises(SourceError, match="ground-truth topic"):
            open_source(path, ground_truth_topic="/cam/image_raw")
        with pytest.raises(SourceError, match=r"no messages on /truth; it has /cam/camera_info"):
            open_source(path, ground_truth_topic="/truth")
        zero = TYPES.Pose(TYPES.Point(0, 0, 0), TYPES.Quaternion(0, 0, 0, 0))
        with pytest.raises(SourceError, match="/truth, message 0: expected a finite position and unit quaternion"):
            self.poses(tmp_path / "zero", [TYPES.PoseStamped(header(0), zero)])
