"""``ros-matching map --grid``: the occupancy grid of a run, its files, and its errors in rendered scenes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ros_matching.datatypes import ScaleState
from ros_matching.evaluation.mapping.grid_errors import evaluate_grid, grid_table
from ros_matching.io.grid_files import IMAGE_FILE, YAML_FILE, write_grid
from ros_matching.mapping import GridConfig, MappingResult, OccupancyMapper

if TYPE_CHECKING:
    from ros_matching.evaluation.mapping.mapping_report import Similarity
    from ros_matching.evaluation.measurement import Table
    from ros_matching.io import FrameSource


class GridOutput:
    """Collects the depth maps of a run and writes the grid at the end; ``reason`` explains a missing one."""

    def __init__(self, folder: Path, config: GridConfig) -> None:
        self.reason = ""
        self._folder = folder
        self._config = config
        self._mapper = OccupancyMapper(config)
        self._scale: ScaleState | None = None
        self._centers: dict[int, np.ndarray] = {}

    def clear(self) -> None:
        """Begin again, in another unit of length."""
        self._mapper.clear()
        self._centers = {}

    def take(self, result: MappingResult) -> None:
        """Add a mapped keyframe."""
        keyframe = result.keyframe
        self._scale = keyframe.scale
        self._mapper.add(keyframe.id, result.depth_map, keyframe.world_from_camera)
        self._centers[keyframe.id] = keyframe.world_from_camera[:3, 3]

    def move(self, poses: Mapping[int, np.ndarray]) -> None:
        """Correct poses of keyframes."""
        self._mapper.move(poses)
        self._centers |= {id: pose[:3, 3] for id, pose in poses.items() if id in self._centers}

    def write(self, source: FrameSource, similarity: Similarity | None) -> tuple[list[str], Sequence[Table]]:
        """Write the files; return their names, and a table of errors if the source is a rendered scene.

        ``similarity`` takes the estimated world into the true one; ``None`` if it is unknown.
        """
        if self._scale is ScaleState.UP_TO_SCALE:
            self.reason = (
                "the map is up to scale, and the cells and heights of a grid are in metres; give a scale source, such "
                "as --scale height --set scale.camera_height_m=H"
            )
            self._remove()
            return [], []
        grid = self._mapper.grid()
        if grid is None:
            self.reason = self._mapper.reason
            self._remove()
            return [], []
        names = [str(path) for path in write_grid(self._folder, grid)]
        scene = getattr(source, "scene", None)
        if scene is None or similarity is None:
            return names, []
        report = evaluate_grid(
            grid,
            lambda points: scene.distance(similarity.apply(points)) / similarity.scale,
            np.array(list(self._centers.values())),
            (self._config.min_height, self._config.max_height),
        )
        return names, [grid_table(report, source.name, grid.resolution)]

    def _remove(self) -> None:
        """Remove the files of an earlier run."""
        for name in (YAML_FILE, IMAGE_FILE):
            (self._folder / name).unlink(missing_ok=True)
