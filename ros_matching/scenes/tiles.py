"""Visibility of primitives by tiles of the image, each tested only against primitives that may appear in it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Protocol

import torch

TILE_PX = 16


class TileGrid:
    """The images of one batch of views cut into square tiles, with the sample positions of a pixel.

    ``sample_offsets`` (S, 2) are in pixels around the pixel's centre. A tile holds P = 16 * 16 * S samples; the
    tiles of all views are numbered through: number = view * len(grid) + tile.
    """

    def __init__(self, width: int, height: int, sample_offsets: torch.Tensor) -> None:
        device = sample_offsets.device
        self.width, self.height, self.samples = width, height, len(sample_offsets)
        self._columns, self._rows = -(-width // TILE_PX), -(-height // TILE_PX)
        axis = torch.arange(TILE_PX, device=device, dtype=torch.float32)
        pixels = torch.stack(torch.meshgrid(axis, axis, indexing="xy"), -1).view(-1, 1, 2)
        positions = (pixels + sample_offsets).view(-1, 2)
        self.positions = torch.cat([positions, torch.ones_like(positions[:, :1])], 1).T.contiguous()  # (3, P)
        x = torch.arange(self._columns, device=device) * TILE_PX
        y = torch.arange(self._rows, device=device) * TILE_PX
        self.origins = torch.stack(torch.meshgrid(x, y, indexing="xy"), -1).view(-1, 2).float()  # (T, 2)

    def __len__(self) -> int:
        """Tiles in one view."""
        return len(self.origins)

    def overlaps(self, inside: torch.Tensor) -> torch.Tensor:
        """Tiles (B, T, N) where each of N regions may be, given by F functions ``inside`` (B, N, F, 3).

        A function is affine in the pixel, coefficients of (x, y, 1); a pixel is in the region where all F are
        positive. Conservative: a tile counts if every function is positive at any point in it.
        """
        centers = torch.cat([self.origins + (TILE_PX - 1) / 2, torch.ones_like(self.origins[:, :1])], 1)
        reach = inside[..., :2].abs().sum(-1) * (TILE_PX / 2 + 0.01)
        best = inside @ centers.T + reach[..., None]  # (B, N, F, T)
        return (best > 0).all(2).transpose(1, 2)

    def at_tile(self, functions: torch.Tensor, tiles: torch.Tensor) -> torch.Tensor:
        """Affine functions (n, k, 3) of the image's pixel, as functions of the position within tiles (n,)."""
        origins = self.origins[tiles % len(self)]
        moved = functions[..., 2] + (functions[..., :2] * origins[:, None]).sum(-1)
        return torch.cat([functions[..., :2], moved[..., None]], -1)

    def to_image(self, values: torch.Tensor) -> torch.Tensor:
        """Per-tile values (B * T, P) as images (B, H, W, S)."""
        blocks = values.view(-1, self._rows, self._columns, TILE_PX, TILE_PX, self.samples).transpose(2, 3)
        image = blocks.reshape(-1, self._rows * TILE_PX, self._columns * TILE_PX, self.samples)
        return image[:, : self.height, : self.width].contiguous()


class ShapesInView(Protocol):
    """All primitives of one type, N of them, in the views of a batch of B cameras."""

    def overlaps(self, grid: TileGrid) -> torch.Tensor:
        """Return (B, T, N) bool, True for tiles in which a primitive may appear."""

    def inverse_depth(
        self, grid: TileGrid, tiles: torch.Tensor, rows: torch.Tensor, nearest: torch.Tensor
    ) -> torch.Tensor:
        """1 / z (n, P) at the samples of tiles (n,), each of one primitive (view * N + number); 0 or less is a miss.

        ``nearest`` (n, P) is the largest so far; surfaces beyond it need no search.
        """


def nearest(
    grid: TileGrid, views: int, shapes: list[ShapesInView], present: torch.Tensor | None = None
) -> tuple[torch.Tensor, torch.Tensor]:
    """The nearest surface of samples: inverse depth (B, H, W, S), 0 for sky, and primitive (B, H, W, S), -1 for sky.

    Primitives are numbered through in the order of ``shapes``; ``present`` (B, all of them) leaves some out of views.
    """
    size = views * len(grid), grid.positions.shape[1]
    device = grid.positions.device
    best, ids = torch.zeros(size, device=device), torch.full(size, -1, dtype=torch.int32, device=device)
    first = 0
    for shape in shapes:
        candidates = shape.overlaps(grid)
        count = candidates.shape[2]
        if present is not None:
            candidates &= present[:, None, first : first + count]
        candidates = candidates.reshape(-1, count)
        candidates_of_tile = candidates.sum(1)
        order = candidates_of_tile.argsort(descending=True)[: int((candidates_of_tile > 0).sum())]
        best_ordered, ids_ordered = best[order], ids[order]
        for tiles, numbers in _rounds(candidates, order):
            best_here, ids_here = best_ordered[: len(tiles)], ids_ordered[: len(tiles)]
            found = shape.inverse_depth(grid, tiles, tiles // len(grid) * count + numbers, best_here)
            nearer = found > best_here
            torch.where(nearer, found, best_here, out=best_here)
            torch.where(nearer, (numbers + first).int()[:, None], ids_here, out=ids_here)
        best[order], ids[order] = best_ordered, ids_ordered
        first += count
    return grid.to_image(best), grid.to_image(ids)


def _rounds(candidates: torch.Tensor, order: torch.Tensor) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    """The k-th candidate of every tile with enough of them, for k = 0, 1, ...: tiles (n,), primitives (n,).

    ``order`` has the tiles with candidates by falling number of them, so those of every round are a prefix of it.
    """
    numbers = candidates.nonzero()[:, 1]
    counts = candidates.sum(1)
    starts = (counts.cumsum(0) - counts)[order]
    tiles_left = counts.bincount().flip(0).cumsum(0).flip(0)[1:].tolist()  # tiles with more than k candidates
    for k, tiles in enumerate(tiles_left):
        yield order[:tiles], numbers[starts[:tiles] + k]
