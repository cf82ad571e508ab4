"""Point-cloud files: PLY and PCD, chosen by the suffix.

Both are written in binary with float32 ``x y z``, RGB colours and float32 ``confidence``. Files of other programs may
lack colours (read as mid-grey) and confidence (read as 1), and hold other fields, which are left out.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np

from ros_matching.atomic_file import write_atomic
from ros_matching.datatypes import PointCloud
from ros_matching.errors import SourceError
from ros_matching.io.pcd import pack_pcd, parse_pcd
from ros_matching.io.ply import pack_ply, parse_ply

_GREY = 128
_PARSERS: Mapping[str, Callable[[bytes], dict[str, np.ndarray]]] = {".ply": parse_ply, ".pcd": parse_pcd}
_PACKERS: Mapping[str, Callable[[PointCloud], bytes]] = {".ply": pack_ply, ".pcd": pack_pcd}


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
