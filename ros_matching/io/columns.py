"""The body of a point-cloud file: ``count`` records of one structured type, in binary or in ASCII."""

from __future__ import annotations

import numpy as np

from ros_matching.errors import SourceError


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
