"""MCAP files (https://mcap.dev/spec) of any profile, with or without summary, message indexes and compression.

The summary is the index where it covers all messages. Otherwise the file is walked record by record, which also finds
the messages of a recording that was cut off; chunks are decompressed for that only where no message index follows them.
"""

from __future__ import annotations

import struct
from collections.abc import Collection, Iterator
from contextlib import suppress
from typing import BinaryIO

from ros_matching.errors import SourceError
from ros_matching.io.bags.compression import HEADER_STEP, BlockReader
from ros_matching.io.bags.storage import (
    MAX_DEFINITION_BYTES,
    Block,
    BlockStorage,
    Channel,
    ChecksumError,
    Message,
)

MAGIC = b"\x89MCAP0\r\n"
_FOOTER, _SCHEMA, _CHANNEL, _MESSAGE, _CHUNK, _MESSAGE_INDEX, _CHUNK_INDEX, _STATISTICS, _DATA_END = (
    0x02,
    0x03,
    0x04,
    0x05,
    0x06,
    0x07,
    0x08,
    0x0B,
    0x0F,
)
_RECORD = struct.Struct("<BQ")
_MESSAGE_HEADER = struct.Struct("<HIQQ")
_CHUNK_HEADER = struct.Struct("<QQQII")
_TAIL_BYTES = 37  # footer record and magic
_MAX_SUMMARY_BYTES = 1 << 28
_RUN_BYTES = 1 << 24  # of messages outside of chunks that are taken as one block


class McapStorage(BlockStorage):
    """The messages of an MCAP file."""

    def _index(self, file: BinaryIO) -> None:
        self._schemas: dict[int, tuple[str, str, bytes]] = {}
        if not self._read_summary(file):
            self.channels.clear()
            self._blocks.clear()
            self._walk(file)
        self._blocks.sort(key=lambda block: block.start_ns)

    def _read_summary(self, file: BinaryIO) -> bool:
        """Index the file by its summary; False if it has none, or one that leaves messages out."""
        if self._size < len(MAGIC) + _TAIL_BYTES:
            return False
        file.seek(self._size - _TAIL_BYTES)
        tail = file.read(_TAIL_BYTES)
        (start,) = struct.unpack_from("<Q", tail, _RECORD.size)
        size = self._size - _TAIL_BYTES - start
        if tail[0] != _FOOTER or not tail.endswith(MAGIC) or not start or not 0 < size < _MAX_SUMMARY_BYTES:
            return False
        file.seek(start)
        stated: dict[int, int] | None = None
        try:
            for op, body in _records(BlockReader(file, size)):
                if op == _CHUNK_INDEX:
                    self._blocks.append(self._block_of_index(_Fields(body)))
                elif op == _STATISTICS:
                    (length,) = struct.unpack_from("<I", body, 42)
                    stated = dict(struct.iter_unpack("<HQ", body[46 : 46 + length]))
                else:
                    self._declare(op, body)
        except (SourceError, struct.error):
            return False
        counted = {channel: count for channel, count in (stated or {}).items() if count}
        return stated is not None and counted == self._totals() and counted.keys() <= self.channels.keys()

    def _block_of_index(self, fields: _Fields) -> Block:
        """A chunk by its index: 16 bytes of its message indexes, which lie behind it, are one message."""
        start_ns, _, offset, length = (fields.number("Q") for _ in range(4))
        offsets = sorted((at, channel) for channel, at in struct.iter_unpack("<HQ", fields.sized()))
        index_length = fields.number("Q")
        if not offset + length + index_length <= self._size:
            raise SourceError("a chunk lies outside of the file")
        bounds = [at for at, _ in offsets] + [offset + length + index_length]
        counts = {channel: (end - at - 15) // 16 for (at, channel), end in zip(offsets, bounds[1:], strict=True)}
        return Block(offset, {channel: count for channel, count in counts.items() if count > 0}, start_ns=start_ns)

    def _walk(self, file: BinaryIO) -> None:
        """Index the file record by record; ``damage`` is where the records end without the end of the data."""
        position = len(MAGIC)
        last: Block | None = None
        while position + _RECORD.size <= self._size:
            file.seek(position)
            op, length = _RECORD.unpack(file.read(_RECORD.size))
            end = position + _RECORD.size + length
            if op in (_DATA_END, _FOOTER):
                return
            if op == _MESSAGE and length >= _MESSAGE_HEADER.size and end <= self._size:
                last = self._extend_run(last, position, end, file.read(_MESSAGE_HEADER.size))
            elif op == _CHUNK:
                start_ns = struct.unpack("<Q", file.read(8).ljust(8, b"\0"))[0]
                last = Block(position, start_ns=start_ns, is_counted=False)
                self._blocks.append(last)
            elif end <= self._size and length <= MAX_DEFINITION_BYTES:
                self._take(op, file, length, last)
            if end > self._size or op == 0:
                break
            position = end
        if last is not None and not last.size:
            last.is_counted = False  # some of its message indexes may be missing
        self.damage = (
            f"{self.path} ends at byte {position} without the end that an MCAP file has: it is cut off or damaged there"
        )

    def _take(self, op: int, file: BinaryIO, length: int, last: Block | None) -> None:
        if op in (_SCHEMA, _CHANNEL):
            with suppress(SourceError):  # messages of a channel that is not declared are left out
                self._declare(op, file.read(length))
        elif op == _MESSAGE_INDEX and last is not None and not last.size and length >= 6:
            channel, size = struct.unpack("<HI", file.read(6))
            if size:
                last.counts[channel] = size // 16
            last.is_counted = True

    def _extend_run(self, last: Block | None, position: int, end: int, header: bytes) -> Block:
        """Add a message that lies outside of chunks to the block that the one before is in."""
        channel, _, time_ns, _ = _MESSAGE_HEADER.unpack(header)
        if last is None or not last.size or last.offset + last.size != position or last.size > _RUN_BYTES:
            last = Block(position, start_ns=time_ns)
            self._blocks.append(last)
        last.counts[channel] = last.counts.get(channel, 0) + 1
        last.size = end - last.offset
        return last

    def _messages(self, file: BinaryIO, block: Block, channels: Collection[int] | None) -> Iterator[Message]:
        reader, stated_crc = self._open_block(file, block)
        while not reader.at_end():
            op, length = _RECORD.unpack(reader.read(_RECORD.size))
            if op != _MESSAGE or length < _MESSAGE_HEADER.size:
                if op in (_SCHEMA, _CHANNEL) and channels is None:
                    self._declare(op, reader.read(length))
                else:
                    reader.skip(length)
                continue
            channel, _, time_ns, _ = _MESSAGE_HEADER.unpack(reader.read(_MESSAGE_HEADER.size))
            length -= _MESSAGE_HEADER.size
            if channels is None or channel not in channels:
                reader.skip(length)
                if channels is None:
                    yield Message(channel, time_ns, b"")
            else:
                yield Message(channel, time_ns, reader.read(length))
        if stated_crc and stated_crc != reader.crc:
            raise ChecksumError("the checksum of the chunk does not agree with its data")

    def _open_block(self, file: BinaryIO, block: Block) -> tuple[BlockReader, int]:
        """A reader of the records of a block, and their checksum (0: none)."""
        file.seek(block.offset)
        if block.size:
            return BlockReader(file, block.size), 0
        head = BlockReader(file, self._size - block.offset, step=HEADER_STEP)
        op, _ = _RECORD.unpack(head.read(_RECORD.size))
        *_, crc, name_length = _CHUNK_HEADER.unpack(head.read(_CHUNK_HEADER.size))
        if op != _CHUNK or name_length > 32:
            raise SourceError("there is no chunk where the summary states one")
        name = head.read(name_length)
        (size,) = struct.unpack("<Q", head.read(8))
        file.seek(block.offset + _RECORD.size + _CHUNK_HEADER.size + name_length + 8)
        return BlockReader(file, size, name.decode(errors="replace")), crc

    def _declare(self, op: int, body: bytes) -> None:
        """Take up the definition of a schema or channel."""
        if op not in (_SCHEMA, _CHANNEL):
            return
        fields = _Fields(body)
        try:
            if op == _SCHEMA:
                key = fields.number("H")
                self._schemas[key] = (fields.text(), fields.text(), fields.sized())
            else:
                key, schema = fields.number("H"), fields.number("H")
                topic, encoding = fields.text(), fields.text()
                name, schema_encoding, definition = self._schemas.get(schema, ("", "", b""))
                self.channels[key] = Channel(topic, name, encoding, schema_encoding, definition)
        except struct.error:
            raise SourceError("a schema or channel is damaged") from None


class _Fields:
    """The fields of a record, one after the other; ``struct.error`` if it is too short."""

    def __init__(self, body: bytes) -> None:
        self._body = body
        self._position = 0

    def number(self, code: str) -> int:
        (value,) = struct.unpack_from(f"<{code}", self._body, self._position)
        self._position += struct.calcsize(f"<{code}")
        return value

    def sized(self) -> bytes:
        size = self.number("I")
        data = self._body[self._position : self._position + size]
        if len(data) != size:
            raise struct.error("too short")
        self._position += size
        return data

    def text(self) -> str:
        return self.sized().decode(errors="replace")


def _records(reader: BlockReader) -> Iterator[tuple[int, bytes]]:
    while not reader.at_end():
        op, length = _RECORD.unpack(reader.read(_RECORD.size))
        yield op, reader.read(length)
