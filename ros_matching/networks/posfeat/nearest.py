"""Mutual nearest neighbours among descriptors that lie on a device."""

from __future__ import annotations

import importlib.util
from dataclasses import dataclass
from functools import cache
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from ros_matching.config import Config, parameter
from ros_matching.datatypes import Features, Matches

_TINY = 1e-6  # rounding error of 1 - cos
_BLOCK_ENTRIES = 2**20  # cosines held at a time: 4 MB, about a cache of a core
_GROUP = 128  # columns of which the maximum alone is taken first


@dataclass(frozen=True)
class NearestConfig(Config):
    """Settings of matching by mutual nearest neighbours."""

    min_cosine: float = parameter(0.0, "cosine of two descriptors below which they do not match", minimum=-1, maximum=1)
    ratio: float = parameter(
        0.9, "largest ratio of the nearest to the second distance; 1 keeps all", minimum=0.1, maximum=1
    )


class Neighbours(NamedTuple):
    """Of every descriptor of image 0: its nearest ``column`` in image 1, the ``cosine``, and the second best cosine.

    ``mutual`` is True if it is also the nearest of that one. (N,) each.
    """

    column: Tensor
    cosine: Tensor
    second: Tensor
    mutual: Tensor


class NearestMatcher:
    """Pairs of keypoints that are each other's nearest by the cosine of their descriptors."""

    def __init__(self, config: NearestConfig | None = None) -> None:
        self.config = config or NearestConfig()

    @torch.inference_mode()
    def match(self, features0: Features, features1: Features) -> Matches:
        """One-to-one matches of keypoints, in the order of those of image 0.

        The score is one minus the ratio of the distances to the nearest and the second nearest descriptor. As a weight
        it gives better relative poses than the cosine or equal weights.
        """
        if min(len(features0), len(features1)) < 2:
            nothing = np.zeros(0, dtype=np.intp)
            return Matches(np.zeros((0, 2)), np.zeros((0, 2)), np.zeros(0), nothing, nothing)
        found = nearest_neighbours(features0.descriptors, features1.descriptors)
        ratio = distance_ratio(found.cosine, found.second)
        keep = found.mutual & (found.cosine >= self.config.min_cosine) & (ratio <= self.config.ratio)
        columns = torch.where(keep, found.column, -1)
        packed = torch.stack([columns.double(), 1 - ratio.double()]).cpu().numpy()  # one copy, one wait
        rows0 = np.flatnonzero(packed[0] >= 0)
        rows1 = packed[0, rows0].astype(np.intp)
        scores = packed[1, rows0].clip(0.0, 1.0)
        return Matches(features0.keypoints_px[rows0], features1.keypoints_px[rows1], scores, rows0, rows1)


def distance_ratio(best: Tensor, second: Tensor) -> Tensor:
    """The ratio of the distances to the nearest unit vector and to the next one, of their cosines."""
    # Of unit vectors, the squared distance is 2 - 2 cos.
    return ((1 - best + _TINY).clamp(min=0) / (1 - second + _TINY).clamp(min=_TINY)).sqrt()


def nearest_neighbours(descriptors0: Tensor, descriptors1: Tensor, block_entries: int = _BLOCK_ENTRIES) -> Neighbours:
    """The nearest of unit vectors (M, D) to each of (N, D), both at least two; some rows at a time where they are many.

    Ties go to the first one.
    """
    reduced = _reduced_on_host if _is_compiled(descriptors0) else _reduced
    column, cosine, second, best = reduced(descriptors0, descriptors1, max(1, block_entries // len(descriptors1)))
    rows = torch.arange(len(column), device=column.device)
    reaches_best = cosine == best[column]
    candidate = torch.where(reaches_best, rows, len(column))
    first_row = column.new_full((len(descriptors1),), len(column)).scatter_reduce_(0, column, candidate, "amin")
    return Neighbours(column, cosine, second, reaches_best & (first_row[column] == rows))


def _reduced(descriptors0: Tensor, descriptors1: Tensor, rows: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Column, value and second value of the largest cosine of each row (N,), and the largest of each column (M,)."""
    count1 = len(descriptors1)
    padded = _in_groups(descriptors1)
    columns, cosines, seconds, peaks = [], [], [], []
    for part in descriptors0.split(rows):
        block = _cosines(part, padded, count1)
        # Values alone: the position of a column's maximum is ten times slower to find, and follows from the rows.
        peaks.append(block.amax(dim=0)[:count1])
        column, cosine, second = _two_largest(block.unflatten(1, (-1, _GROUP)))
        columns.append(column)
        cosines.append(cosine)
        seconds.append(second)
    return torch.cat(columns), torch.cat(cosines), torch.cat(seconds), torch.stack(peaks).amax(dim=0)


def _reduced_on_host(descriptors0: Tensor, descriptors1: Tensor, rows: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """The same as ``_reduced``, compiled: see ``nearest_compiled``."""
    from ros_matching.networks.posfeat import nearest_compiled

    peaks = np.full(len(descriptors1), -np.inf, np.float32)
    parts = [
        nearest_compiled.reduce_table((part @ descriptors1.mT).numpy(), peaks) for part in descriptors0.split(rows)
    ]
    column, cosine, second = (torch.from_numpy(np.concatenate(each)) for each in zip(*parts, strict=True))
    return column, cosine, second, torch.from_numpy(peaks)


def _is_compiled(descriptors: Tensor) -> bool:
    return descriptors.device.type == "cpu" and descriptors.dtype == torch.float32 and _has_compiler()


@cache
def _has_compiler() -> bool:
    return importlib.util.find_spec("numba") is not None


def _in_groups(descriptors: Tensor) -> Tensor:
    """Descriptors (N, D) with rows of zeros up to a whole number of groups."""
    return functional.pad(descriptors, (0, 0, 0, -len(descriptors) % _GROUP))


def _cosines(descriptors0: Tensor, padded1: Tensor, count1: int) -> Tensor:
    table = descriptors0 @ padded1.mT
    table[:, count1:] = -torch.inf
    return table


def _two_largest(groups: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Of each row of a table (N, groups, entries): position and value of the first maximum, and the second value; (N,).

    Maxima without their positions are vectorised on a CPU: first those of groups, then one group of each row.
    """
    peaks = groups.amax(dim=2)
    group = peaks.argmax(dim=1, keepdim=True)
    entries = groups.gather(1, group[..., None].expand(-1, -1, groups.shape[2]))[:, 0]
    largest, place = entries.max(dim=1, keepdim=True)
    elsewhere = peaks.scatter(1, group, -torch.inf).amax(dim=1)
    second = torch.maximum(elsewhere, entries.scatter(1, place, -torch.inf).amax(dim=1))
    return (group * groups.shape[2] + place)[:, 0], largest[:, 0], second
