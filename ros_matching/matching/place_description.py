"""Place descriptors of the matchers that have trained ones: VLAD of PoSFeat-lite and of SIFT descriptors."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ros_matching.matching.parts import PlaceDescriber

if TYPE_CHECKING:
    from ros_matching.networks.vlad.network import Vlad

VLAD_OF = {"posfeat_lite": "vlad_posfeat_lite", "sift": "vlad_sift"}  # network by extractor


class VladDescriber(PlaceDescriber):
    """Aggregates the descriptors of an image on the CPU; the weights are loaded when the first one is described."""

    is_available = True

    def __init__(self, name: str, folder: Path | None = None) -> None:
        """``name`` is the network's, ``folder`` that of its weights; by default those of the package."""
        self._name = name
        self._folder = folder
        self._network: Vlad | None = None

    def describe(self, descriptors: np.ndarray) -> np.ndarray:
        """Return a unit vector (P,) float32 of descriptors (N, D)."""
        import torch

        if self._network is None:
            from ros_matching.networks.checkpoint import load_named, weights_file

            self._network = load_named(weights_file(self._name, self._folder), self._name)
        with torch.inference_mode():
            return self._network(torch.from_numpy(descriptors.astype(np.float32))).numpy()


def place_describer(extractor: str) -> PlaceDescriber:
    """Return the describer for the descriptors of an extractor; one that refuses if none is trained."""
    return VladDescriber(VLAD_OF[extractor]) if extractor in VLAD_OF else PlaceDescriber()
