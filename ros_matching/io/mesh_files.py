"""Meshes as PLY files, binary, which Blender, CloudCompare, MeshLab and Open3D read."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from ros_matching.atomic_file import write_atomic
from ros_matching.datatypes import Mesh
from ros_matching.errors import SourceError

_VERTEX = np.dtype([("xyz", "<f4", 3), ("rgb", "u1", 3)])
_FACE = np.dtype([("count", "u1"), ("rows", "<i4", 3)])


def check_mesh_path(path: str | Path) -> None:
    """Raise ``SourceError`` unless the name ends in ``.ply``."""
    if Path(path).suffix.lower() != ".ply":
        raise SourceError(f"a mesh is written as PLY: expected a name with .ply, got {path}")


def write_mesh(path: str | Path, mesh: Mesh) -> None:
    """Write a mesh with the colours of its vertices. Raises ``SourceError`` and ``OSError``."""
    check_mesh_path(path)
    header = (
        "ply\nformat binary_little_endian 1.0\ncomment written by ros_matching\n"
        f"element vertex {len(mesh.vertices)}\n"
        + "".join(f"property float {name}\n" for name in "xyz")
        + "".join(f"property uchar {name}\n" for name in ("red", "green", "blue"))
        + f"element face {len(mesh.triangles)}\nproperty list uchar int vertex_indices\nend_header\n"
    )
    vertices, faces = np.zeros(len(mesh.vertices), _VERTEX), np.zeros(len(mesh.triangles), _FACE)
    vertices["xyz"], vertices["rgb"] = mesh.vertices, mesh.colors
    faces["count"], faces["rows"] = 3, mesh.triangles
    write_atomic(path, header.encode() + vertices.tobytes() + faces.tobytes())
