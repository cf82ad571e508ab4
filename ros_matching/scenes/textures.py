"""Sources of textures: generated patterns, or the photos of a folder."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from typing import Protocol

import cv2
import numpy as np

from ros_matching.errors import SceneError
from ros_matching.scenes.patterns import PATTERNS

_SUFFIXES = {".jpg", ".jpeg", ".png"}


class TextureSource(Protocol):
    """A source of textures (S, S, 3) uint8 RGB."""

    def texture(self, kind: str, rng: np.random.Generator) -> np.ndarray:
        """A texture for a surface of some kind (a name of ``patterns.PATTERNS``), chosen by the generator."""


class ProceduralTextures:
    """Generated textures of ``side`` pixels; each kind comes in ``variants``, made once a process."""

    def __init__(self, side: int = 512, variants: int = 12) -> None:
        self.side, self.variants = side, variants

    def texture(self, kind: str, rng: np.random.Generator) -> np.ndarray:
        """One of the variants of a kind."""
        if kind not in PATTERNS:
            raise SceneError(f"no procedural texture is called {kind!r}; there are: {', '.join(PATTERNS)}")
        return _generate(kind, int(rng.integers(self.variants)), self.side)


class PhotoTextures:
    """The middle squares of the JPEG and PNG files under a folder, resized to ``side``; the sky stays generated."""

    def __init__(self, folder: str | Path, side: int = 256) -> None:
        self._files = sorted(path for path in Path(folder).rglob("*") if path.suffix.lower() in _SUFFIXES)
        if not self._files:
            raise SceneError(f"no JPEG or PNG under {folder} to take textures from; give a folder of photos")
        self.side = side
        self._procedural = ProceduralTextures()

    def texture(self, kind: str, rng: np.random.Generator) -> np.ndarray:
        """Any photo of the folder."""
        if kind == "sky":
            return self._procedural.texture(kind, rng)
        return _load_photo(self._files[rng.integers(len(self._files))], self.side)


def with_variants(textures: TextureSource, factor: int) -> TextureSource:
    """A source with that many times the variants of each generated kind, so that places of a large scene differ."""
    if isinstance(textures, ProceduralTextures):
        return ProceduralTextures(textures.side, textures.variants * factor)
    return textures


@lru_cache(maxsize=128)
def _generate(kind: str, variant: int, side: int) -> np.ndarray:
    seed = np.random.SeedSequence([list(PATTERNS).index(kind), variant])
    return _read_only(PATTERNS[kind](np.random.default_rng(seed), side))


@lru_cache(maxsize=64)
def _load_photo(path: Path, side: int) -> np.ndarray:
    image = cv2.imread(str(path), cv2.IMREAD_COLOR)
    if image is None:
        raise SceneError(f"{path} cannot be read as an image; remove it from the folder of textures")
    height, width = image.shape[:2]
    size = min(height, width)
    top, left = (height - size) // 2, (width - size) // 2
    square = cv2.cvtColor(image[top : top + size, left : left + size], cv2.COLOR_BGR2RGB)
    shrinks = size > side
    return _read_only(cv2.resize(square, (side, side), interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_CUBIC))


def _read_only(texture: np.ndarray) -> np.ndarray:
    texture.setflags(write=False)
    return texture
