"""Saving and loading a ``SlamMap``; the files are those of ``map_folder``.

    keyframes-00000.safetensors  128 keyframes each: poses, features, observations, images, place descriptors
    landmarks.safetensors        ids, positions, anchors
    graph.safetensors            constraints, covisibility, culled keyframes

``map_arrays`` has the arrays in them. The manifest describes camera, features and unit.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from ros_matching.atlas.map_arrays import (
    GRAPH,
    GRAVITY,
    KEYFRAMES,
    LANDMARKS,
    graph_arrays,
    keyframe_arrays,
    put_graph,
    put_keyframes,
    read_arrays,
    require,
)
from ros_matching.atlas.map_folder import Manifest, MapReader, read_manifest, writing
from ros_matching.atlas.slam_map import SlamMap
from ros_matching.atlas.stored_keyframes import EdgeKind
from ros_matching.datatypes import Camera, DistortionModel, ScaleState
from ros_matching.errors import DataTypeError, MapError

MAX_BYTES = 8 * 2**30  # of the files of a map: more than 20 000 keyframes
_PER_FILE = 128
_CAMERA_TOLERANCE = 1e-3  # of the image's width: intrinsics of two calibrations of one camera differ by more


def save_map(folder: str | Path, slam_map: SlamMap) -> None:
    """Save a map into a folder, whole or not at all; the earlier map in the folder is replaced.

    Raises ``MapError`` if the folder holds other things, and ``OSError``.
    """
    keyframes = slam_map.keyframes
    with writing(folder) as writer:
        for number, first in enumerate(range(0, len(keyframes), _PER_FILE)):
            writer.write(_keyframe_file(number), keyframe_arrays(keyframes[first : first + _PER_FILE]))
        landmarks = slam_map.landmarks
        writer.write(
            "landmarks.safetensors",
            {"id": landmarks.ids, "position": landmarks.positions, "anchor": landmarks.anchors},
        )
        writer.write("graph.safetensors", graph_arrays(slam_map))
        writer.commit(_described(slam_map))


def load_map(folder: str | Path, *, max_bytes: int = MAX_BYTES) -> SlamMap:
    """Load a map. Raises ``MapError`` if it is missing, damaged, of an unknown version or larger than ``max_bytes``."""
    reader = MapReader(folder, max_bytes)
    try:
        return _loaded(reader)
    except DataTypeError as error:
        raise MapError(f"the map {reader.folder} is damaged: {error}") from error
    except MemoryError:
        size = reader.manifest.nbytes / 2**20
        raise MapError(f"the map {reader.folder}, {size:.0f} MiB, does not fit in the memory") from None


def map_description(folder: str | Path) -> Manifest:
    """Return the manifest of a saved map without loading it. Raises ``MapError``."""
    return read_manifest(folder)


def require_same_camera(slam_map: SlamMap, camera: Camera) -> None:
    """Raise ``MapError`` if a map was made with another camera: the pixels of its keyframes mean other directions."""
    saved = slam_map.camera
    same_size = (saved.width, saved.height) == (camera.width, camera.height)
    difference = np.abs(saved.matrix - camera.matrix).max()
    if same_size and difference <= _CAMERA_TOLERANCE * camera.width:
        return
    raise MapError(
        f"the map was made with another camera: {_words(saved)}, this one has {_words(camera)}; use the camera, image "
        "size and calibration of the map"
    )


def _words(camera: Camera) -> str:
    return f"{camera.width}x{camera.height}, f {camera.fx:.1f} {camera.fy:.1f}, c {camera.cx:.1f} {camera.cy:.1f}"


# Saving


def _keyframe_file(number: int) -> str:
    return f"keyframes-{number:05d}.safetensors"


def _described(slam_map: SlamMap) -> dict[str, Any]:
    camera = slam_map.camera
    return {
        "camera": {
            "width": camera.width,
            "height": camera.height,
            **{name: float(getattr(camera, name)) for name in ("fx", "fy", "cx", "cy", "skew")},
            "distortion_model": camera.distortion_model.value,
            "distortion": [float(value) for value in camera.distortion],
        },
        "extractor": slam_map.extractor,
        "fingerprint": slam_map.fingerprint,
        "unit": slam_map.unit.value,
        **({} if slam_map.down is None else {"down": slam_map.down.tolist(), "down_std": float(slam_map.down_std)}),
        "keyframes": len(slam_map),
        "landmarks": len(slam_map.landmarks),
        "edges": {kind.value: sum(edge.kind is kind for edge in slam_map.edges) for kind in EdgeKind},
    }


# Loading


def _loaded(reader: MapReader) -> SlamMap:
    values, where = reader.manifest.values, str(reader.folder)
    slam_map = _empty_map(values, where)
    landmarks = read_arrays(reader, "landmarks.safetensors", LANDMARKS)
    require(bool((np.diff(landmarks["id"]) > 0).all()), where, "landmark ids do not increase")
    require(len(landmarks["id"]) == 0 or landmarks["id"][0] >= 0, where, "a landmark id is negative")
    slam_map.landmarks.extend(landmarks["id"], landmarks["position"], landmarks["anchor"])
    files = sorted(name for name in reader.manifest.files if name.startswith("keyframes-"))
    require(files == [_keyframe_file(number) for number in range(len(files))], where, "a file of keyframes is missing")
    for name in files:
        layout = KEYFRAMES if slam_map.down is None else KEYFRAMES | GRAVITY
        put_keyframes(slam_map, read_arrays(reader, name, layout), f"{where}, {name}")
    require(len(slam_map) == values.get("keyframes"), where, "the number of keyframes is not that of the manifest")
    require(
        len(slam_map.landmarks) == values.get("landmarks"), where, "the number of landmarks is not that of the manifest"
    )
    put_graph(slam_map, read_arrays(reader, "graph.safetensors", GRAPH), where)
    return slam_map


def _empty_map(values: Mapping[str, Any], where: str) -> SlamMap:
    try:
        camera = dict(values["camera"])
        model = DistortionModel(camera.pop("distortion_model"))
        distortion = tuple(float(value) for value in camera.pop("distortion"))
        numbers = {name: float(camera.pop(name)) for name in ("fx", "fy", "cx", "cy", "skew")}
        size = {name: int(camera.pop(name)) for name in ("width", "height")}
        made = Camera(**size, **numbers, distortion_model=model, distortion=distortion)
        unit = ScaleState(values["unit"])
        extractor, fingerprint = values["extractor"], values["fingerprint"]
    except (KeyError, TypeError, ValueError, OverflowError) as error:
        raise MapError(
            f"the map {where} is damaged: its manifest does not describe camera and unit ({error})"
        ) from None
    require(isinstance(extractor, str) and isinstance(fingerprint, str), where, "its manifest names no features")
    slam_map = SlamMap(made, extractor, fingerprint, unit)
    if "down" in values:
        slam_map.down, slam_map.down_std = _direction(values, where)
    return slam_map


def _direction(values: Mapping[str, Any], where: str) -> tuple[np.ndarray, float]:
    """The direction of gravity (3,) in the map and its standard deviation, of the manifest."""
    try:
        down, std = np.array(values["down"], np.float64), float(values["down_std"])
    except (KeyError, TypeError, ValueError) as error:
        raise MapError(f"the map {where} is damaged: its manifest does not describe gravity ({error})") from None
    is_unit = down.shape == (3,) and abs(float(np.linalg.norm(down)) - 1.0) < 1e-6
    require(is_unit and 0 < std < np.inf, where, "the direction of gravity is no unit vector")
    return down, std
