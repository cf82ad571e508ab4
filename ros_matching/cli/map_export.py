"""``ros-matching map-export``: a saved map as a model of COLMAP, or its keyframes as a trajectory."""

from __future__ import annotations

import argparse
import logging
from pathlib import Path
from typing import TYPE_CHECKING

from ros_matching.errors import ConfigError

if TYPE_CHECKING:
    import numpy as np

    from ros_matching.atlas.slam_map import SlamMap
    from ros_matching.atlas.stored_keyframes import StoredKeyframe
    from ros_matching.datatypes import Camera
    from ros_matching.io.keyframe_model import ExportedKeyframe

_LOGGER = logging.getLogger(__name__)
_GREY = 128  # colour of points whose keyframe has no image


def add_parser(subparsers: argparse._SubParsersAction) -> argparse.ArgumentParser:
    """Declare the subcommand."""
    parser = subparsers.add_parser(
        "map-export",
        help="export a saved map to COLMAP, or its keyframes as a trajectory",
        description="Export a saved map. Parts that no loop connects become models of their own; a trajectory has the "
        "keyframes of the largest part.",
    )
    parser.add_argument("map_dir", metavar="DIR", type=Path, help="folder of the map")
    parser.add_argument(
        "--colmap",
        metavar="DIR",
        type=Path,
        help="write COLMAP's text model (sparse/0/*.txt) and the reduced images into an empty folder",
    )
    parser.add_argument("--tum", metavar="FILE", type=Path, help="write the poses of the keyframes in TUM format")
    return parser


def run(args: argparse.Namespace) -> int:
    """Export the map."""
    from ros_matching.atlas.map_storage import load_map

    if args.colmap is None and args.tum is None:
        raise ConfigError("nothing to export: give --colmap DIR or --tum FILE")
    if args.colmap is not None and args.colmap.exists() and (not args.colmap.is_dir() or any(args.colmap.iterdir())):
        raise ConfigError(f"--colmap: {args.colmap} is not an empty folder; choose another, or empty it")
    slam_map = load_map(args.map_dir)
    if args.tum is not None:
        _write_tum(slam_map, args.tum)
    if args.colmap is not None:
        _write_colmap(slam_map, args.colmap)
    return 0


def _write_tum(slam_map: SlamMap, file: Path) -> None:
    import numpy as np

    from ros_matching.io.trajectory import Trajectory, write_tum

    parts = slam_map.components()
    if len(parts) > 1:
        _LOGGER.warning("%d keyframes of smaller parts are left out of %s", sum(map(len, parts[1:])), file)
    keyframes = sorted((slam_map.keyframe(id) for id in (parts or [[]])[0]), key=lambda keyframe: keyframe.stamp_ns)
    poses = np.array([keyframe.map_from_camera for keyframe in keyframes]).reshape(-1, 4, 4)
    write_tum(file, Trajectory(np.array([keyframe.stamp_ns for keyframe in keyframes], np.int64), poses))
    print(f"{len(keyframes)} poses written to {file}")


def _write_colmap(slam_map: SlamMap, folder: Path) -> None:
    from ros_matching.io.colmap_model import write_model
    from ros_matching.io.keyframe_model import IMAGES, colmap_model

    camera = _exported_camera(slam_map)
    (folder / IMAGES).mkdir(parents=True, exist_ok=True)
    parts = [part for part in slam_map.components() if len(part) > 1]
    for number, ids in enumerate(parts):
        keyframes = {id: _exported(slam_map.keyframe(id), slam_map.camera, camera) for id in ids}
        for id in ids:
            if slam_map.keyframe(id).jpeg:
                (folder / IMAGES / keyframes[id].name).write_bytes(slam_map.keyframe(id).jpeg)
        model = colmap_model(keyframes, camera)
        write_model(folder / "sparse" / str(number), model, as_text=True)
        print(f"{len(ids)} images and {len(model.points.ids)} points written to {folder / 'sparse' / str(number)}")
    if not parts:
        _LOGGER.warning("nothing is exported to %s: the map has fewer than two connected keyframes", folder)


def _exported_camera(slam_map: SlamMap) -> Camera:
    """The camera of the images that the map keeps, which are reduced."""
    for keyframe in slam_map.keyframes:
        image = _image(keyframe)
        if image is not None:
            return slam_map.camera.scaled(image.shape[1], image.shape[0])
    return slam_map.camera


def _image(keyframe: StoredKeyframe) -> np.ndarray | None:
    """The reduced image (H, W, 3) uint8 RGB; ``None`` if it is not kept. Raises ``SourceError`` if it is damaged."""
    import numpy as np

    from ros_matching.io.encodings import decode_payload

    if not keyframe.jpeg:
        return None
    image = decode_payload(keyframe.jpeg)
    # OpenCV has blue first; a grey image has no channels
    return image[..., ::-1] if image.ndim == 3 else np.stack([image] * 3, axis=-1)


def _exported(keyframe: StoredKeyframe, full: Camera, reduced: Camera) -> ExportedKeyframe:
    """The keyframe with its pixels in the reduced image; pixel centres are at integers."""
    import numpy as np

    from ros_matching.io.keyframe_model import ExportedKeyframe, TrackObservations

    ratio = np.array([reduced.width / full.width, reduced.height / full.height])
    points_px = (keyframe.keypoints_px.astype(np.float64) + 0.5) * ratio - 0.5
    image = _image(keyframe)
    if image is None:
        colors = np.full((len(points_px), 3), _GREY, np.uint8)
    else:
        columns, rows = np.round(points_px).astype(int).T
        colors = image[rows.clip(0, image.shape[0] - 1), columns.clip(0, image.shape[1] - 1)]
    observations = TrackObservations(points_px, keyframe.landmark_ids, colors)
    return ExportedKeyframe(f"{keyframe.id:06d}.jpg", 0, keyframe.map_from_camera, observations)
