"""The two largest entries of each row of a table, and the largest of each column, in one pass, for host memory.

A row stays in the processor's cache while it is read for both. Maxima of groups of columns are vectorised; only the
group with the largest maximum is searched for its position. Compiled by Numba at the first use, and cached.
"""

from __future__ import annotations

import functools

import numba
import numpy as np

_GROUPS = 64  # each takes every 64th column
_compiled = functools.partial(numba.njit, cache=True, nogil=True, error_model="numpy")


@_compiled()
def reduce_table(table: np.ndarray, peaks: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Reduce a table (N, M) of at least two columns, without NaN.

    Returns for each row the column of the largest entry, the first of equals, that entry and the second largest, (N,)
    each; raises the ``peaks`` (M,) of the columns to the largest entries.
    """
    rows, columns = table.shape
    places, largest = np.empty(rows, np.int64), np.empty(rows, table.dtype)
    seconds, maxima = np.empty(rows, table.dtype), np.empty(_GROUPS, table.dtype)
    for row in range(rows):
        entries = table[row]
        for column in range(columns):
            peaks[column] = entries[column] if entries[column] > peaks[column] else peaks[column]
        _group_maxima(entries, maxima)
        best, second = maxima[0], -np.inf
        for group in range(1, _GROUPS):
            second = max(second, min(best, maxima[group]))
            best = max(best, maxima[group])
        place = columns
        for group in range(_GROUPS):
            if maxima[group] == best:
                number = 0
                for column in range(group, columns, _GROUPS):
                    if entries[column] == best:
                        number += 1
                        place = min(place, column)
                    else:
                        second = max(second, entries[column])
                if number > 1:
                    second = best
        places[row], largest[row], seconds[row] = place, best, second
    return places, largest, seconds


@_compiled()
def _group_maxima(entries: np.ndarray, maxima: np.ndarray) -> None:
    """Set the largest entry of each group; minus infinity for one without entries."""
    maxima[:] = -np.inf
    whole = len(entries) // _GROUPS * _GROUPS
    for first in range(0, whole, _GROUPS):
        part = entries[first : first + _GROUPS]
        for group in range(_GROUPS):
            maxima[group] = part[group] if part[group] > maxima[group] else maxima[group]
    for group, entry in enumerate(entries[whole:]):
        maxima[group] = entry if entry > maxima[group] else maxima[group]
