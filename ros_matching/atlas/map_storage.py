"""Saving and loading a ``SlamMap``; the files are those of ``map_folder``.

    keyframes-00000.safetensors  128 keyframes each: poses, features, observations, images, place descriptors
    landmarks.safetensors        ids, positions, anchors
    graph.safetensors            constraints, covisibility, culled keyframes

Keypoints of all keyframes in a file are in one array, those of a keyframe from ``first_keypoint`` of its row to the
next; images likewise. The manifest describes camera, features and unit.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ros_matching.atlas.keyframes import NO_LANDMARK
from ros_matching.atlas.map_folder import Manifest, MapReader, read_manifest, writing
from ros_matching.atlas.slam_map import SlamMap
from ros_matching.atlas.stored_keyframes import CulledKeyframe, Edge, EdgeKind, StoredKeyframe
from ros_matching.datatypes import Camera, DistortionModel, ScaleState
from ros_matching.errors import DataTypeError, MapError

MAX_BYTES = 8 * 2**30  # of the files of a map: more than 20 000 keyframes
_PER_FILE = 128
_KINDS = tuple(EdgeKind)
_CAMERA_TOLERANCE = 1e-3  # of the image's width: intrinsics of two calibrations of one camera differ by more
Arrays = Mapping[str, np.ndarray]

# Types and shapes of the arrays. A letter is a size, the same in all arrays of a file.
_KEYFRAMES = {
    "id": ("i8", "N"),
    "stamp_ns": ("i8", "N"),
    "map_number": ("i8", "N"),
    "map_from_camera": ("f8", "N44"),
    "scale": ("f8", "N"),
    "measured_scale": ("f8", "N"),
    "scale_std": ("f8", "N"),  # -1 without a measurement
    "first_keypoint": ("i8", "M"),
    "keypoints_px": ("f4", "K2"),
    "descriptors": ("f2 u1", "KD"),
    "landmark_ids": ("i8", "K"),
    "weights": ("f4", "K"),
    "has_place": ("u1", "N"),
    "place_descriptor": ("f4", "NP"),
    "first_jpeg_byte": ("i8", "M"),
    "jpeg": ("u1", "B"),
}
# Of maps with an IMU; the standard deviation is -1 without a measurement
_GRAVITY = {"id": ("i8", "N"), "down": ("f8", "N3"), "down_std": ("f8", "N")}
_LANDMARKS = {"id": ("i8", "L"), "position": ("f8", "L3"), "anchor": ("i8", "L")}
_GRAPH = {
    "kind": ("u1", "E"),
    "first": ("i8", "E"),
    "second": ("i8", "E"),
    "first_from_second": ("f8", "E44"),
    "covariance": ("f8", "E77"),
    "covisible": ("i8", "C3"),
    "culled_id": ("i8", "R"),
    "culled_parent": ("i8", "R"),
    "culled_pose": ("f8", "R44"),
    "culled_scale": ("f8", "R"),
}


def save_map(folder: str | Path, slam_map: SlamMap) -> None:
    """Save a map into a folder, whole or not at all; the earlier map in the folder is replaced.

    Raises ``MapError`` if the folder holds other things, and ``OSError``.
    """
    keyframes = slam_map.keyframes
    with writing(folder) as writer:
        for number, first in enumerate(range(0, len(keyframes), _PER_FILE)):
            writer.write(_keyframe_file(number), _keyframe_arrays(keyframes[first : first + _PER_FILE]))
        landmarks = slam_map.landmarks
        writer.write(
            "landmarks.safetensors",
            {"id": landmarks.ids, "position": landmarks.positions, "anchor": landmarks.anchors},
        )
        writer.write("graph.safetensors", _graph_arrays(slam_map))
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


def _keyframe_arrays(keyframes: Sequence[StoredKeyframe]) -> Arrays:
    places = max(len(keyframe.place_descriptor) for keyframe in keyframes)
    place = np.zeros((len(keyframes), places), np.float32)
    has_place = np.array([len(keyframe.place_descriptor) > 0 for keyframe in keyframes], np.uint8)
    for row, keyframe in enumerate(keyframes):
        if has_place[row]:
            place[row] = keyframe.place_descriptor
    images = [np.frombuffer(keyframe.jpeg, np.uint8) for keyframe in keyframes]
    return {
        "id": np.array([keyframe.id for keyframe in keyframes], np.int64),
        "stamp_ns": np.array([keyframe.stamp_ns for keyframe in keyframes], np.int64),
        "map_number": np.array([keyframe.map_number for keyframe in keyframes], np.int64),
        "map_from_camera": np.stack([keyframe.map_from_camera for keyframe in keyframes]).astype(np.float64),
        "scale": np.array([keyframe.scale for keyframe in keyframes], np.float64),
        "measured_scale": np.array([keyframe.measured_scale for keyframe in keyframes], np.float64),
        "scale_std": np.array([k.scale_std if np.isfinite(k.scale_std) else -1.0 for k in keyframes], np.float64),
        "down": np.stack([keyframe.down for keyframe in keyframes]).astype(np.float64),
        "down_std": np.array([k.down_std if np.isfinite(k.down_std) else -1.0 for k in keyframes], np.float64),
        "first_keypoint": _firsts([len(keyframe.keypoints_px) for keyframe in keyframes]),
        "keypoints_px": np.concatenate([keyframe.keypoints_px for keyframe in keyframes]).astype(
            np.float32, copy=False
        ),
        "descriptors": np.concatenate([keyframe.descriptors for keyframe in keyframes]),
        "landmark_ids": np.concatenate([keyframe.landmark_ids for keyframe in keyframes]).astype(np.int64, copy=False),
        "weights": np.concatenate([keyframe.weights for keyframe in keyframes]).astype(np.float32, copy=False),
        "has_place": has_place,
        "place_descriptor": place,
        "first_jpeg_byte": _firsts([len(image) for image in images]),
        "jpeg": np.concatenate(images),
    }


def _firsts(lengths: Sequence[int]) -> np.ndarray:
    return np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)


def _graph_arrays(slam_map: SlamMap) -> Arrays:
    edges, culled = slam_map.edges, sorted(slam_map.culled.items())
    return {
        "kind": np.array([_KINDS.index(edge.kind) for edge in edges], np.uint8),
        "first": np.array([edge.first for edge in edges], np.int64),
        "second": np.array([edge.second for edge in edges], np.int64),
        "first_from_second": np.array([edge.first_from_second for edge in edges], np.float64).reshape(-1, 4, 4),
        "covariance": np.array([edge.covariance for edge in edges], np.float64).reshape(-1, 7, 7),
        "covisible": np.array(slam_map.covisibility(), np.int64).reshape(-1, 3),
        "culled_id": np.array([id for id, _ in culled], np.int64),
        "culled_parent": np.array([one.parent for _, one in culled], np.int64),
        "culled_pose": np.array([one.parent_from_camera for _, one in culled], np.float64).reshape(-1, 4, 4),
        "culled_scale": np.array([one.scale for _, one in culled], np.float64),
    }


# Loading


def _loaded(reader: MapReader) -> SlamMap:
    values, where = reader.manifest.values, str(reader.folder)
    slam_map = _empty_map(values, where)
    landmarks = _read(reader, "landmarks.safetensors", _LANDMARKS)
    _require(bool((np.diff(landmarks["id"]) > 0).all()), where, "landmark ids do not increase")
    _require(len(landmarks["id"]) == 0 or landmarks["id"][0] >= 0, where, "a landmark id is negative")
    slam_map.landmarks.extend(landmarks["id"], landmarks["position"], landmarks["anchor"])
    files = sorted(name for name in reader.manifest.files if name.startswith("keyframes-"))
    _require(files == [_keyframe_file(number) for number in range(len(files))], where, "a file of keyframes is missing")
    for name in files:
        layout = _KEYFRAMES if slam_map.down is None else _KEYFRAMES | _GRAVITY
        _put_keyframes(slam_map, _read(reader, name, layout), f"{where}, {name}")
    _require(len(slam_map) == values.get("keyframes"), where, "the number of keyframes is not that of the manifest")
    _require(
        len(slam_map.landmarks) == values.get("landmarks"), where, "the number of landmarks is not that of the manifest"
    )
    _put_graph(slam_map, _read(reader, "graph.safetensors", _GRAPH), where)
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
    _require(isinstance(extractor, str) and isinstance(fingerprint, str), where, "its manifest names no features")
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
    _require(is_unit and 0 < std < np.inf, where, "the direction of gravity is no unit vector")
    return down, std


def _read(reader: MapReader, name: str, layout: Mapping[str, tuple[str, str]]) -> Arrays:
    """The arrays of a file with the types and shapes of a layout; numbers are finite."""
    arrays, sizes = reader.read(name), {}
    where = f"{reader.folder}, {name}"
    for key, (types, shape) in layout.items():
        _require(key in arrays, where, f"the array {key} is missing")
        array = arrays[key]
        _require(array.dtype in [np.dtype(word) for word in types.split()], where, f"{key} is of type {array.dtype}")
        fits = array.ndim == len(shape) and all(
            size == (int(letter) if letter.isdigit() else sizes.setdefault(letter, size))
            for letter, size in zip(shape, array.shape, strict=True)
        )
        _require(fits, where, f"{key} has the shape {array.shape}, expected {' x '.join(shape)}")
        is_finite = array.dtype.kind != "f" or bool(np.isfinite(array).all())
        _require(is_finite, where, f"{key} has values that are not finite")
    return arrays


def _put_keyframes(slam_map: SlamMap, arrays: Arrays, where: str) -> None:
    keypoints, images = arrays["first_keypoint"], arrays["first_jpeg_byte"]
    ids = arrays["id"]
    for firsts, end in ((keypoints, len(arrays["keypoints_px"])), (images, len(arrays["jpeg"]))):
        is_partition = len(firsts) == len(ids) + 1 and firsts[0] == 0 and firsts[-1] == end
        _require(is_partition and bool((np.diff(firsts) >= 0).all()), where, "keypoints or images are not divided up")
    scales_are_positive = (arrays["scale"] > 0).all() and (arrays["measured_scale"] > 0).all()
    _require(bool((ids >= 0).all() and scales_are_positive), where, "an id or a scale is not positive")
    _require(bool((arrays["landmark_ids"] >= NO_LANDMARK).all()), where, "a landmark id is negative")
    down, down_std = arrays.get("down", np.zeros((len(ids), 3))), arrays.get("down_std", np.full(len(ids), -1.0))
    for row, id in enumerate(ids.tolist()):
        _require(id not in slam_map, where, f"keyframe {id} is there twice")
        keypoint = slice(keypoints[row], keypoints[row + 1])
        slam_map.put_keyframe(
            StoredKeyframe(
                id=id,
                stamp_ns=int(arrays["stamp_ns"][row]),
                map_from_camera=arrays["map_from_camera"][row].copy(),
                scale=float(arrays["scale"][row]),
                # copies: a view would keep the arrays of all keyframes of the file
                keypoints_px=arrays["keypoints_px"][keypoint].copy(),
                descriptors=arrays["descriptors"][keypoint].copy(),
                landmark_ids=arrays["landmark_ids"][keypoint].copy(),
                weights=arrays["weights"][keypoint].copy(),
                jpeg=arrays["jpeg"][images[row] : images[row + 1]].tobytes(),
                place_descriptor=arrays["place_descriptor"][row].copy()
                if arrays["has_place"][row]
                else np.zeros(0, np.float32),
                map_number=int(arrays["map_number"][row]),
                measured_scale=float(arrays["measured_scale"][row]),
                scale_std=std if (std := float(arrays["scale_std"][row])) >= 0 else float("inf"),
                down=down[row].copy(),
                down_std=std if (std := float(down_std[row])) > 0 else float("inf"),
            )
        )


def _put_graph(slam_map: SlamMap, arrays: Arrays, where: str) -> None:
    _require(bool((arrays["kind"] < len(_KINDS)).all()), where, "an edge is of an unknown kind")
    scales = np.linalg.det(arrays["first_from_second"][:, :3, :3])
    _require(bool((scales > 0).all() and (arrays["culled_scale"] > 0).all()), where, "a scale is not positive")
    for kind, first, second, measured, covariance in zip(
        arrays["kind"].tolist(),
        arrays["first"].tolist(),
        arrays["second"].tolist(),
        arrays["first_from_second"],
        arrays["covariance"],
        strict=True,
    ):
        _require(first != second, where, f"an edge connects keyframe {first} with itself")
        slam_map.put_edge(Edge(_KINDS[kind], first, second, measured.copy(), covariance.copy()))
    pairs = arrays["covisible"]
    known = np.isin(pairs[:, :2], np.array(slam_map.ids, np.int64)).all()
    _require(bool(known and (pairs[:, 2] > 0).all()), where, "covisibility refers to unknown keyframes")
    slam_map.set_covisibility(map(tuple, pairs.tolist()))
    for id, parent, pose, scale in zip(
        arrays["culled_id"].tolist(),
        arrays["culled_parent"].tolist(),
        arrays["culled_pose"],
        arrays["culled_scale"].tolist(),
        strict=True,
    ):
        slam_map.put_culled(id, CulledKeyframe(parent, pose.copy(), scale))


def _require(holds: bool, where: str, problem: str) -> None:
    if not holds:
        raise MapError(f"the map {where} is damaged: {problem}")
