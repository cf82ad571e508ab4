"""The bytes of PLY files (Turk's polygon format): the properties of the element ``vertex``."""

from __future__ import annotations

import re

import numpy as np

from ros_matching.datatypes import PointCloud
from ros_matching.errors import SourceError
from ros_matching.io.columns import ascii_columns, binary_columns

_COLORS = ("red", "green", "blue")
_VERTEX = np.dtype([*((name, "<f4") for name in "xyz"), *((name, "u1") for name in _COLORS), ("confidence", "<f4")])
# The old names of the types, and those by size.
_TYPES = {"char": "i1", "uchar": "u1", "short": "i2", "ushort": "u2", "int": "i4", "uint": "u4", "float": "f4"}
_TYPES |= {"int8": "i1", "uint8": "u1", "int16": "i2", "uint16": "u2", "int32": "i4", "uint32": "u4", "float32": "f4"}
_TYPES |= {"double": "f8", "float64": "f8"}
_BYTE_ORDERS = {"ascii": "=", "binary_little_endian": "<", "binary_big_endian": ">"}


def pack_ply(cloud: PointCloud) -> bytes:
    """A binary PLY file of a cloud."""
    vertices = np.empty(len(cloud), dtype=_VERTEX)
    for column, (axis, color) in enumerate(zip("xyz", _COLORS, strict=True)):
        vertices[axis] = cloud.points[:, column]
        vertices[color] = cloud.colors[:, column]
    vertices["confidence"] = cloud.confidence
    types = {name: "uchar" if name in _COLORS else "float" for name in _VERTEX.names}
    properties = "".join(f"property {kind} {name}\n" for name, kind in types.items())
    header = f"ply\nformat binary_little_endian 1.0\nelement vertex {len(cloud)}\n{properties}end_header\n"
    return header.encode() + vertices.tobytes()


def parse_ply(data: bytes) -> dict[str, np.ndarray]:
    """The vertex properties of a PLY file by name; raises ``SourceError`` for what is not one or is cut off."""
    end = re.search(rb"\nend_header\r?\n", data)
    if not data.startswith(b"ply") or end is None:
        raise SourceError("expected a PLY file (ply ... end_header), got another format or a cut-off header")
    lines = [line.split() for line in data[: end.start()].decode("ascii", errors="replace").splitlines()]
    form = next((line[1] for line in lines if line[:1] == ["format"] and len(line) > 1), None)
    if form not in _BYTE_ORDERS:
        raise SourceError(f"expected one of the PLY formats {', '.join(_BYTE_ORDERS)}, got {form}")
    count, dtype = _vertex(lines, _BYTE_ORDERS[form])
    columns = ascii_columns if form == "ascii" else binary_columns
    return columns(memoryview(data)[end.end() :], count, dtype)


def _vertex(lines: list[list[str]], byte_order: str) -> tuple[int, np.dtype]:
    """Number and type of the vertices, which must be the first element; elements behind them do not matter."""
    elements = [row for row, line in enumerate(lines) if line[:1] == ["element"]]
    if not elements or lines[elements[0]][1:2] != ["vertex"]:
        raise SourceError("expected the element vertex first in the PLY header")
    last = elements[1] if len(elements) > 1 else len(lines)
    properties = [line[1:] for line in lines[elements[0] + 1 : last] if line[:1] == ["property"]]
    try:
        count = int(lines[elements[0]][2])
        dtype = np.dtype([(name, byte_order + _TYPES[kind]) for kind, name in properties])
    except (ValueError, KeyError, IndexError):
        shown = "; ".join(" ".join(line) for line in lines[elements[0] : last])
        raise SourceError(f"expected a count and scalar properties of known types, each once, got: {shown}") from None
    if count < 0:
        raise SourceError(f"expected a number of vertices, got {count}")
    return count, dtype
