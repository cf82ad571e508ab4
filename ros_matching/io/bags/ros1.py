"""ROS 1 bags of format 2.0 (http://wiki.ros.org/Bags/Format/2.0), also those that were never indexed (.bag.active)."""

from __future__ import annotations

import struct
from collections.abc import Collection, Iterator
from typing import BinaryIO

from ros_matching.errors import SourceError
from ros_matching.io.bags.compression import BlockReader
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
        position, last, is_complete = len(_VERSION), None, False
        while position < self._size:
            try:
                file.seek(position)
                fields, data_at, length = _read_header(BlockReader(file, self._size - position), position)
                last, is_complete = self._take(file, position, fields, data_at, length, last, is_complete)
            except _EncryptedError:
                raise
            except (SourceError, struct.error):
                is_complete = False
                break
            position = data_at + length
        if not is_complete or position > self._size:
            if last is not None:
                last.is_counted = False  # some of its indexes may be missing
            self.damage = (
                f"{self.path} ends near byte {min(position, self._size)} without an index: the recording was cut off, "
                "or is still running"
            )

    def _take(
        self,
        file: BinaryIO,
        position: int,
        fields: dict[str, bytes],
        data_at: int,
        length: int,
        last: Block | None,
        is_complete: bool,
    ) -> tuple[Block | None, bool]:
        """Take up one record; returns the latest chunk, and True once the index at the end is reached."""
        op = _op(fields)
        if op == _BAG_HEADER:
            if fields.get("encryptor"):
                name = fields["encryptor"].decode(errors="replace")
                raise _EncryptedError(f"{self.path} is encrypted ({name}); decrypt it first")
            is_complete = any(fields.get("index_pos", b"")) and not _number(fields, "chunk_count")
        elif op == _CHUNK:
            last = Block(position, is_counted=False)
            self._blocks.append(last)
        elif op == _INDEX and last is not None:
            last.counts[_number(fields, "conn")] = _number(fields, "count")
            last.is_counted = True
        elif op == _CONNECTION and data_at + length <= self._size:
            file.seek(data_at)
            self._declare(fields, BlockReader(file, length).read(length))
            is_complete = True
        return last, is_complete

    def _messages(self, file: BinaryIO, block: Block, channels: Collection[int] | None) -> Iterator[Message]:
        file.seek(block.offset)
        fields, data_at, length = _read_header(BlockReader(file, self._size - block.offset), block.offset)
        file.seek(data_at)
        reader = BlockReader(file, length, fields.get("compression", b"none").decode(errors="replace"))
        while not reader.at_end():
            fields, _, length = _read_header(reader, 0)
            op = _op(fields)
            channel = _number(fields, "conn") if op == _MESSAGE else None
            if op == _CONNECTION and channels is None:
                self._declare(fields, reader.read(length))
            elif channel is None or (channels is not None and channel not in channels):
                reader.skip(length)
            else:
                seconds, nanoseconds = struct.unpack("<II", fields.get("time", b"").ljust(8, b"\0")[:8])
                data = b"" if channels is None else reader.read(length)
                if channels is None:
                    reader.skip(length)
                yield Message(channel, seconds * 10**9 + nanoseconds, data)

    def _declare(self, fields: dict[str, bytes], data: bytes) -> None:
        details = _fields(data)
        topic, name = (details.get(key, b"").decode(errors="replace") for key in ("topic", "type"))
        topic = fields.get("topic", topic.encode()).decode(errors="replace")
        definition = details.get("message_definition", b"")
        self.channels[_number(fields, "conn")] = Channel(topic, name, "ros1", "ros1msg", definition)


class _EncryptedError(SourceError):
    """An encrypted bag."""


def _read_header(reader: BlockReader, position: int) -> tuple[dict[str, bytes], int, int]:
    """The fields of a record, the offset of its data, and their length."""
    (header_length,) = struct.unpack("<I", reader.read(4))
    if header_length > _MAX_HEADER_BYTES:
        raise SourceError(f"a record header of {header_length} bytes is stated")
    header = reader.read(header_length)
    (length,) = struct.unpack("<I", reader.read(4))
    return _fields(header), position + header_length + 8, length


def _fields(header: bytes) -> dict[str, bytes]:
    """The named fields of a record header."""
    fields, position = {}, 0
    while position + 4 <= len(header):
        (length,) = struct.unpack_from("<I", header, position)
        name, _, value = header[position + 4 : position + 4 + length].partition(b"=")
        fields[name.decode(errors="replace")] = value
        position += 4 + length
    return fields


def _op(fields: dict[str, bytes]) -> int:
    return int.from_bytes(fields.get("op", b"")[:1], "little")


def _number(fields: dict[str, bytes], name: str) -> int:
    value = fields.get(name, b"")
    if len(value) != 4:
        raise SourceError(f"a record lacks its field {name}")
    return struct.unpack("<I", value)[0]
