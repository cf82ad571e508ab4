"""Triangle meshes."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ros_matching.datatypes.arrays import check_shape
from ros_matching.errors import DataTypeError


@dataclass(frozen=True)
class Mesh:
    """Coloured triangles: ``vertices`` (N, 3) float, ``colors`` (N, 3) uint8 RGB, ``triangles`` (M, 3) of their rows.

    Seen from outside of the solid, the vertices of a triangle are in counter-clockwise order.
    """

    vertices: np.ndarray
    colors: np.ndarray
    triangles: np.ndarray

    def __post_init__(self) -> None:
        check_shape("Mesh.vertices", self.vertices, (len(self.vertices), 3))
        check_shape("Mesh.colors", self.colors, (len(self.vertices), 3))
        check_shape("Mesh.triangles", self.triangles, (len(self.triangles), 3))
        if self.colors.dtype != np.uint8:
            raise DataTypeError(f"Mesh.colors must be uint8 RGB, got {self.colors.dtype}")
        if len(self.triangles) and not 0 <= self.triangles.min() <= self.triangles.max() < len(self.vertices):
            raise DataTypeError(f"Mesh.triangles must be rows of its {len(self.vertices)} vertices")
