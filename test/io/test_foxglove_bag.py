"""Foxglove's images, calibrations and videos in bags: as JSON, Protobuf and ROS 2 messages, H.264 and H.265."""

from __future__ import annotations

import base64
import json
from fractions import Fraction
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from bag_recordings import (
    ALL,
    COUNT,
    TYPES,
    camera_info,
    check,
    header,
    stamp,
    typesys,
    write_channel,
    write_mcap,
)
from recordings import HEIGHT, WIDTH, K, image

from ros_matching.errors import SourceError
from ros_matching.io import open_source

pytest.importorskip("zstandard")

CALIBRATION = {
    "width": WIDTH,
    "height": HEIGHT,
    "distortion_model": "plumb_bob",
    "D": [0.0] * 5,
    "K": K.reshape(-1).tolist(),
}
INFO = {"/cam/camera_info": [camera_info(stamp(0))]}


def png(index: int) -> bytes:
    return cv2.imencode(".png", image(index)[..., ::-1])[1].tobytes()


def json_message(index: int, **fields: Any) -> bytes:
    time = {"sec": stamp(index) // 10**9, "nsec": stamp(index) % 10**9}
    return json.dumps({"timestamp": time, "frame_id": "cam", **fields}).encode()


def text(data: bytes) -> str:
    return base64.b64encode(data).decode()


@pytest.mark.parametrize("kind", ["CompressedImage", "RawImage"])
def test_json(kind: str, tmp_path: Path) -> None:
    def channels(writer) -> None:
        images = [json_message(index, format="png", data=text(png(index))) for index in ALL]
        if kind == "RawImage":
            size = {"width": WIDTH, "height": HEIGHT, "step": WIDTH * 3, "encoding": "rgb8"}
            images = [json_message(index, data=text(image(index).tobytes()), **size) for index in ALL]
        write_channel(writer, "/cam/image", f"foxglove.{kind}", ("jsonschema", b"{}"), "json", images)
        infos = [json_message(0, **CALIBRATION)]
        write_channel(writer, "/cam/calibration", "foxglove.CameraCalibration", ("jsonschema", b"{}"), "json", infos)

    source = open_source(write_mcap(tmp_path / "drive.mcap", {}, profile="", before=channels))
    check(source, ALL)
    np.testing.assert_array_equal(source.camera.matrix, K)


def protobuf_schema() -> tuple[bytes, Any]:
    """The schema of ``foxglove.CompressedImage`` and of ``CameraCalibration`` as its SDK writes it, and a factory."""
    pytest.importorskip("google.protobuf")
    from google.protobuf import descriptor_pb2, descriptor_pool, message_factory, timestamp_pb2

    kinds = descriptor_pb2.FieldDescriptorProto
    fields = {
        "CompressedImage": [("timestamp", 1), ("frame_id", 4), ("data", 2), ("format", 3)],
        "CameraCalibration": [
            ("timestamp", 1), ("frame_id", 9), ("width", 2), ("height", 3),
            ("distortion_model", 4), ("D", 5), ("K", 6), ("R", 7), ("P", 8),
        ],
    }  # fmt: skip
    types = {"data": kinds.TYPE_BYTES, "width": kinds.TYPE_FIXED32, "height": kinds.TYPE_FIXED32}
    file = descriptor_pb2.FileDescriptorProto(name="foxglove.proto", package="foxglove", syntax="proto3")
    file.dependency.append("google/protobuf/timestamp.proto")
    for name, members in fields.items():
        message = file.message_type.add(name=name)
        for field, number in members:
            kind = types.get(field, kinds.TYPE_DOUBLE if len(field) == 1 else kinds.TYPE_STRING)
            label = kinds.LABEL_REPEATED if len(field) == 1 else kinds.LABEL_OPTIONAL
            added = message.field.add(name=field, number=number, type=kind, label=label)
            if field == "timestamp":
                added.type, added.type_name = kinds.TYPE_MESSAGE, ".google.protobuf.Timestamp"
    stamp_file = descriptor_pb2.FileDescriptorProto()
    timestamp_pb2.DESCRIPTOR.CopyToProto(stamp_file)
    pool = descriptor_pool.DescriptorPool()
    pool.Add(stamp_file)
    pool.Add(file)
    schema = descriptor_pb2.FileDescriptorSet(file=[file, stamp_file]).SerializeToString()  # the dependency comes last
    return schema, lambda name: message_factory.GetMessageClass(pool.FindMessageTypeByName(f"foxglove.{name}"))


def test_protobuf(tmp_path: Path) -> None:
    schema, message_class = protobuf_schema()

    def channels(writer) -> None:
        images, infos = [], [message_class("CameraCalibration")(**CALIBRATION).SerializeToString()]
        for index in ALL:
            message = message_class("CompressedImage")(frame_id="cam", data=png(index), format="png")
            message.timestamp.FromNanoseconds(stamp(index))
            images.append(message.SerializeToString())
        kinds = ("foxglove.CompressedImage", "foxglove.CameraCalibration")
        for topic, kind, messages in zip(("/cam/image", "/cam/calibration"), kinds, (images, infos), strict=True):
            write_channel(writer, topic, kind, ("protobuf", schema), "protobuf", messages)

    source = open_source(write_mcap(tmp_path / "drive.mcap", {}, profile="", before=channels))
    check(source, ALL)
    np.testing.assert_array_equal(source.camera.matrix, K)


FIELDS = "builtin_interfaces/Time timestamp\nstring frame_id\nuint8[] data\nstring format\n"
STAMPED = (("timestamp", "builtin_interfaces/msg/Time"), ("frame_id", "string"))


def foxglove_store(kind: str) -> Any:
    store = typesys.get_typestore(typesys.Stores.ROS2_JAZZY)
    store.register(typesys.get_types_from_msg(FIELDS, f"foxglove_msgs/msg/{kind}"))
    return store


def ros_messages(kind: str, format: str, payloads: list[bytes]) -> list[bytes]:
    """Foxglove's messages of ROS 2 in CDR."""
    store = foxglove_store(kind)
    name = f"foxglove_msgs/msg/{kind}"
    messages = []
    for index, payload in enumerate(payloads):
        time = TYPES.Time(sec=stamp(index) // 10**9, nanosec=stamp(index) % 10**9)
        message = store.types[name](time, "cam", np.frombuffer(payload, np.uint8), format)
        messages.append(bytes(store.serialize_cdr(message, name)))
    return messages


@pytest.mark.parametrize("with_definition", [True, False])
def test_ros2_messages(with_definition: bool, tmp_path: Path) -> None:
    definition = FIELDS + "=" * 80 + "\nMSG: builtin_interfaces/Time\nint32 sec\nuint32 nanosec\n"

    def channels(writer) -> None:
        schema = ("ros2msg", definition.encode() if with_definition else b"")
        messages = ros_messages("CompressedImage", "png", [png(index) for index in ALL])
        write_channel(writer, "/cam/image", "foxglove_msgs/msg/CompressedImage", schema, "cdr", messages)

    check(open_source(write_mcap(tmp_path / "drive.mcap", INFO, before=channels)), ALL)


def encoded(codec: str, count: int, gop: int = 8, size: tuple[int, int] = (64, 48)) -> list[bytes]:
    """Packets of a video of one colour an image, one for each image, as cameras stream them: without B frames."""
    av = pytest.importorskip("av")
    try:
        context = av.CodecContext.create(codec, "w")
    except ValueError:
        pytest.skip(f"this PyAV has no {codec}")
    context.width, context.height = size
    context.pix_fmt, context.time_base, context.framerate = "yuv444p", Fraction(1, 30), Fraction(30)
    context.gop_size, context.max_b_frames = gop, 0
    context.options = {
        "tune": "zerolatency",
        "qp": "4",
        "sc_threshold": "0",
        "x265-params": "log-level=none:keyint=8:bframes=0",
    }
    packets = []
    for index in range(count):
        frame = av.VideoFrame.from_ndarray(image(index, *size), "rgb24").reformat(format="yuv444p")
        frame.pts = index
        packets += [bytes(packet) for packet in context.encode(frame)]
    packets += [bytes(packet) for packet in context.encode(None)]
    assert len(packets) == count
    return packets


def video_bag(path: Path, kind: str, format: str, packets: list[bytes]) -> Path:
    def channels(writer) -> None:
        messages = ros_messages(kind, format, packets)
        write_channel(writer, "/cam/video", f"foxglove_msgs/msg/{kind}", ("", b""), "cdr", messages)

    k = camera_info(stamp(0))
    k.width, k.height = 64, 48
    return write_mcap(path / "drive.mcap", {"/cam/camera_info": [k]}, before=channels)


def check_video(source: Any, indices: list[int]) -> None:
    frames = list(source)
    assert [frame.index for frame in frames] == indices
    assert [frame.stamp_ns for frame in frames] == [stamp(index) for index in indices]
    for frame in frames:
        assert np.abs(frame.image.astype(int) - image(frame.index, 64, 48)).max() < 8


@pytest.mark.parametrize(("codec", "format"), [("libx264", "h264"), ("libx265", "h265")])
def test_compressed_video(codec: str, format: str, tmp_path: Path) -> None:
    path = video_bag(tmp_path, "CompressedVideo", format, encoded(codec, 20))
    source = open_source(path)
    for _ in range(2):
        check_video(source, list(range(20)))
        assert source.faults == []
    check_video(open_source(path, start=5, stop=18, stride=4), [5, 9, 13, 17])


def test_h264_in_compressed_images(tmp_path: Path) -> None:
    path = video_bag(tmp_path, "CompressedImage", "h264", encoded("libx264", 12))
    check_video(open_source(path), list(range(12)))


def test_a_video_that_begins_between_keyframes_and_a_damaged_packet(tmp_path: Path) -> None:
    packets = encoded("libx264", 40)[3:]
    packets[18] = b"\0\0\0\1\x41" + b"\xff" * 40
    path = video_bag(tmp_path, "CompressedVideo", "h264", packets)
    source = open_source(path)
    indices = [frame.index for frame in source]
    lost = [fault.index for fault in source.faults]
    assert sorted(indices + lost) == list(range(37))
    assert set(range(5)) | {18} <= set(lost)  # the first keyframe is the packet that was number 8
    assert set(range(5, 18)) | set(range(21, 37)) <= set(indices)


def test_packets_of_ffmpeg_image_transport(tmp_path: Path) -> None:
    kind = "ffmpeg_image_transport_msgs/msg/FFMPEGPacket"
    text = "std_msgs/Header header\nint32 width\nint32 height\nstring encoding\n"
    text += "uint64 pts\nuint8 flags\nbool is_bigendian\nuint8[] data\n"
    store = typesys.get_typestore(typesys.Stores.ROS2_JAZZY)
    store.register(typesys.get_types_from_msg(text, kind))
    packets = encoded("libx264", 12)

    def channels(writer) -> None:
        messages = []
        for index, data in enumerate(packets):
            message = store.types[kind](
                header(stamp(index)), 64, 48, "libx264", index, 0, False, np.frombuffer(data, np.uint8)
            )
            messages.append(bytes(store.serialize_cdr(message, kind)))
        write_channel(writer, "/cam/image_raw/ffmpeg", kind, ("", b""), "cdr", messages)

    k = camera_info(stamp(0))
    k.width, k.height = 64, 48
    check_video(
        open_source(write_mcap(tmp_path / "drive.mcap", {"/cam/camera_info": [k]}, before=channels)), list(range(12))
    )


@pytest.mark.parametrize("format", ["dirac9", "\x00\x01", "", "prores; raw"])
def test_an_unknown_codec_is_named(format: str, tmp_path: Path) -> None:
    path = video_bag(tmp_path, "CompressedVideo", format, [b"\0" * 20] * 3)
    with pytest.raises(SourceError, match=r"codec|decoder|decoded"):
        open_source(path)


def test_videos_of_noise_are_no_videos(tmp_path: Path) -> None:
    rng = np.random.default_rng(1)
    path = video_bag(tmp_path, "CompressedVideo", "h264", [rng.bytes(100) for _ in range(COUNT)])
    with pytest.raises(SourceError, match="no image on /cam/video can be decoded"):
        open_source(path)
