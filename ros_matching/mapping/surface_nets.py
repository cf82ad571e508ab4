"""Triangles of a signed distance function on sparse voxels, by naive surface nets (Gibson 1998).

A cell is the cube between the centres of eight voxels. A cell that the surface passes through has a vertex: the mean of
the points where its edges cross the surface. An edge that crosses the surface makes a quadrilateral of the vertices of
the four cells around it. Compared with marching cubes: no tables, and fewer and better shaped triangles.
"""

from __future__ import annotations

from itertools import product

import numpy as np

_CORNERS = np.array(list(product((0, 1), repeat=3)))[:, ::-1]  # (8, 3), x fastest
_EDGES = [(a, b) for a in range(8) for b in range(a + 1, 8) if np.abs(_CORNERS[a] - _CORNERS[b]).sum() == 1]


def surface_net(
    voxels: np.ndarray, distances: np.ndarray, colors: np.ndarray, bits: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return vertices (V, 3) in indices of voxels, their colours (V, 3), and triangles (T, 3).

    ``voxels`` (N,) are sorted numbers ``z << 2 bits | y << bits | x``, with signed distances (N,), positive outside,
    and colours (N, 3). Cells with an unknown corner have no surface.
    """
    steps = np.array([1, 1 << bits, 1 << 2 * bits])
    corner_rows = np.stack([_rows(voxels, voxels + corner @ steps) for corner in _CORNERS], axis=1)
    complete = (corner_rows >= 0).all(axis=1)
    outside = distances[np.where(complete[:, None], corner_rows, 0)] > 0
    crossed = complete & outside.any(axis=1) & ~outside.all(axis=1)
    rows = corner_rows[crossed]
    vertices, vertex_colors = _vertices(voxels[crossed], distances[rows], colors[rows], bits)
    vertex_of_cell = np.full(len(voxels), -1)
    vertex_of_cell[crossed] = np.arange(crossed.sum())
    quads = [_quads(voxels, distances, vertex_of_cell, steps, axis) for axis in range(3)]
    triangles = np.concatenate([quad[:, corners] for quad in quads for corners in ([0, 1, 2], [0, 2, 3])])
    return vertices, vertex_colors, triangles.astype(np.int32)


def _rows(voxels: np.ndarray, wanted: np.ndarray) -> np.ndarray:
    """Return the rows of wanted voxels (M,), -1 where they are not stored."""
    row = np.minimum(np.searchsorted(voxels, wanted), len(voxels) - 1) if len(voxels) else np.zeros(0, np.int64)
    return np.where(voxels[row] == wanted, row, -1) if len(voxels) else row


def _vertices(cells: np.ndarray, distances: np.ndarray, colors: np.ndarray, bits: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the mean crossing (V, 3) of the edges of cells, and the mean colour there; values are by corner (V, 8)."""
    total, total_color, count = np.zeros((len(cells), 3)), np.zeros((len(cells), 3)), np.zeros(len(cells))
    for a, b in _EDGES:
        crosses = (distances[:, a] > 0) != (distances[:, b] > 0)
        gap = np.where(crosses, distances[:, a] - distances[:, b], 1.0)
        fraction = np.where(crosses, distances[:, a] / gap, 0.0)[:, None]
        point = _CORNERS[a] + fraction * (_CORNERS[b] - _CORNERS[a])
        color = colors[:, a] + fraction * (colors[:, b] - colors[:, a])
        total += crosses[:, None] * point
        total_color += crosses[:, None] * color
        count += crosses
    mask = (1 << bits) - 1
    index = np.stack([cells & mask, cells >> bits & mask, cells >> 2 * bits], axis=1)
    count = np.maximum(count, 1)[:, None]
    return index + total / count, total_color / count


def _quads(
    voxels: np.ndarray, distances: np.ndarray, vertex_of_cell: np.ndarray, steps: np.ndarray, axis: int
) -> np.ndarray:
    """Return quadrilaterals (Q, 4) around the edges along an axis that cross the surface, seen from outside."""
    following = _rows(voxels, voxels + steps[axis])
    first, second = steps[(axis + 1) % 3], steps[(axis + 2) % 3]
    around = [voxels, voxels - first, voxels - first - second, voxels - second]
    cells = np.stack([_rows(voxels, each) for each in around], axis=1)
    corners = np.where(cells >= 0, vertex_of_cell[np.maximum(cells, 0)], -1)
    starts_outside, ends_outside = distances > 0, distances[np.maximum(following, 0)] > 0
    crosses = (following >= 0) & (starts_outside != ends_outside) & (corners >= 0).all(axis=1)
    quads = corners[crosses]
    flipped = starts_outside[crosses]  # the outside is at the start: turn the other way
    quads[flipped] = quads[flipped][:, ::-1]
    return quads
