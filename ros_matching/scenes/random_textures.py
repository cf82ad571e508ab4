"""Random textures: those of one world, a few photos and patterns that recur as in real places.

On purpose some surfaces repeat a motif many times, some are nearly blank, and different things look the same.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path

import cv2
import numpy as np

from ros_matching.errors import SceneError
from ros_matching.scenes.patterns import PATTERNS, noise

_LARGE = {"wall", "floor", "ground", "facade"}
_PATCHED = 0.6  # fraction of large textures that are made of several motifs
_PATTERNS_FOR = {
    "wall": ("plaster", "bricks", "clutter", "tiles"),
    "floor": ("planks", "tiles", "carpet"),
    "ground": ("ground",),
    "facade": ("facade", "bricks"),
    "wood": ("planks", "plaster"),
    "object": ("poster", "clutter", "carpet", "tiles"),
    "picture": ("poster",),
    "leaves": ("ground", "clutter"),
}


class WorldTextures:
    """The textures of one world, from the ``photos`` if there are any and else generated.

    ``texture`` takes the kinds of ``KINDS`` and those of ``patterns.PATTERNS``. Sides are 512 pixels for large kinds
    and 256 for the others. ``weak`` and ``repeated`` are the fractions of surfaces that are nearly blank, and that
    repeat a motif; ``shared`` is the probability that a surface looks like an earlier one of its kind.
    """

    def __init__(
        self, photos: Sequence[Path] = (), *, weak: float = 0.15, repeated: float = 0.15, shared: float = 0.35
    ) -> None:
        self._photos = photos
        self._weak, self._repeated, self._shared = weak, repeated, shared
        self._made: dict[str, list[np.ndarray]] = {}

    def texture(self, kind: str, rng: np.random.Generator) -> np.ndarray:
        """A texture (S, S, 3) uint8 for a surface of this kind."""
        made = self._made.setdefault(kind, [])
        if made and kind != "picture" and rng.random() < self._shared:
            return made[rng.integers(len(made))]
        texture = self._new(kind, rng)
        texture.setflags(write=False)
        made.append(texture)
        return texture

    def _new(self, kind: str, rng: np.random.Generator) -> np.ndarray:
        side = 512 if kind in _LARGE else 256
        if kind == "sky":
            return PATTERNS["sky"](rng, side)
        draw = rng.random()
        if draw < self._weak and kind != "picture":
            return blank(rng, side)
        motif = self._motif(kind, rng, 256)
        if draw < self._weak + self._repeated and kind != "picture":
            return repeated(motif, rng, side)
        if kind in _LARGE and rng.random() < _PATCHED:
            motif = patchwork([motif, *(self._motif(kind, rng, 256) for _ in range(3))], rng)
        return worn(motif, rng, side)

    def _motif(self, kind: str, rng: np.random.Generator, side: int) -> np.ndarray:
        patterns = _PATTERNS_FOR.get(kind, (kind,))
        if kind not in KINDS and kind not in PATTERNS:
            raise SceneError(f"no texture is of the kind {kind!r}; there are: {', '.join((*KINDS, *PATTERNS))}")
        if self._photos and rng.random() < 0.75:
            return cut_photo(self._photos[rng.integers(len(self._photos))], rng, side)
        return _pattern(str(rng.choice(patterns)), int(rng.integers(8)), side)


KINDS = tuple(_PATTERNS_FOR)


def blank(rng: np.random.Generator, side: int) -> np.ndarray:
    """Paint with hardly any texture: faint stains, light that varies slowly."""
    color = rng.uniform(60, 235) + rng.normal(0, 14, 3)
    relief = rng.uniform(2, 12) * _light(rng, side) + rng.uniform(0.5, 3) * _wear(rng, side)
    return np.clip(color.astype(np.float32) + relief[..., None], 0, 255).astype(np.uint8)


def repeated(motif: np.ndarray, rng: np.random.Generator, side: int) -> np.ndarray:
    """A motif (S, S, 3) in a grid, as on wallpaper, tiles and windows; slightly worn."""
    count = int(rng.choice([3, 4, 5, 6, 8]))
    size = -(-side // count)
    tile = cv2.resize(motif, (size, size), interpolation=cv2.INTER_AREA)
    if rng.random() < 0.5:  # a joint around each
        tile[:: size - 1] = tile[:, :: size - 1] = rng.integers(0, 256, 3)
    sheet = np.tile(tile, (count, count, 1))[:side, :side].astype(np.float32)
    gain = 1 + 0.03 * _wear(rng, side) + 0.06 * _light(rng, side)
    return np.clip(sheet * gain[..., None], 0, 255).astype(np.uint8)


def patchwork(motifs: Sequence[np.ndarray], rng: np.random.Generator) -> np.ndarray:
    """Four motifs (S, S, 3) in a square (2S, 2S, 3), shifted cyclically."""
    first, second, third, fourth = motifs
    sheet = np.vstack([np.hstack([first, second]), np.hstack([third, fourth])])
    return np.roll(sheet, rng.integers(len(sheet), size=2), (0, 1))


def worn(motif: np.ndarray, rng: np.random.Generator, side: int) -> np.ndarray:
    """A motif enlarged to ``side``, with detail finer than its pixels and slowly varying light."""
    image = motif if len(motif) == side else cv2.resize(motif, (side, side), interpolation=cv2.INTER_CUBIC)
    gain = (
        1
        + np.float32(rng.uniform(0.0, 0.08)) * _wear(rng, side)
        + np.float32(rng.uniform(0.0, 0.12)) * _light(rng, side)
    )
    return np.clip(image * gain[..., None].astype(np.float32), 0, 255).astype(np.uint8)


def cut_photo(path: Path, rng: np.random.Generator, side: int) -> np.ndarray:
    """A random square of a photo, at least half as high as that, perhaps mirrored, as (side, side, 3)."""
    image = cv2.imread(str(path), cv2.IMREAD_COLOR)
    if image is None:
        raise SceneError(f"{path} cannot be read as an image; remove it from the photos")
    height, width = image.shape[:2]
    size = max(int(min(height, width) * rng.uniform(0.5, 1.0)), 1)
    top, left = rng.integers(height - size + 1), rng.integers(width - size + 1)
    square = cv2.cvtColor(image[top : top + size, left : left + size], cv2.COLOR_BGR2RGB)
    if rng.random() < 0.5:
        square = square[:, ::-1]
    return cv2.resize(square, (side, side), interpolation=cv2.INTER_AREA if size > side else cv2.INTER_CUBIC)


def _light(rng: np.random.Generator, side: int) -> np.ndarray:
    """Slowly varying brightness (side, side) of unit standard deviation."""
    return cv2.resize(noise(rng, 32, 2, 2, 0.5), (side, side), interpolation=cv2.INTER_LINEAR)


def _wear(rng: np.random.Generator, side: int) -> np.ndarray:
    """Fine relief (side, side) of unit standard deviation: one of a few cached ones, rotated and shifted."""
    relief = np.rot90(_fine_noise(int(rng.integers(4)), side), int(rng.integers(4)))
    return np.roll(relief, rng.integers(side, size=2), (0, 1))


@lru_cache(maxsize=16)
def _fine_noise(variant: int, side: int) -> np.ndarray:
    return noise(np.random.default_rng([variant, 8]), side, side // 8, 4, 0.9)


@lru_cache(maxsize=96)
def _pattern(kind: str, variant: int, side: int) -> np.ndarray:
    pattern = PATTERNS[kind](np.random.default_rng([list(PATTERNS).index(kind), variant, 7]), side)
    pattern.setflags(write=False)
    return pattern
