"""Masks of vo_node by file and by topic, and on their way to mapping_node."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("rclpy", reason="needs ROS 2 (rclpy)")
pytest.importorskip("ros_matching.msg", reason="needs the built messages of this package (make build)")

from diagnostic_msgs.msg import DiagnosticStatus
from mapping_peer import keyframe
from node_peer import wait_until
from sensor_msgs.msg import Image
from vo_peer import CAMERA, CAMERA_FRAME, VoPeer, stamp_ns

from ros_matching.errors import NodeError
from ros_matching.io.images import write_image
from ros_matching.nodes.common.conversions import header_to_msg, image_to_msg
from ros_matching.nodes.common.extrinsics import IDENTITY
from ros_matching.nodes.mapping.messages import keyframe_from_msg
from ros_matching.nodes.vo.messages import keyframe_to_msg

pytestmark = pytest.mark.ros


def mask(first_row: int) -> np.ndarray:
    """A mask (H, W) uint8 that excludes the rows before."""
    image = np.full((CAMERA.height, CAMERA.width), 255, np.uint8)
    image[:first_row] = 0
    return image


def mask_msg(number: int, image: np.ndarray) -> Image:
    return image_to_msg(image, header_to_msg(stamp_ns(number), CAMERA_FRAME), "mono8")


def publisher(peer: VoPeer):
    created = peer.create_publisher(Image, "mask", 10)
    wait_until(created.get_subscription_count, "vo_node does not listen to mask")
    return created


def test_a_file_and_the_topic_exclude_parts_of_the_images(start_vo, tmp_path: Path) -> None:
    write_image(tmp_path / "body.png", np.repeat(mask(10)[..., None], 3, axis=2)[::-1])  # the last rows
    _, tracker, peer = start_vo(mask_file=str(tmp_path / "body.png"), mask_wait_s=1.0)
    peer.send_frame(0)
    expected = mask(10)[::-1] > 0
    np.testing.assert_array_equal(tracker.frames[0].mask, expected)
    masks = publisher(peer)
    masks.publish(mask_msg(1, mask(7)))
    wait_until(lambda: peer.send_frame(len(tracker.frames)) and not tracker.frames[-1].mask[0].any())
    np.testing.assert_array_equal(tracker.frames[-1].mask, expected & (mask(7) > 0))


def test_without_masks_the_whole_image_is_used(start_vo) -> None:
    _, tracker, peer = start_vo()
    peer.send_frame(0)
    assert tracker.frames[0].mask is None


def test_a_mask_of_another_size_is_reported_and_the_image_used(start_vo) -> None:
    _, tracker, peer = start_vo(mask_wait_s=0.5)
    masks = publisher(peer)
    for number in range(3):  # the first message to a subscriber that is just found may be lost
        masks.publish(mask_msg(number, mask(7)[:20]))
        peer.send_frame(number)
    diagnosis = peer.diagnosis("a mask cannot be used")
    assert diagnosis.level == DiagnosticStatus.WARN
    assert f"{CAMERA.width}x{CAMERA.height}" in diagnosis.message
    assert all(frame.mask is None for frame in tracker.frames)


def test_a_missing_file_keeps_the_node_from_starting(start_vo, capfd) -> None:
    with pytest.raises(AssertionError):
        start_vo(mask_file="/nowhere/mask.png")
    assert "mask_file /nowhere/mask.png is not a file" in capfd.readouterr().err


def test_mapping_gets_the_mask_with_the_keyframe() -> None:
    whole = keyframe(1)
    masked = replace(whole, frame=replace(whole.frame, mask=mask(9) > 0))
    for sent in (whole, masked):
        received = keyframe_from_msg(keyframe_to_msg(sent, IDENTITY, "odom", CAMERA_FRAME))
        np.testing.assert_array_equal(received.frame.image, sent.frame.image)
        assert (received.frame.mask is None) == (sent.frame.mask is None)
    np.testing.assert_array_equal(received.frame.mask, masked.frame.mask)


def test_a_mask_in_an_image_with_padded_or_short_rows() -> None:
    masked = keyframe(1)
    masked = replace(masked, frame=replace(masked.frame, mask=mask(9) > 0))
    msg = keyframe_to_msg(masked, IDENTITY, "odom", CAMERA_FRAME)
    rows = np.frombuffer(msg.image.data, np.uint8).reshape(CAMERA.height, 4 * CAMERA.width)
    padded = np.pad(rows, ((0, 0), (0, 5)))
    msg.image.step, msg.image.data = padded.shape[1], padded.tobytes()
    np.testing.assert_array_equal(keyframe_from_msg(msg).frame.mask, masked.frame.mask)
    msg.image.data = padded.tobytes()[:-100]
    with pytest.raises(NodeError):
        keyframe_from_msg(msg)
