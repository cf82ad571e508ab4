"""The largest entries of the rows of a table: ``torch.topk``, or on a CPU with Numba (extra ``cpu``) half its time."""

from __future__ import annotations

import importlib.util
from functools import cache

import torch
from torch import Tensor


def largest_in_rows(table: Tensor, count: int) -> Tensor:
    """The columns (B, N, count) of the largest entries of each row of a table (B, N, M), the largest first.

    Of equals any may come first; the table holds no NaN.
    """
    on_host = table.device.type == "cpu" and table.dtype in (torch.float32, torch.float64)
    if not on_host or torch.compiler.is_compiling() or not _has_compiler():
        return table.topk(count, dim=2).indices
    from ros_matching.networks import largest_compiled

    found = [largest_compiled.largest_in_rows(item.detach().numpy(), count) for item in table]
    return torch.stack([torch.from_numpy(columns) for columns in found])


@cache
def _has_compiler() -> bool:
    return importlib.util.find_spec("numba") is not None
