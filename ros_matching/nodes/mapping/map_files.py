"""Files that ``mapping_node`` writes: the cloud, and the map itself, from which mapping continues."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path

from rclpy.impl.rcutils_logger import RcutilsLogger

from ros_matching.atomic_file import output_path
from ros_matching.datatypes import PointCloud
from ros_matching.errors import MapError, NodeError, SourceError
from ros_matching.io.point_clouds import check_cloud_path, write_cloud
from ros_matching.mapping.dense_map_file import SUFFIX, StoredDenseMap, load_dense_map, save_dense_map
from ros_matching.nodes.common.problems import Problem, ProblemLog
from ros_matching.nodes.mapping.config import MappingNodeConfig


def check_cloud_file(file: str) -> None:
    """Raise ``NodeError`` with the remedy for a file name that no cloud can be written to."""
    if not file:
        raise NodeError("no file is named; set the parameter cloud_file first (ros2 param set)")
    try:
        check_cloud_path(output_path(file))
    except (SourceError, OSError) as error:
        raise NodeError(f"cannot write {file}: {error}; choose another cloud_file") from error


def save_cloud(cloud: PointCloud, file: str) -> str:
    """Write a cloud as PLY or PCD, by the suffix; return a summary. Raises ``NodeError`` with the remedy."""
    check_cloud_file(file)
    if len(cloud) == 0:
        raise NodeError("nothing has been mapped since the last restart; there is nothing to save")
    try:
        path = output_path(file)
        write_cloud(path, cloud)
    except (SourceError, OSError) as error:
        raise NodeError(f"cannot write {file}: {error}; choose another cloud_file") from error
    return f"{len(cloud)} points: {path}"


def check_map_file(file: str) -> None:
    """Raise ``NodeError`` with the remedy for a file name that no map can be written to."""
    if not file:
        raise NodeError("no file is named; set the parameter map_file first (ros2 param set)")
    if Path(file).suffix != SUFFIX:
        raise NodeError(f"the file of a map ends in {SUFFIX}, got {file}; choose another map_file")
    try:
        output_path(file)
    except OSError as error:
        raise NodeError(f"cannot write {file}: {error}; choose another map_file") from error


def save_map(stored: StoredDenseMap | None, file: str) -> str:
    """Write a map, from which mapping continues; return a summary. Raises ``NodeError`` with the remedy."""
    check_map_file(file)
    if stored is None or not len(stored.arrays.points):
        raise NodeError("nothing has been mapped since the last restart; there is nothing to save")
    try:
        path = save_dense_map(file, stored)
    except OSError as error:
        raise NodeError(f"cannot write {file}: {error}; choose another map_file") from error
    return f"{len(stored.arrays.points)} points of {len(stored.stamps_ns)} keyframes: {path}"


def load_map(file: str) -> StoredDenseMap | None:
    """Read the map to continue; ``None`` without a file. Raises ``NodeError`` with the remedy for a damaged one."""
    if not file:
        return None
    check_map_file(file)
    if not output_path(file).exists():
        return None
    try:
        return load_dense_map(file)
    except MapError as error:
        raise NodeError(f"the map cannot be continued: {error}; choose another map_file") from error


class FilesAtEnd:
    """Files of the map at the end of a run: written once, by whichever thread comes first."""

    def __init__(self, logger: RcutilsLogger, problems: ProblemLog) -> None:
        self._logger = logger
        self._problems = problems
        self._lock = threading.Lock()
        self._is_saved = False
        self.failure = ""

    @staticmethod
    def check(config: MappingNodeConfig) -> None:
        """Raise ``NodeError`` if there is no file to write, or one that cannot be written."""
        if config.cloud_file or not config.map_file:
            check_cloud_file(config.cloud_file)
        if config.map_file:
            check_map_file(config.map_file)

    def reset(self) -> None:
        """Expect another map."""
        self._is_saved = False
        self.failure = ""

    def save(
        self, cloud: Callable[[], PointCloud], stored: Callable[[], StoredDenseMap | None], config: MappingNodeConfig
    ) -> None:
        """Write the files once, unless the map is empty; ``failure`` is the reason if that fails."""
        with self._lock:
            if self._is_saved:
                return
            self._is_saved = True
            try:
                points = cloud()
                if len(points) == 0 and (config.cloud_file or config.map_file):
                    self._logger.warning(
                        f"nothing has been mapped, so {config.cloud_file or config.map_file} is not written"
                    )
                    return
                if config.cloud_file or not config.map_file:
                    self._logger.info(f"saved {save_cloud(points, config.cloud_file)}")
                if config.map_file:
                    self._logger.info(f"saved {save_map(stored(), config.map_file)}")
            except Exception as error:
                self.failure = f"the map was not saved: {error}"
                self._problems.report(Problem.OUTPUT, self.failure)
