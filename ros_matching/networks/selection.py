"""Selection of the largest entries of a table, and of enough matches for a robust estimator."""

from __future__ import annotations

import importlib.util
from functools import cache

import numpy as np
import torch
from torch import Tensor


def with_strongest(selected: np.ndarray, scores: np.ndarray, least: int) -> np.ndarray:
    """Return ``selected`` (N,) bool with the others of highest ``scores`` (N,), first of equals, up to ``least``."""
    missing = least - np.count_nonzero(selected)
    if missing <= 0:
        return selected
    others = np.flatnonzero(~selected)
    added = selected.copy()
    added[others[np.argsort(-scores[others], kind="stable")[:missing]]] = True
    return added


def largest_in_rows(table: Tensor, count: int) -> Tensor:
    """The columns (B, N, count) of the largest entries of each row of a table (B, N, M), the largest first.

    Ties are in any order; the table contains no NaN.
    """
    on_host = table.device.type == "cpu" and table.dtype in (torch.float32, torch.float64)
    if not on_host or torch.compiler.is_compiling() or not _has_compiler():
        return table.topk(count, dim=2).indices
    from ros_matching.networks import selection_compiled

    found = [selection_compiled.largest_in_rows(item.detach().numpy(), count) for item in table]
    return torch.stack([torch.from_numpy(columns) for columns in found])


@cache
def _has_compiler() -> bool:
    return importlib.util.find_spec("numba") is not None
