"""Occupancy grids: free, occupied and unknown cells of the ground."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ros_matching.datatypes.arrays import check_pose, check_shape
from ros_matching.errors import DataTypeError

UNKNOWN, FREE, OCCUPIED = -1, 0, 100


@dataclass(frozen=True)
class OccupancyGrid:
    """Cells (H, W) int8 as in ``nav_msgs/OccupancyGrid``: 0 free, 100 occupied, -1 unknown.

    ``resolution`` is the edge length of a cell. ``origin`` (2,) is the outer corner of cell (0, 0) in the frame
    ``world_from_ground`` (4, 4): x along the columns, y along the rows, z up, zero on the ground.
    """

    cells: np.ndarray
    resolution: float
    origin: np.ndarray
    world_from_ground: np.ndarray

    def __post_init__(self) -> None:
        if self.cells.ndim != 2 or self.cells.dtype != np.int8:
            raise DataTypeError(f"OccupancyGrid.cells must be (H, W) int8, got {self.cells.shape} {self.cells.dtype}")
        if not self.resolution > 0:
            raise DataTypeError(f"OccupancyGrid.resolution must be positive, got {self.resolution}")
        check_shape("OccupancyGrid.origin", self.origin, (2,))
        check_pose("OccupancyGrid.world_from_ground", self.world_from_ground)

    @property
    def centers(self) -> np.ndarray:
        """Centres (H, W, 2) of the cells on the ground."""
        rows, columns = np.indices(self.cells.shape)
        return self.origin + self.resolution * (np.stack([columns, rows], axis=2) + 0.5)

    @property
    def world_from_grid(self) -> np.ndarray:
        """Pose (4, 4) of the outer corner of cell (0, 0)."""
        pose = self.world_from_ground.copy()
        pose[:3, 3] += pose[:3, :2] @ self.origin
        return pose
