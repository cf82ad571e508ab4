"""Streaming decompression of bags: memory follows the bytes that arrive, never a size that a header states."""

from __future__ import annotations

import bz2
import importlib
import sys
from io import BytesIO
from typing import Any, BinaryIO
from zlib import crc32

from ros_matching.errors import MissingDependencyError, SourceError

_MAGICS = {b"\x28\xb5\x2f\xfd": "zstd", b"\x04\x22\x4d\x18": "lz4"}
MAX_MESSAGE_BYTES = 1 << 28  # an uncompressed RGB image of 16 bits and 7680x4320 has 200 MB
_STEP = 1 << 18
HEADER_STEP = 1 << 9  # where only the header of a record is read


def make_decompressor(compression: str) -> Any:
    """A decompressor with the interface of ``bz2.BZ2Decompressor``, by the name that MCAP and ROS 1 use."""
    if compression == "bz2":
        return bz2.BZ2Decompressor()
    try:
        if compression == "lz4":
            from lz4.frame import LZ4FrameDecompressor

            return LZ4FrameDecompressor()
        if compression == "zstd":
            module = "compression.zstd" if sys.version_info >= (3, 14) else "backports.zstd"
            return importlib.import_module(module).ZstdDecompressor()
    except ImportError as error:
        raise MissingDependencyError(
            f"reading bags with {compression} compression needs lz4 and backports.zstd; install them with: "
            "pip install lz4 backports.zstd"
        ) from error
    raise SourceError(f"the compression {compression!r} is not known; known are none, zstd, lz4 and bz2")


def compression_of(data: bytes) -> str:
    """The compression of a whole file or message by its first bytes; empty for none. CDR never begins like that."""
    return _MAGICS.get(bytes(data[:4]), "")


class BlockReader:
    """Sequential reader of ``size`` bytes of a file, decompressed on the way; ``crc`` is that of the bytes read.

    The file is read ``step`` bytes at a time.
    """

    def __init__(self, file: BinaryIO, size: int, compression: str = "", step: int = _STEP) -> None:
        self._file = file
        self._left = size
        self._step = step
        self._compression = compression
        self._decompressor = make_decompressor(compression) if compression not in ("", "none") else None
        self._buffer = bytearray()
        self.crc = 0

    def read(self, count: int) -> bytes:
        """The next ``count`` bytes; raises ``SourceError`` if the block ends before, or ``count`` is absurd."""
        if count > MAX_MESSAGE_BYTES:
            raise SourceError(f"a record of {count} bytes is stated; at most {MAX_MESSAGE_BYTES} are read")
        self._fill(count)
        data = bytes(self._buffer[:count])
        del self._buffer[:count]
        return data

    def read_some(self) -> bytes:
        """The next bytes, as many as come at once; empty at the end."""
        if not self._buffer:
            self._more()
        data = bytes(self._buffer)
        self._buffer.clear()
        return data

    def skip(self, count: int) -> None:
        """Leave out the next ``count`` bytes."""
        while count > 0:
            self._fill(1)
            step = min(count, len(self._buffer))
            del self._buffer[:step]
            count -= step

    def at_end(self) -> bool:
        """Return True if no byte is left."""
        return not self._buffer and not self._more()

    @property
    def is_cut_off(self) -> bool:
        """Return True if compressed data have ended, but not their stream."""
        return self._decompressor is not None and not self._decompressor.eof

    def _fill(self, count: int) -> None:
        while len(self._buffer) < count:
            if not self._more():
                raise SourceError("the data end in the middle of a record")

    def _more(self) -> bool:
        """Append the next piece to the buffer; False at the end."""
        piece = self._piece()
        self.crc = crc32(piece, self.crc)
        self._buffer += piece
        return bool(piece)

    def _piece(self) -> bytes:
        if self._decompressor is None:
            return self._raw()
        try:
            while True:
                if self._decompressor.eof:  # of one of several frames
                    rest = self._decompressor.unused_data or self._raw()
                    if not rest:
                        return b""
                    self._decompressor = make_decompressor(self._compression)
                else:
                    rest = self._raw() if self._decompressor.needs_input else b""
                    if not rest and self._decompressor.needs_input:
                        return b""
                piece = self._decompressor.decompress(rest, _STEP)
                if piece:
                    return piece
        except (OSError, ValueError, RuntimeError, EOFError, MemoryError) as error:
            raise SourceError(f"the {self._compression} data are damaged ({error})") from error
        except Exception as error:  # ZstdError derives from Exception alone
            if type(error).__name__ != "ZstdError":
                raise
            raise SourceError(f"the {self._compression} data are damaged ({error})") from error

    def _raw(self) -> bytes:
        data = self._file.read(min(self._step, self._left))
        self._left -= len(data)
        return data


def inflate(data: bytes) -> bytes:
    """The message of compressed bytes (rosbag2's compression by message); ``SourceError`` if damaged."""
    reader = BlockReader(BytesIO(data), len(data), compression_of(data))
    message = bytearray()
    while piece := reader.read_some():
        message += piece
        if len(message) > MAX_MESSAGE_BYTES:
            raise SourceError(f"a compressed message has more than {MAX_MESSAGE_BYTES} bytes")
    if reader.is_cut_off:
        raise SourceError("the compressed data of the message are cut off")
    return bytes(message)
