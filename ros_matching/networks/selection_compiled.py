"""The largest entries of each row of a table as one compiled loop over the rows, for tables in host memory.

Of k groups of entries with the largest maxima, these maxima are k entries of the row: nothing smaller than the least of
them can be among the k largest entries. The maxima of groups are vectorised, and little is left to sort. Loops without
branches do the rest, because the branches would depend on the entries and be mispredicted. Compiled by Numba at the
first use, and cached.
"""

from __future__ import annotations

import functools

import numba
import numpy as np

_GROUPS = 64  # each takes every 64th column
_PAIRS = (
    _GROUPS // 2
)  # of groups, whose maxima give the limit: a little lower than that of the groups, in half the time
_compiled = functools.partial(numba.njit, cache=True, nogil=True, error_model="numpy")


@_compiled()
def largest_in_rows(table: np.ndarray, count: int) -> np.ndarray:
    """The columns (N, count) of the largest entries of each row of (N, M), the largest first; without NaN."""
    rows, columns = table.shape
    peaks, pairs = np.empty(_GROUPS, table.dtype), np.empty(_PAIRS, table.dtype)
    values, chosen = np.empty(columns + 1, table.dtype), np.zeros(columns + 1, np.int64)
    found = np.zeros((rows, count), np.int64)
    for row in range(rows):
        entries = table[row]
        number = columns
        if columns < _GROUPS or count > _PAIRS:
            values[:columns], chosen[:columns] = entries, np.arange(columns)
        else:
            _group_maxima(entries, peaks)
            number = _take_from(entries, peaks, _lower_bound(peaks, count, pairs), values, chosen)
        if number > 4 * count:
            _sort_first(values, chosen, number, count)
            found[row] = chosen[:count]
        else:
            _rank(values, chosen, number, found[row])
    return found


@_compiled()
def _group_maxima(entries: np.ndarray, peaks: np.ndarray) -> None:
    peaks[:] = entries[:_GROUPS]
    whole = len(entries) // _GROUPS * _GROUPS
    for first in range(_GROUPS, whole, _GROUPS):
        part = entries[first : first + _GROUPS]
        for group in range(_GROUPS):
            peaks[group] = part[group] if part[group] > peaks[group] else peaks[group]
    for group, entry in enumerate(entries[whole:]):
        peaks[group] = entry if entry > peaks[group] else peaks[group]


@_compiled()
def _lower_bound(peaks: np.ndarray, count: int, pairs: np.ndarray) -> float:
    """The ``count``-th largest maximum of the pairs of groups, by as many passes of a bubble sort."""
    for pair in range(_PAIRS):
        pairs[pair] = peaks[pair] if peaks[pair] > peaks[pair + _PAIRS] else peaks[pair + _PAIRS]
    for done in range(count):
        for pair in range(_PAIRS - 1 - done):
            first, second = pairs[pair], pairs[pair + 1]
            pairs[pair] = second if first > second else first
            pairs[pair + 1] = first if first > second else second
    return pairs[_PAIRS - count]


@_compiled()
def _take_from(entries: np.ndarray, peaks: np.ndarray, limit: float, values: np.ndarray, chosen: np.ndarray) -> int:
    """Collect the entries of at least ``limit`` and their columns; return how many they are."""
    hits, groups = 0, np.empty(_GROUPS + 1, np.int64)
    for group in range(_GROUPS):
        groups[hits] = group
        hits += peaks[group] >= limit
    number = 0
    for hit in range(hits):
        for column in range(groups[hit], len(entries), _GROUPS):
            values[number], chosen[number] = entries[column], column
            number += entries[column] >= limit
    return number


@_compiled()
def _rank(values: np.ndarray, chosen: np.ndarray, number: int, found: np.ndarray) -> None:
    """Sort the first ``number`` columns by counting the larger values of each."""
    for one in range(number):
        rank = 0
        for other in range(one):
            rank += values[other] >= values[one]
        for other in range(one + 1, number):
            rank += values[other] > values[one]
        if rank < len(found):
            found[rank] = chosen[one]


@_compiled()
def _sort_first(values: np.ndarray, chosen: np.ndarray, number: int, count: int) -> None:
    """Bring the largest ``count`` of the first ``number`` values to the front, in descending order, with ``chosen``."""
    for last in range(1, number):
        value, column = values[last], chosen[last]
        rank = min(last, count)
        if rank == count and value <= values[count - 1]:
            continue
        if rank == count:
            rank = count - 1
        while rank > 0 and values[rank - 1] < value:
            values[rank], chosen[rank] = values[rank - 1], chosen[rank - 1]
            rank -= 1
        values[rank], chosen[rank] = value, column
