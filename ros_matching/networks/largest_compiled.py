"""The largest entries of each row of a table as one compiled loop over the rows, for tables in host memory.

Of k groups of entries with the largest maxima, these maxima are k entries of the row: nothing smaller than the least of
them can be among the k largest entries. The maxima of groups are vectorised, and little is left to sort. Compiled by
Numba at the first use, and cached.
"""

from __future__ import annotations

import functools

import numba
import numpy as np

_GROUP = 16  # entries; a group takes every so many-th column
_compiled = functools.partial(numba.njit, cache=True, nogil=True, error_model="numpy")


@_compiled()
def largest_in_rows(table: np.ndarray, count: int) -> np.ndarray:
    """The columns (N, count) of the largest entries of each row of (N, M), the largest first; without NaN."""
    rows, columns = table.shape
    groups = (columns + _GROUP - 1) // _GROUP
    peaks = np.empty(groups, table.dtype)
    values, chosen = np.empty(columns, table.dtype), np.zeros(columns, np.int64)
    found = np.zeros((rows, count), np.int64)
    for row in range(rows):
        entries = table[row]
        _group_maxima(entries, peaks)
        limit = _nth_largest(peaks, min(count, groups), values) if count <= groups else entries.min()
        number = 0
        for group in range(groups):
            if peaks[group] >= limit:
                for column in range(group, columns, groups):
                    values[number], chosen[number] = entries[column], column
                    number += entries[column] >= limit
        _sort_first(values, chosen, number, count)
        found[row] = chosen[:count]
    return found


@_compiled()
def _group_maxima(entries: np.ndarray, peaks: np.ndarray) -> None:
    groups = len(peaks)
    peaks[:] = entries[:groups]
    for first in range(groups, len(entries), groups):
        for group in range(min(groups, len(entries) - first)):
            entry = entries[first + group]
            peaks[group] = entry if entry > peaks[group] else peaks[group]


@_compiled()
def _nth_largest(entries: np.ndarray, nth: int, scratch: np.ndarray) -> float:
    """The n-th largest of the entries; ``scratch`` holds the largest so far, in descending order."""
    scratch[:nth] = -np.inf
    for entry in entries:
        if entry > scratch[nth - 1]:
            place = nth - 1
            while place > 0 and scratch[place - 1] < entry:
                scratch[place] = scratch[place - 1]
                place -= 1
            scratch[place] = entry
    return scratch[nth - 1]


@_compiled()
def _sort_first(values: np.ndarray, chosen: np.ndarray, number: int, count: int) -> None:
    """Bring the largest ``count`` of the first ``number`` values to the front, in descending order, with ``chosen``."""
    for last in range(1, number):
        value, column = values[last], chosen[last]
        place = min(last, count)
        if place == count and value <= values[count - 1]:
            continue
        if place == count:
            place = count - 1
        while place > 0 and values[place - 1] < value:
            values[place], chosen[place] = values[place - 1], chosen[place - 1]
            place -= 1
        values[place], chosen[place] = value, column
