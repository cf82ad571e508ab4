"""The bytes of PCD files (Point Cloud Library, version 0.7): fields by name, colour packed into ``rgb``."""

from __future__ import annotations

import numpy as np

from ros_matching.datatypes import PointCloud
from ros_matching.errors import SourceError
from ros_matching.io.columns import ascii_columns, binary_columns

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
    """The fields of a PCD file by name, ``rgb`` unpacked; raises ``SourceError`` for what is not one or is cut off."""
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
    """The header's entries, and what follows the line DATA."""
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
