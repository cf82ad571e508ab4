"""Maps for ``nav2_map_server``: an image of the cells (PGM) and its description (YAML)."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from ros_matching.atomic_file import write_atomic
from ros_matching.datatypes import OccupancyGrid
from ros_matching.datatypes.grid import FREE, OCCUPIED
from ros_matching.geometry.se3 import invert

YAML_FILE, IMAGE_FILE = "map.yaml", "map.pgm"
_GREY = {OCCUPIED: 0, FREE: 254}
_UNKNOWN_GREY = 205
# In the mode trinary, p = (255 - grey) / 255 is occupied above the first and free below the second. Unknown cells have
# p = 0.19608, so that a larger threshold, as in some examples, would make them free.
_OCCUPIED_THRESHOLD, _FREE_THRESHOLD = 0.65, 0.196


def write_grid(folder: str | Path, grid: OccupancyGrid) -> list[Path]:
    """Write map.pgm and map.yaml into a folder, created if absent; return the paths. Raises ``OSError``.

    The frame of the map is that of the ground, with z up.
    """
    folder = Path(folder)
    image = np.full(grid.cells.shape, _UNKNOWN_GREY, np.uint8)
    for cell, grey in _GREY.items():
        image[grid.cells == cell] = grey
    height, width = image.shape
    content = f"P5\n# {grid.resolution:g} per cell\n{width} {height}\n255\n".encode() + image[::-1].tobytes()
    write_atomic(folder / IMAGE_FILE, content)
    write_atomic(folder / YAML_FILE, _description(grid))
    return [folder / YAML_FILE, folder / IMAGE_FILE]


def _description(grid: OccupancyGrid) -> str:
    """Return the YAML; row 0 of the image is the last row of the grid, and the origin the corner of cell (0, 0)."""
    rows = "\n".join("#   " + " ".join(f"{value:.9g}" for value in row) for row in invert(grid.world_from_ground))
    return (
        f"image: {IMAGE_FILE}\nmode: trinary\nresolution: {grid.resolution:.9g}\n"
        f"origin: [{grid.origin[0]:.9g}, {grid.origin[1]:.9g}, 0.0]\nnegate: 0\n"
        f"occupied_thresh: {_OCCUPIED_THRESHOLD}\nfree_thresh: {_FREE_THRESHOLD}\n"
        f"# map_from_world (4, 4), which takes points of the trajectory and of the cloud into the frame of the map:\n"
        f"{rows}\n"
    )
