"""Point-cloud files: PLY and PCD, chosen by the suffix.

Both are written in binary with float32 ``x y z``, RGB colours and float32 ``confidence``. Files of other programs may
lack colours (read as mid-grey) and confidence (read as 1), and hold other fields, which are left out.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np

from ros_matching.atomic_file import write_atomic
from ros_matching.datatypes import PointCloud
from ros_matching.errors import SourceError

_GREY = 128


def read_cloud(path: str | Path) -> PointCloud:
    """Read a PLY (ASCII or binary) or PCD file (ASCII or uncompressed binary).

    Raises ``SourceError`` when it is missing, cut off, or of another format.
    """
    path = Path(path)
    parse = _by_suffix(path, _PARSERS)
    try:
        columns = parse(path.read_bytes())
    except FileNotFoundError:
        raise SourceError(f"there is no file {path}") from None
    except SourceError as error:
        raise SourceError(f"{path}: {error}") from error
    missing = [name for name in "xyz" if name not in columns]
    if missing:
        raise SourceError(f"{path} has no field {', '.join(missing)}; it has {', '.join(columns)}")
    return _cloud(columns)


def check_cloud_path(path: str | Path) -> None:
    """Raise ``SourceError`` for a file whose suffix is none of a cloud's."""
    _by_suffix(Path(path), _PACKERS)


def write_cloud(path: str | Path, cloud: PointCloud) -> None:
    """Write a PLY or PCD file atomically, creating its folder."""
    path = Path(path)
    pack = _by_suffix(path, _PACKERS)
    write_atomic(path, pack(cloud))


def _by_suffix(path: Path, table: Mapping[str, Callable]) -> Callable:
    try:
        return table[path.suffix.lower()]
    except KeyError:
        raise SourceError(f"{path}: expected a cloud file of suffix {' or '.join(table)}") from None


def _cloud(columns: dict[str, np.ndarray]) -> PointCloud:
    points = np.column_stack([columns[name] for name in "xyz"])
    colors = np.full((len(points), 3), _GREY, dtype=np.uint8)
    if all(name in columns for name in ("red", "green", "blue")):
        colors = np.column_stack([columns[name] for name in ("red", "green", "blue")]).astype(np.uint8)
    confidence = columns.get("confidence", np.ones(len(points), dtype=np.float32))
    return PointCloud(points, colors, np.ascontiguousarray(confidence))


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
    """The vertex properties of a PLY file by name; raises ``SourceError`` for other or incomplete files."""
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


# PCL reads 0x00RRGGBB from the bits of a float.
_POINT = np.dtype([("x", "<f4"), ("y", "<f4"), ("z", "<f4"), ("rgb", "<u4"), ("confidence", "<f4")])
_HEADER = """# .PCD v0.7 - Point Cloud Data file format
VERSION 0.7
FIELDS x y z rgb confidence
SIZE 4 4 4 4 4
TYPE F F F F F
COUNT 1 1 1 1 1
WIDTH {count}
HEIGHT 1
VIEWPOINT 0 0 0 1 0 0 0
POINTS {count}
DATA binary
"""
_KINDS = {"F": "f", "I": "i", "U": "u"}


def pack_pcd(cloud: PointCloud) -> bytes:
    """A binary PCD file of a cloud."""
    points = np.empty(len(cloud), dtype=_POINT)
    for column, name in enumerate("xyz"):
        points[name] = cloud.points[:, column]
    red, green, blue = cloud.colors.astype(np.uint32).T
    points["rgb"] = red << 16 | green << 8 | blue
    points["confidence"] = cloud.confidence
    return _HEADER.format(count=len(cloud)).encode() + points.tobytes()


def parse_pcd(data: bytes) -> dict[str, np.ndarray]:
    """The fields of a PCD file by name, ``rgb`` unpacked; raises ``SourceError`` for other or incomplete files."""
    header, body = _split(data)
    form = header["DATA"][0] if header["DATA"] else ""
    if form not in ("ascii", "binary"):
        raise SourceError(
            f"expected PCD data of ascii or binary, got {form!r}; convert it with pcl_convert_pcd_ascii_binary"
        )
    count, dtype = _layout(header)
    columns = ascii_columns(body, count, dtype) if form == "ascii" else binary_columns(body, count, dtype)
    packed = columns.pop("rgb", columns.pop("rgba", None))
    if packed is not None:
        bits = packed.view(np.uint32) if packed.dtype == np.float32 else packed.astype(np.uint32)
        columns |= {"red": bits >> 16 & 255, "green": bits >> 8 & 255, "blue": bits & 255}
    return columns


def _split(data: bytes) -> tuple[dict[str, list[str]], memoryview]:
    """The entries of the header, and the bytes after the line DATA."""
    header: dict[str, list[str]] = {}
    position = 0
    while "DATA" not in header:
        end = data.find(b"\n", position)
        if end < 0:
            raise SourceError("expected a PCD file (FIELDS ... DATA), got another format or a cut-off header")
        words = data[position:end].decode("ascii", errors="replace").split()
        position = end + 1
        if words and not words[0].startswith("#"):
            header[words[0]] = words[1:]
    return header, memoryview(data)[position:]


def _layout(header: dict[str, list[str]]) -> tuple[int, np.dtype]:
    try:
        names = header["FIELDS"]
        counts = [int(count) for count in header.get("COUNT", ["1"] * len(names))]
        # PCL names padding "_", several times: numbered to be unique.
        names = [f"_{row}" if name == "_" else name for row, name in enumerate(names)]
        types = [f"<{_KINDS[kind]}{size}" for kind, size in zip(header["TYPE"], header["SIZE"], strict=True)]
        fields = zip(names, types, counts, strict=True)
        dtype = np.dtype([(name, kind) if count == 1 else (name, kind, (count,)) for name, kind, count in fields])
        count = int(header["POINTS"][0])
    except (KeyError, ValueError, TypeError, IndexError):
        shown = "; ".join(f"{key} {' '.join(words)}" for key, words in header.items())
        raise SourceError(f"expected FIELDS, SIZE, TYPE, COUNT and POINTS that fit each other, got: {shown}") from None
    if count < 0:
        raise SourceError(f"expected a number of points, got {count}")
    return count, dtype


def binary_columns(body: memoryview, count: int, dtype: np.dtype) -> dict[str, np.ndarray]:
    """The fields by name, in native byte order; raises ``SourceError`` when bytes are missing."""
    needed = count * dtype.itemsize
    if len(body) < needed:
        raise SourceError(f"expected {count} points of {dtype.itemsize} bytes, got {len(body)} bytes: it is cut off")
    records = np.frombuffer(body[:needed], dtype=dtype)
    return {name: records[name].astype(dtype[name].base.newbyteorder("=")) for name in dtype.names}


def ascii_columns(body: memoryview, count: int, dtype: np.dtype) -> dict[str, np.ndarray]:
    """The fields by name; raises ``SourceError`` when lines or numbers are missing."""
    widths = [int(np.prod(dtype[name].shape, dtype=int)) for name in dtype.names]
    lines = bytes(body).splitlines()[:count]
    if len(lines) < count:
        raise SourceError(f"expected {count} lines of points, got {len(lines)}: it is cut off")
    try:
        values = np.array(b" ".join(lines).split(), dtype=np.float64).reshape(count, sum(widths))
    except ValueError:
        raise SourceError(f"expected {count} lines of {sum(widths)} numbers ({' '.join(dtype.names)})") from None
    columns, first = {}, 0
    for name, width in zip(dtype.names, widths, strict=True):
        columns[name] = values[:, first : first + width].reshape(count, *dtype[name].shape).astype(dtype[name].base)
        first += width
    return columns


_PARSERS: Mapping[str, Callable[[bytes], dict[str, np.ndarray]]] = {".ply": parse_ply, ".pcd": parse_pcd}
_PACKERS: Mapping[str, Callable[[PointCloud], bytes]] = {".ply": pack_ply, ".pcd": pack_pcd}
