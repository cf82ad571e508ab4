"""Writing the map to a file that a parameter names."""

from __future__ import annotations

import threading
from collections.abc import Callable

from rclpy.impl.rcutils_logger import RcutilsLogger

from ros_matching.atomic_file import output_path
from ros_matching.datatypes import PointCloud
from ros_matching.errors import NodeError, SourceError
from ros_matching.io.cloud import check_cloud_path, write_cloud
from ros_matching.nodes.problems import Problem, ProblemLog


def check_cloud_file(file: str) -> None:
    """Raise ``NodeError`` with the remedy for a file that no cloud can be written to, as far as its name shows."""
    if not file:
        raise NodeError("no file is named; set the parameter cloud_file first (ros2 param set)")
    try:
        check_cloud_path(output_path(file))
    except (SourceError, OSError) as error:
        raise NodeError(f"cannot write {file}: {error}; choose another cloud_file") from error


def save_cloud(cloud: PointCloud, file: str) -> str:
    """Write a cloud as PLY or PCD, by the suffix; what was written where. Raises ``NodeError`` with the remedy."""
    check_cloud_file(file)
    if len(cloud) == 0:
        raise NodeError("nothing has been mapped since the last beginning; there is nothing to save")
    try:
        path = output_path(file)
        write_cloud(path, cloud)
    except (SourceError, OSError) as error:
        raise NodeError(f"cannot write {file}: {error}; choose another cloud_file") from error
    return f"{len(cloud)} points: {path}"


class MapFile:
    """The file that gets the map at the end of a run: written once, whichever thread comes first."""

    def __init__(self, logger: RcutilsLogger, problems: ProblemLog) -> None:
        self._logger = logger
        self._problems = problems
        self._lock = threading.Lock()
        self._is_saved = False
        self.failure = ""

    def renew(self) -> None:
        """Expect another map."""
        self._is_saved = False
        self.failure = ""

    def save(self, cloud: Callable[[], PointCloud], file: str) -> None:
        """Write the map once, unless it is empty, and log that; ``failure`` says why it was not written."""
        with self._lock:
            if self._is_saved:
                return
            self._is_saved = True
            try:
                points = cloud()
                if file and len(points) == 0:
                    self._logger.warning(f"nothing has been mapped, so {file} is not written")
                else:
                    self._logger.info(f"saved {save_cloud(points, file)}")
            except Exception as error:
                self.failure = f"the map was not saved: {error}"
                self._problems.report(Problem.OUTPUT, self.failure)
