"""Export of keyframes with tracks as a model of COLMAP or as nerfstudio's ``transforms.json``."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ros_matching.atomic_file import write_atomic
from ros_matching.datatypes import Camera, Keyframe, PointCloud
from ros_matching.geometry.se3 import invert
from ros_matching.geometry.triangulation import triangulate_tracks
from ros_matching.io.colmap_model import NO_POINT, ColmapModel, ModelImage, ModelPoints, pinhole_camera
from ros_matching.io.point_clouds import write_cloud
from ros_matching.io.poses import swap_opengl

IMAGES = "images"
_MAX_ERROR_PX = 4.0
_ROUNDS = 4  # each without the observation of a point that fitted worst in the one before


@dataclass(frozen=True)
class TrackObservations:
    """The landmarks ``ids`` (P,) that a keyframe observes, -1 for none, at ``points_px`` (P, 2), ``colors`` (P, 3)."""

    points_px: np.ndarray
    ids: np.ndarray
    colors: np.ndarray


@dataclass(frozen=True)
class ExportedKeyframe:
    """A keyframe to export, whose image is the file ``name`` in the folder ``IMAGES``."""

    name: str
    map_id: int
    world_from_camera: np.ndarray
    observations: TrackObservations

    @classmethod
    def of(cls, keyframe: Keyframe) -> ExportedKeyframe:
        """Create it from a keyframe as it is now."""
        height, width = keyframe.frame.image.shape[:2]
        columns, rows = np.round(keyframe.sparse_points_px).astype(int).T
        colors = keyframe.frame.image[rows.clip(0, height - 1), columns.clip(0, width - 1)]
        ids = keyframe.sparse_point_ids
        ids = np.full(len(colors), -1) if ids is None else ids
        name = f"{keyframe.frame.index:06d}.png"
        return cls(
            name, keyframe.map_id, keyframe.world_from_camera, TrackObservations(keyframe.sparse_points_px, ids, colors)
        )


def colmap_model(keyframes: Mapping[int, ExportedKeyframe], camera: Camera) -> ColmapModel:
    """The model of keyframes by their ids, with the points that two or more of them observe."""
    camera_from_world = invert(np.array([keyframe.world_from_camera for keyframe in keyframes.values()]))
    points, rows = _points([keyframe.observations for keyframe in keyframes.values()], camera_from_world, camera)
    images = [
        ModelImage(
            id=id + 1,
            name=keyframe.name,
            camera_id=1,
            camera_from_world=camera_from_world[view],
            points_px=keyframe.observations.points_px,
            point_ids=np.where(rows[view] < 0, NO_POINT, rows[view] + 1),
        )
        for view, (id, keyframe) in enumerate(keyframes.items())
    ]
    return ColmapModel({1: pinhole_camera(1, camera.width, camera.height, camera.matrix)}, images, points)


def write_transforms(folder: Path, keyframes: Mapping[int, ExportedKeyframe], camera: Camera) -> list[Path]:
    """Write ``transforms.json`` and ``sparse_pc.ply`` next to the images; return their paths."""
    values = {
        "camera_model": "OPENCV",
        "w": camera.width,
        "h": camera.height,
        "fl_x": camera.fx,
        "fl_y": camera.fy,
        "cx": camera.cx + 0.5,  # the centre of the first pixel is at (0.5, 0.5) there
        "cy": camera.cy + 0.5,
        **dict.fromkeys(("k1", "k2", "p1", "p2"), 0.0),
        "ply_file_path": "sparse_pc.ply",
        "frames": [
            {
                "file_path": f"{IMAGES}/{keyframe.name}",
                "transform_matrix": swap_opengl(keyframe.world_from_camera).tolist(),
            }
            for keyframe in keyframes.values()
        ],
    }
    points = colmap_model(keyframes, camera).points
    cloud = PointCloud(points.positions, points.colors, np.ones(len(points.ids), np.float32))
    paths = [folder / "transforms.json", folder / "sparse_pc.ply"]
    write_atomic(paths[0], json.dumps(values, indent=1) + "\n")
    write_cloud(paths[1], cloud)
    return paths


def _points(
    observations: list[TrackObservations], camera_from_world: np.ndarray, camera: Camera
) -> tuple[ModelPoints, list[np.ndarray]]:
    """The points, and for each view the row of the point that each of its observations belongs to, or -1."""
    lengths = [len(view.ids) for view in observations]
    views = np.repeat(np.arange(len(observations)), lengths)
    pixels = np.concatenate([view.points_px for view in observations])
    colors = np.concatenate([view.colors for view in observations])
    ids = np.concatenate([view.ids for view in observations])
    unique, points = np.unique(ids, return_inverse=True)
    used = ids >= 0
    for is_last in [False] * (_ROUNDS - 1) + [True]:
        used &= np.bincount(points[used], minlength=len(unique))[points] >= 2
        positions, errors = triangulate_tracks(
            camera, camera_from_world, views[used], points[used], pixels[used], len(unique)
        )
        worst = np.zeros(len(unique))
        np.maximum.at(worst, points[used], errors)
        fits = (errors <= _MAX_ERROR_PX) | ((errors < worst[points[used]]) & (not is_last))
        used[used] = fits
    counts = np.bincount(points[used], minlength=len(unique))
    kept = np.flatnonzero(counts >= 2)
    new_rows = np.full(len(unique), -1)
    new_rows[kept] = np.arange(len(kept))

    def mean(values: np.ndarray) -> np.ndarray:
        return np.bincount(points[used], values, minlength=len(unique))[kept] / counts[kept]

    model = ModelPoints(
        ids=np.arange(1, len(kept) + 1),
        positions=positions[kept],
        colors=np.column_stack([mean(colors[used, channel]) for channel in range(3)]).round().astype(np.uint8),
        errors_px=mean(errors[fits]),
    )
    return model, np.split(np.where(used, new_rows[points], -1), np.cumsum(lengths)[:-1])
