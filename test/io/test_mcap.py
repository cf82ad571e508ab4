"""MCAP files as writers other than rosbag2 leave them: any profile, other channels, no index, cut off, damaged."""

from __future__ import annotations

import json
import struct
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from bag_recordings import (
    ALL,
    STORE,
    camera_topics,
    check,
    compressed_image,
    definition,
    noise,
    noise_topics,
    raw_image,
    stamp,
    write_channel,
    write_mcap,
)
from limited import run_limited

from ros_matching.errors import SourceError
from ros_matching.io import open_source

mcap = pytest.importorskip("mcap.writer")
from mcap.data_stream import RecordBuilder  # noqa: E402
from mcap.records import Channel, Message, Schema  # noqa: E402
from mcap.stream_reader import StreamReader  # noqa: E402

pytest.importorskip("zstandard")

NO_INDEX = {"index_types": mcap.IndexType.NONE}
NO_SUMMARY = NO_INDEX | {
    "use_statistics": False,
    "repeat_channels": False,
    "repeat_schemas": False,
    "use_summary_offsets": False,
}
LAYOUTS = {
    "usual": {},
    "lz4": {"compression": mcap.CompressionType.LZ4},
    "uncompressed": {"compression": mcap.CompressionType.NONE},
    "no chunks": {"use_chunking": False},
    "no message index": {"index_types": mcap.IndexType.CHUNK},
    "no chunk index": {"index_types": mcap.IndexType.MESSAGE},
    "no index": NO_INDEX,
    "no statistics": {"use_statistics": False},
    "no summary": NO_SUMMARY,
    "no summary, no chunks": NO_SUMMARY | {"use_chunking": False},
    "no repeated channels": {"repeat_channels": False, "repeat_schemas": False},
}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_every_layout_of_the_format_is_read(layout: str, tmp_path: Path) -> None:
    path = write_mcap(tmp_path / "drive.mcap", camera_topics(), chunk_size=9000, **LAYOUTS[layout])
    check(open_source(path), ALL)
    check(open_source(path, start=1, stride=2), [1, 3])


@pytest.mark.parametrize("profile", ["", "ros1", "px4", "ros2"])
def test_the_profile_does_not_matter(profile: str, tmp_path: Path) -> None:
    check(open_source(write_mcap(tmp_path / "drive.mcap", camera_topics(), profile=profile)), ALL)


def odd_channels(writer) -> None:
    """What else people record: a service event with the definition of the service, JSON, Protobuf, no schema at all."""
    service = b"================\nSRV: example_interfaces/srv/AddTwoInts\nint64 a\n---\nint64 sum\n"
    write_channel(
        writer,
        "/add/_service_event",
        "example_interfaces/srv/AddTwoInts_Event",
        ("ros2msg", service),
        "cdr",
        [b"\0" * 8],
    )
    write_channel(writer, "/state", "State", ("jsonschema", b"{}"), "json", [b"{}", b"{"])
    write_channel(writer, "/scene", "foxglove.SceneUpdate", ("protobuf", b"\xff"), "protobuf", [b"\xff"])
    write_channel(writer, "/odd", "odd/Type", ("flatbuffer", b"\0"), "flatbuffer", [b""])
    writer.add_message(writer.register_channel("/loose", "json", 0), 1, b"{}", 1)
    writer.add_attachment(1, 1, "notes.txt", "text/plain", b"hello")
    writer.add_metadata("run", {"operator": "me"})


@pytest.mark.parametrize("layout", LAYOUTS)
def test_channels_that_cannot_be_decoded_do_not_matter(layout: str, tmp_path: Path) -> None:
    path = write_mcap(tmp_path / "drive.mcap", camera_topics(), before=odd_channels, **LAYOUTS[layout])
    check(open_source(path), ALL)
    with pytest.raises(SourceError, match=r"/state is of the type State, not of an image"):
        open_source(path, topic="/state")


@pytest.mark.parametrize("encoding", ["flatbuffer", "cbor", ""])
def test_an_encoding_without_a_decoder_is_named(encoding: str, tmp_path: Path) -> None:
    def images(writer) -> None:
        write_channel(writer, "/image", "sensor_msgs/msg/Image", ("x", b""), encoding, [b"12"])

    topics = {"/cam/camera_info": camera_topics()["/cam/camera_info"]}
    with pytest.raises(SourceError, match=r"encoded as.*read are cdr"):
        open_source(write_mcap(tmp_path / "drive.mcap", topics, before=images))


def test_an_invalid_definition_is_replaced_by_the_standard_one(tmp_path: Path, monkeypatch, caplog) -> None:
    monkeypatch.setattr("bag_recordings.definition", lambda kind: "this is [ no definition")
    check(open_source(write_mcap(tmp_path / "drive.mcap", camera_topics())), ALL)
    assert "definition in the bag cannot be used" in caplog.text


IDL = """
================================================================================
IDL: sensor_msgs/msg/CompressedImage
#include "std_msgs/msg/Header.idl"
module sensor_msgs { module msg {
  struct CompressedImage {
    std_msgs::msg::Header header;
    string format;
    sequence<uint8> data;
  };
}; };
================================================================================
IDL: std_msgs/msg/Header
#include "builtin_interfaces/msg/Time.idl"
module std_msgs { module msg {
  struct Header {
    builtin_interfaces::msg::Time stamp;
    string frame_id;
  };
}; };
================================================================================
IDL: builtin_interfaces/msg/Time
module builtin_interfaces { module msg {
  struct Time {
    int32 sec;
    uint32 nanosec;
  };
}; };
""".lstrip()


def test_definitions_in_idl(tmp_path: Path, caplog) -> None:
    kind = "sensor_msgs/msg/CompressedImage"

    def channels(writer) -> None:
        images = [bytes(STORE.serialize_cdr(compressed_image(index, stamp(index)), kind)) for index in ALL]
        write_channel(writer, "/cam/image/compressed", kind, ("ros2idl", IDL.encode()), "cdr", images)

    infos = {"/cam/camera_info": camera_topics()["/cam/camera_info"]}
    check(open_source(write_mcap(tmp_path / "drive.mcap", infos, before=channels)), ALL)
    assert not caplog.text


def test_messages_are_sorted_by_time_within_a_chunk(tmp_path: Path) -> None:
    path = write_mcap(
        tmp_path / "drive.mcap", {"/cam/camera_info": camera_topics()["/cam/camera_info"]}, before=backward
    )
    check(open_source(path), ALL)


def backward(writer) -> None:
    kind = "sensor_msgs/msg/Image"
    schema = writer.register_schema(kind, "ros2msg", definition(kind).encode())
    channel = writer.register_channel("/cam/image_raw", "cdr", schema)
    for index in reversed(ALL):
        writer.add_message(channel, stamp(index), bytes(STORE.serialize_cdr(raw_image(index, stamp(index)), kind)), 0)


def long_file(path: Path, count: int = 30, **options) -> bytes:
    return write_mcap(path, noise_topics(count), chunk_size=20_000, **options).read_bytes()


@pytest.mark.parametrize("layout", ["usual", "lz4", "uncompressed", "no chunks", "no message index", "no summary"])
@pytest.mark.parametrize("fraction", [0.3, 0.77])
def test_a_recording_that_was_cut_off_is_read_up_to_the_cut(layout: str, fraction: float, tmp_path: Path) -> None:
    path = tmp_path / "drive.mcap"
    data = long_file(path, **LAYOUTS[layout])
    *_, end = record_offsets(data)
    path.write_bytes(data[: int(fraction * end)])
    source = open_source(path)
    frames = list(source)
    assert 30 * fraction - 6 < len(frames) < 30
    assert [frame.index for frame in frames] == list(range(len(frames)))
    assert all((frame.image == noise(frame.index)).all() for frame in frames)
    assert "cut off" in source.faults[-1].reason


@pytest.mark.parametrize("layout", ["usual", "lz4", "uncompressed"])
def test_a_damaged_chunk_costs_its_own_images_only(layout: str, tmp_path: Path) -> None:
    path = tmp_path / "drive.mcap"
    data = bytearray(long_file(path, **LAYOUTS[layout]))
    middle = len(data) // 2
    for offset in range(middle, middle + 40):
        data[offset] ^= 0x55
    path.write_bytes(data)
    source = open_source(path)
    frames = list(source)
    lost = sorted(fault.index for fault in source.faults)
    assert 0 < len(lost) < 8
    assert [frame.index for frame in frames] == [index for index in range(30) if index not in lost]
    assert all((frame.image == noise(frame.index)).all() for frame in frames)
    assert "damaged near byte" in source.faults[0].reason


def test_sizes_that_headers_state_take_no_memory(tmp_path: Path) -> None:
    """Every length of a record is set to 2^62 bytes; reading remains within the file."""
    path = tmp_path / "drive.mcap"
    data = long_file(path, count=6)
    for offset in record_offsets(data):
        path.write_bytes(data[: offset + 1] + struct.pack("<Q", 1 << 62) + data[offset + 9 :])
        with suppress(SourceError):
            assert all(frame.image.shape == (36, 48, 3) for frame in open_source(path))


_CODE = """
import logging
from ros_matching.errors import SourceError
from ros_matching.io import open_source
logging.disable(logging.CRITICAL)
path = {path!r}
assert len(list(open_source({plain!r}))) == 3  # imports
limit_memory(150)
source = open_source(path)
print(len(list(source)), len(source.faults))
"""


@pytest.mark.parametrize("topic", ["/other", "/cam/image_raw"])
def test_a_chunk_that_expands_without_end_takes_no_memory(topic: str, tmp_path: Path) -> None:
    """One message of 320 MB of zeros, 12 kB compressed: skipped on another topic, and refused as an image."""
    import zstandard

    plain = write_mcap(tmp_path / "plain.mcap", noise_topics(3), compression=mcap.CompressionType.ZSTD)
    with plain.open("rb") as file:
        records = list(StreamReader(file).records)
    channels = {record.id: record.topic for record in records if isinstance(record, Channel)}
    zeros = 5 << 26
    compressor = zstandard.ZstdCompressor().compressobj()
    packed = bytearray()
    for record in records:
        if isinstance(record, (Schema, Channel, Message)):
            builder = RecordBuilder()
            record.write(builder)
            packed += compressor.compress(builder.end())
    key = next((number for number, name in channels.items() if name == topic), 99)
    head = struct.pack("<BQHIQQ", 5, 22 + zeros, key, 0, stamp(9), stamp(9))
    packed += compressor.compress(head)
    for _ in range(zeros >> 20):
        packed += compressor.compress(bytes(1 << 20))
    packed += compressor.flush()
    chunk = struct.pack("<QQQII4sQ", 0, 0, 0, 0, 4, b"zstd", len(packed)) + bytes(packed)
    header = struct.pack("<BQI4sI", 1, 12, 4, b"ros2", 0)
    magic = b"\x89MCAP0\r\n"
    end = struct.pack("<BQI", 15, 4, 0) + struct.pack("<BQQQI", 2, 20, 0, 0, 0) + magic
    bomb = tmp_path / "bomb.mcap"
    bomb.write_bytes(magic + header + struct.pack("<BQ", 6, len(chunk)) + chunk + end)
    printed = run_limited(_CODE.format(path=str(bomb), plain=str(plain)), Path(__file__).parents[2])
    assert printed.split() == ["3", "0" if topic == "/other" else "1"]


def record_offsets(data: bytes) -> Iterator[int]:
    """Where the records before the end of the data begin."""
    offset = 8
    while data[offset] not in (0x0F, 0x02):
        yield offset
        offset += 9 + struct.unpack_from("<Q", data, offset + 1)[0]


def test_json_text_is_no_image(tmp_path: Path) -> None:
    def images(writer) -> None:
        messages = (json.dumps({"format": "jpeg", "data": "AAAA"}).encode(), b"[1]", b"{", b"\xff")
        write_channel(writer, "/image", "foxglove.CompressedImage", ("jsonschema", b"{}"), "json", messages)

    topics = {"/cam/camera_info": camera_topics()["/cam/camera_info"]}
    with pytest.raises(SourceError, match="no image on /image can be decoded"):
        open_source(write_mcap(tmp_path / "drive.mcap", topics, before=images))
