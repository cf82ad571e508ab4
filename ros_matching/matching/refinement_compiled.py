"""The refinement of matches as one loop over the matches, compiled by Numba, for images in host memory.

The same computation as in ``refinement``, which is written for tensors. There every operation passes over all patches;
here a patch stays in the processor's cache until it is aligned. Compiled at the first use and cached on disk.
"""

from __future__ import annotations

import functools

import numba
import numpy as np

_TINY = np.float32(1e-6)
_AFFINITY_ROUNDS = 4
_PRIOR = np.float32(100.0)
_SETTLED_PX = np.float32(1e-3)  # a patch that moved by less needs no further step
# Reordered sums permit vectorisation; NaN is preserved.
_compiled = functools.partial(
    numba.njit, cache=True, nogil=True, error_model="numpy", fastmath={"reassoc", "contract", "nsz"}
)


@_compiled()
def local_affinities(points0: np.ndarray, points1: np.ndarray, nearest: np.ndarray) -> np.ndarray:
    """Fit the local affinity (M, 2, 2) of each match to its ``nearest`` matches (M, K), given by rows."""
    affinities = np.empty((len(points0), 2, 2), np.float32)
    for match in range(len(points0)):
        affinities[match] = _affinity(points0, points1, match, nearest[match])
    return affinities


@_compiled()
def _affinity(points0: np.ndarray, points1: np.ndarray, match: int, nearest: np.ndarray) -> np.ndarray:
    a00, a01, a10, a11 = np.float32(1), np.float32(0), np.float32(0), np.float32(1)
    for _ in range(_AFFINITY_ROUNDS):
        # Normal equations: the prior of the identity, and the neighbours by weight.
        sxx, sxy, syy = _PRIOR, np.float32(0), _PRIOR
        txx, txy, tyx, tyy = _PRIOR, np.float32(0), np.float32(0), _PRIOR
        for other in nearest:
            dx, dy = points0[other, 0] - points0[match, 0], points0[other, 1] - points0[match, 1]
            ex, ey = points1[other, 0] - points1[match, 0], points1[other, 1] - points1[match, 1]
            scale = np.float32(2.0) + np.float32(0.1) * np.sqrt(dx * dx + dy * dy)
            rx, ry = ex - (a00 * dx + a01 * dy), ey - (a10 * dx + a11 * dy)
            ratio = (rx * rx + ry * ry) / (scale * scale)
            weight = np.float32(1.0) / ((1 + ratio) * (1 + ratio))
            sxx, sxy, syy = sxx + weight * dx * dx, sxy + weight * dx * dy, syy + weight * dy * dy
            txx, txy = txx + weight * dx * ex, txy + weight * dx * ey
            tyx, tyy = tyx + weight * dy * ex, tyy + weight * dy * ey
        determinant = sxx * syy - sxy * sxy
        a00, a01 = (syy * txx - sxy * tyx) / determinant, (sxx * tyx - sxy * txx) / determinant
        a10, a11 = (syy * txy - sxy * tyy) / determinant, (sxx * tyy - sxy * txy) / determinant
    return np.array([[a00, a01], [a10, a11]], dtype=np.float32)


@_compiled()
def align_patches(
    grey0: np.ndarray,
    grey1: np.ndarray,
    points0: np.ndarray,
    points1: np.ndarray,
    affinities: np.ndarray,
    weights: np.ndarray,
    iterations: int,
) -> tuple[np.ndarray, np.ndarray]:
    """Align the patch around each point of image 0 with image 1 by Gauss-Newton steps on the translation.

    ``grey0`` and ``grey1`` (H, W), ``points0`` and ``points1`` (M, 2) and ``weights`` (S, S) of the pixels of a patch,
    float32. Returns the moved points (M, 2), and by columns of (M, 4): the correlation before and after, the trace of
    the inverse Hessian, and 1 for a textured patch.
    """
    moved = points1.copy()
    figures = np.empty((len(points0), 4), np.float32)
    side = len(weights)
    # Of a patch, all pixels in one row: loops over it are vectorised.
    template, levels = np.empty(side * side, np.float32), np.empty(side * side, np.float32)
    gradient_x, gradient_y = np.empty(side * side, np.float32), np.empty(side * side, np.float32)
    across, along = np.empty((side, side + 1), np.float32), np.empty((side + 1, side), np.float32)
    flat_weights = np.ascontiguousarray(weights).reshape(-1)
    offsets = np.empty((2, side * side), np.float32)  # of the pixels from the point, x and y
    for pixel in range(side * side):
        offsets[0, pixel], offsets[1, pixel] = pixel % side - side // 2, pixel // side - side // 2
    flat1 = np.ascontiguousarray(grey1).reshape(-1)
    for match in range(len(points0)):
        x, y = points0[match, 0] - np.float32(side // 2), points0[match, 1] - np.float32(side // 2)
        _read(grey0, x, y, template.reshape(side, side))
        _read(grey0, x - np.float32(0.5), y, across)
        _read(grey0, x, y - np.float32(0.5), along)
        xx, xy, yy, is_textured = _prepare(template, across, along, flat_weights, gradient_x, gradient_y)
        affinity = affinities[match]
        settled = False
        for iteration in range(iterations + 1):
            _read_mapped(grey1, flat1, moved[match], affinity, offsets, levels)
            correlation, bx, by = _compare(levels, flat_weights, template, gradient_x, gradient_y)
            if iteration == 0:
                figures[match, 0] = correlation
            if settled or iteration == iterations:
                break
            sx, sy = xx * bx + xy * by, xy * bx + yy * by
            moved[match, 0] -= affinity[0, 0] * sx + affinity[0, 1] * sy
            moved[match, 1] -= affinity[1, 0] * sx + affinity[1, 1] * sy
            settled = sx * sx + sy * sy < _SETTLED_PX**2
        figures[match, 1], figures[match, 2], figures[match, 3] = correlation, xx + yy, is_textured
    return moved, figures


@_compiled()
def _read(grey: np.ndarray, x: np.float32, y: np.float32, out: np.ndarray) -> None:
    """Fill ``out`` with the image at x, x + 1, ... and y, y + 1, ...; outside, the value at the border."""
    rows, columns = out.shape
    column, row = np.int64(np.floor(x)), np.int64(np.floor(y))
    if column < 0 or row < 0 or column + columns >= grey.shape[1] or row + rows >= grey.shape[0]:
        for i in range(rows):
            for j in range(columns):
                out[i, j] = _sample(grey, x + np.float32(j), y + np.float32(i))
        return
    u, v = x - np.float32(column), y - np.float32(row)
    for i in range(rows):
        above, below = grey[row + i, column : column + columns + 1], grey[row + i + 1, column : column + columns + 1]
        for j in range(columns):
            upper = above[j] + u * (above[j + 1] - above[j])
            lower = below[j] + u * (below[j + 1] - below[j])
            out[i, j] = upper + v * (lower - upper)


@_compiled()
def _prepare(
    template: np.ndarray,
    across: np.ndarray,
    along: np.ndarray,
    weights: np.ndarray,
    gradient_x: np.ndarray,
    gradient_y: np.ndarray,
) -> tuple[np.float32, np.float32, np.float32, bool]:
    """Normalise the template, fill its weighted gradient; return the inverse Hessian xx, xy, yy and ``is_textured``.

    ``across`` and ``along`` are the image half a pixel to each side of the template's pixels.
    """
    side = len(across)
    std = _normalise(template, weights)
    scale = 1 / max(std, _TINY)
    for row in range(side):
        for column in range(side):
            gradient_x[row * side + column] = (across[row, column + 1] - across[row, column]) * scale
            gradient_y[row * side + column] = (along[row + 1, column] - along[row, column]) * scale
    mean_x, mean_y = np.float32(0), np.float32(0)
    for pixel in range(len(weights)):
        mean_x += weights[pixel] * gradient_x[pixel]
        mean_y += weights[pixel] * gradient_y[pixel]
    xx, xy, yy = np.float32(0), np.float32(0), np.float32(0)
    for pixel in range(len(weights)):
        gx, gy, weight = gradient_x[pixel] - mean_x, gradient_y[pixel] - mean_y, weights[pixel]
        xx, xy, yy = xx + weight * gx * gx, xy + weight * gx * gy, yy + weight * gy * gy
        gradient_x[pixel], gradient_y[pixel] = weight * gx, weight * gy
    half_trace = (xx + yy) / 2
    smallest = half_trace - np.sqrt(max(half_trace * half_trace - (xx * yy - xy * xy), np.float32(0)))
    is_textured = std > _TINY and smallest > np.float32(1e-3)
    xx, yy = xx + np.float32(1e-4), yy + np.float32(1e-4)
    determinant = xx * yy - xy * xy
    return yy / determinant, -xy / determinant, xx / determinant, is_textured


@_compiled()
def _read_mapped(
    grey: np.ndarray, flat: np.ndarray, point: np.ndarray, affinity: np.ndarray, offsets: np.ndarray, levels: np.ndarray
) -> None:
    """Fill ``levels`` (K,) with an image at a point plus ``offsets`` (2, K) under an affinity.

    ``flat`` (H W,) are the same pixels as ``grey`` (H, W).
    """
    radius = offsets[0, -1]
    reach_x = radius * (abs(affinity[0, 0]) + abs(affinity[0, 1]))
    reach_y = radius * (abs(affinity[1, 0]) + abs(affinity[1, 1]))
    inside = point[0] >= reach_x and point[1] >= reach_y
    # The margin exceeds rounding errors of a position.
    inside = inside and point[0] + reach_x < grey.shape[1] - 1.01 and point[1] + reach_y < grey.shape[0] - 1.01
    x, y, a00, a01, a10, a11 = point[0], point[1], affinity[0, 0], affinity[0, 1], affinity[1, 0], affinity[1, 1]
    width = np.int32(grey.shape[1])
    for pixel in range(len(levels)):
        px = x + a00 * offsets[0, pixel] + a01 * offsets[1, pixel]
        py = y + a10 * offsets[0, pixel] + a11 * offsets[1, pixel]
        if inside:
            column, row = np.int32(px), np.int32(py)
            u, v = px - np.float32(column), py - np.float32(row)
            first = np.uint64(row * width + column)  # unsigned: no test for negative indices
            second = first + np.uint64(width)
            above = flat[first] + u * (flat[first + np.uint64(1)] - flat[first])
            below = flat[second] + u * (flat[second + np.uint64(1)] - flat[second])
            levels[pixel] = above + v * (below - above)
        else:
            levels[pixel] = _sample(grey, px, py)


@_compiled()
def _compare(
    levels: np.ndarray, weights: np.ndarray, template: np.ndarray, gradient_x: np.ndarray, gradient_y: np.ndarray
) -> tuple[np.float32, np.float32, np.float32]:
    """Normalise a patch; return its correlation with the template and the right side of the normal equations."""
    _normalise(levels, weights)
    correlation, bx, by = np.float32(0), np.float32(0), np.float32(0)
    for pixel in range(len(levels)):
        difference = levels[pixel] - template[pixel]
        correlation += weights[pixel] * levels[pixel] * template[pixel]
        bx += gradient_x[pixel] * difference
        by += gradient_y[pixel] * difference
    return correlation, bx, by


@_compiled()
def _normalise(levels: np.ndarray, weights: np.ndarray) -> np.float32:
    """Normalise grey levels (K,) in place to mean 0 and standard deviation 1; return their standard deviation."""
    mean, square = np.float32(0), np.float32(0)
    for pixel in range(len(levels)):
        mean += weights[pixel] * levels[pixel]
    for pixel in range(len(levels)):
        levels[pixel] -= mean
        square += weights[pixel] * levels[pixel] * levels[pixel]
    std = np.sqrt(square)
    scale = max(std, _TINY)
    for pixel in range(len(levels)):
        levels[pixel] /= scale
    return std


@_compiled(inline="always")
def _sample(grey: np.ndarray, x: np.float32, y: np.float32) -> np.float32:
    """Return the image at a point; outside, the value at the border."""
    x = min(max(x, np.float32(0)), np.float32(grey.shape[1] - 1))
    y = min(max(y, np.float32(0)), np.float32(grey.shape[0] - 1))
    return _interpolate(grey, x, y)


@_compiled(inline="always")
def _interpolate(grey: np.ndarray, x: np.float32, y: np.float32) -> np.float32:
    """Return the image at a point inside, by bilinear interpolation."""
    column, row = min(np.int32(x), grey.shape[1] - 2), min(np.int32(y), grey.shape[0] - 2)
    u, v = x - np.float32(column), y - np.float32(row)
    a, b = np.float32(grey[row, column]), np.float32(grey[row, column + 1])
    c, d = np.float32(grey[row + 1, column]), np.float32(grey[row + 1, column + 1])
    above, below = a + u * (b - a), c + u * (d - c)
    return above + v * (below - above)
