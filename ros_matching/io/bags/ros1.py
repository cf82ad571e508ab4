"""ROS 1 bags of format 2.0 (http://wiki.ros.org/Bags/Format/2.0), also those that were never indexed (.bag.active)."""

from __future__ import annotations

import struct
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from typing import BinaryIO

from ros_matching.errors import SourceError
from ros_matching.io.bags.compression import HEADER_STEP, BlockReader
from ros_matching.io.bags.storage import Block, BlockStorage, Channel, Message

MAGIC = b"#ROSBAG V"
_VERSION = b"#ROSBAG V2.0\n"
_MESSAGE, _BAG_HEADER, _INDEX, _CHUNK, _CHUNK_INFO, _CONNECTION = range(2, 8)
_MAX_HEADER_BYTES = 1 << 22


class Ros1Storage(BlockStorage):
    """The messages of a ROS 1 bag."""

    def _index(self, file: BinaryIO) -> None:
        version = file.read(len(_VERSION))
        if version != _VERSION:
            raise SourceError(
                f"{self.path} is a ROS 1 bag of another version ({version!r}); 2.0 is read: convert it with "
                "`rosbag fix` or `rosbag migrate`"
            )
        position = len(_VERSION)
        self._has_index = False
        self._encryptor = b""
        try:
            while position < self._size:
                record = self._record(file, position)
                self._take(file, record)
                position = record.data_at + record.length
        except (SourceError, struct.error):
            self._has_index = False
        if self._encryptor:
            raise SourceError(
                f"{self.path} is encrypted ({self._encryptor.decode(errors='replace')}); decrypt it first"
            )
        if self._has_index and position == self._size:
            return
        if self._blocks:
            self._blocks[-1].is_counted = False  # some of its indexes may be missing
        self.damage = (
            f"{self.path} ends near byte {min(position, self._size)} without an index: the recording was cut off, "
            "or is still running"
        )

    def _take(self, file: BinaryIO, record: _Record) -> None:
        """Take up a chunk, its index or a connection; the connections come again in the index of the bag."""
        if record.op == _BAG_HEADER:
            self._encryptor = record.fields.get("encryptor", b"")
            self._has_index = any(record.fields.get("index_pos", b"")) and not _number(record.fields, "chunk_count")
        elif record.op == _CHUNK:
            self._blocks.append(Block(record.position, is_counted=False))
        elif record.op == _INDEX and self._blocks:
            self._blocks[-1].counts[_number(record.fields, "conn")] = _number(record.fields, "count")
            self._blocks[-1].is_counted = True
        elif record.op == _CONNECTION and record.data_at + record.length <= self._size:
            file.seek(record.data_at)
            self._declare(record.fields, BlockReader(file, record.length).read(record.length))
            self._has_index = True

    def _messages(self, file: BinaryIO, block: Block, channels: Collection[int] | None) -> Iterator[Message]:
        chunk = self._record(file, block.offset)
        file.seek(chunk.data_at)
        reader = BlockReader(file, chunk.length, chunk.fields.get("compression", b"none").decode(errors="replace"))
        while not reader.at_end():
            record = _read_record(reader, 0)
            channel = _number(record.fields, "conn") if record.op == _MESSAGE else None
            if record.op == _CONNECTION and channels is None:
                self._declare(record.fields, reader.read(record.length))
            elif channel is None or (channels is not None and channel not in channels):
                reader.skip(record.length)
            else:
                seconds, nanoseconds = struct.unpack("<II", record.fields.get("time", b"").ljust(8, b"\0")[:8])
                data = b"" if channels is None else reader.read(record.length)
                if channels is None:
                    reader.skip(record.length)
                yield Message(channel, seconds * 10**9 + nanoseconds, data)

    def _record(self, file: BinaryIO, position: int) -> _Record:
        """The header of the record at a position."""
        file.seek(position)
        return _read_record(BlockReader(file, self._size - position, step=HEADER_STEP), position)

    def _declare(self, fields: dict[str, bytes], data: bytes) -> None:
        details = _fields(data)
        topic, name = (details.get(key, b"").decode(errors="replace") for key in ("topic", "type"))
        topic = fields.get("topic", topic.encode()).decode(errors="replace")
        definition = details.get("message_definition", b"")
        self.channels[_number(fields, "conn")] = Channel(topic, name, "ros1", "ros1msg", definition)


@dataclass(frozen=True)
class _Record:
    """The header of a record, with the offset and length of its data."""

    position: int
    fields: dict[str, bytes]
    data_at: int
    length: int

    @property
    def op(self) -> int:
        """The kind of the record."""
        return int.from_bytes(self.fields.get("op", b"")[:1], "little")


def _read_record(reader: BlockReader, position: int) -> _Record:
    (header_length,) = struct.unpack("<I", reader.read(4))
    if header_length > _MAX_HEADER_BYTES:
        raise SourceError(f"a record header of {header_length} bytes is stated")
    header = reader.read(header_length)
    (length,) = struct.unpack("<I", reader.read(4))
    return _Record(position, _fields(header), position + header_length + 8, length)


def _fields(header: bytes) -> dict[str, bytes]:
    """The named fields of a record header."""
    fields, position = {}, 0
    while position + 4 <= len(header):
        (length,) = struct.unpack_from("<I", header, position)
        name, _, value = header[position + 4 : position + 4 + length].partition(b"=")
        fields[name.decode(errors="replace")] = value
        position += 4 + length
    return fields


def _number(fields: dict[str, bytes], name: str) -> int:
    value = fields.get(name, b"")
    if len(value) != 4:
        raise SourceError(f"a record lacks its field {name}")
    return struct.unpack("<I", value)[0]
