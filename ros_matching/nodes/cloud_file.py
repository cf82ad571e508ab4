"""Writing the map to a file that a parameter names."""

from __future__ import annotations

from ros_matching.atomic_file import output_path
from ros_matching.datatypes import PointCloud
from ros_matching.errors import NodeError, SourceError
from ros_matching.io.cloud import write_cloud


def save_cloud(cloud: PointCloud, file: str) -> str:
    """Write a cloud as PLY or PCD, by the suffix; what was written where. Raises ``NodeError`` with the remedy."""
    if not file:
        raise NodeError("no file is named; set the parameter cloud_file first (ros2 param set)")
    if len(cloud) == 0:
        raise NodeError("nothing has been mapped since the last beginning; there is nothing to save")
    try:
        path = output_path(file)
        write_cloud(path, cloud)
    except (SourceError, OSError) as error:
        raise NodeError(f"cannot write {file}: {error}; choose another cloud_file") from error
    return f"{len(cloud)} points: {path}"
