"""Grids as files of nav2_map_server, read back as its documentation describes them."""

from __future__ import annotations

import re
from pathlib import Path

import cv2
import numpy as np
import yaml

from ros_matching.datatypes import OccupancyGrid
from ros_matching.io.grid_files import write_grid

CELLS = np.array([[0, 0, 100], [-1, 0, 100], [-1, -1, -1], [0, 100, 0]], np.int8)


def read_map(file: Path) -> tuple[np.ndarray, float, list[float]]:
    """Cells (H, W) from the first row of the world on, resolution and origin, by the rules of the mode trinary."""
    description = yaml.safe_load(file.read_text())
    image = cv2.imread(str(file.parent / description["image"]), cv2.IMREAD_UNCHANGED)
    assert image.dtype == np.uint8
    assert image.ndim == 2
    assert description["mode"] == "trinary"
    occupied = image / 255.0 if description["negate"] else (255 - image) / 255.0
    cells = np.full(image.shape, -1, np.int8)
    cells[occupied > description["occupied_thresh"]] = 100
    cells[occupied < description["free_thresh"]] = 0
    return cells[::-1], description["resolution"], description["origin"]


def test_a_grid_comes_back(tmp_path: Path) -> None:
    pose = np.array([[0.0, -1, 0, 4], [1, 0, 0, -2], [0, 0, 1, 0.5], [0, 0, 0, 1]])
    written = write_grid(tmp_path / "map", OccupancyGrid(CELLS, 0.05, np.array([-1.25, 2.5]), pose))
    assert [path.name for path in written] == ["map.yaml", "map.pgm"]
    cells, resolution, origin = read_map(written[0])
    np.testing.assert_array_equal(cells, CELLS)
    assert (resolution, origin) == (0.05, [-1.25, 2.5, 0.0])
    rows = [
        [float(word) for word in line[1:].split()] for line in re.findall(r"^# +[-\d].*$", written[0].read_text(), re.M)
    ]
    np.testing.assert_allclose(np.array(rows) @ pose, np.eye(4), atol=1e-9)


def test_the_image_has_the_header_of_a_binary_pgm(tmp_path: Path) -> None:
    write_grid(tmp_path, OccupancyGrid(CELLS, 0.05, np.zeros(2), np.eye(4)))
    lines = (tmp_path / "map.pgm").read_bytes().split(b"\n", 4)
    assert (lines[0], lines[2], lines[3]) == (b"P5", b"3 4", b"255")
    assert lines[1].startswith(b"#")
    assert len(lines[4]) == CELLS.size
