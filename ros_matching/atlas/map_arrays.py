"""Arrays in the files of a saved map: their layout, and the keyframes and constraints that they hold.

Keypoints of all keyframes in a file are in one array, those of a keyframe from ``first_keypoint`` of its row to the
next; images likewise.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from ros_matching.atlas.keyframes import NO_LANDMARK
from ros_matching.atlas.map_folder import MapReader
from ros_matching.atlas.slam_map import SlamMap
from ros_matching.atlas.stored_keyframes import CulledKeyframe, Edge, EdgeKind, StoredKeyframe
from ros_matching.errors import MapError

_KINDS = tuple(EdgeKind)
Arrays = Mapping[str, np.ndarray]

# Types and shapes of the arrays. A letter is a size, the same in all arrays of a file.
KEYFRAMES = {
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
GRAVITY = {"id": ("i8", "N"), "down": ("f8", "N3"), "down_std": ("f8", "N")}
LANDMARKS = {"id": ("i8", "L"), "position": ("f8", "L3"), "anchor": ("i8", "L")}
GRAPH = {
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


def read_arrays(reader: MapReader, name: str, layout: Mapping[str, tuple[str, str]]) -> Arrays:
    """Return the arrays of a file. Raises ``MapError`` unless they are finite and fit the layout."""
    arrays, sizes = reader.read(name), {}
    where = f"{reader.folder}, {name}"
    for key, (types, shape) in layout.items():
        require(key in arrays, where, f"the array {key} is missing")
        array = arrays[key]
        require(array.dtype in [np.dtype(word) for word in types.split()], where, f"{key} is of type {array.dtype}")
        fits = array.ndim == len(shape) and all(
            size == (int(letter) if letter.isdigit() else sizes.setdefault(letter, size))
            for letter, size in zip(shape, array.shape, strict=True)
        )
        require(fits, where, f"{key} has the shape {array.shape}, expected {' x '.join(shape)}")
        is_finite = array.dtype.kind != "f" or bool(np.isfinite(array).all())
        require(is_finite, where, f"{key} has values that are not finite")
    return arrays


def keyframe_arrays(keyframes: Sequence[StoredKeyframe]) -> Arrays:
    """Return the arrays of some keyframes, in the layout ``KEYFRAMES`` with ``GRAVITY``."""
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


def graph_arrays(slam_map: SlamMap) -> Arrays:
    """Return the arrays of constraints, covisibility and culled keyframes, in the layout ``GRAPH``."""
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


def put_keyframes(slam_map: SlamMap, arrays: Arrays, where: str) -> None:
    """Put the keyframes of a file into a map; ``where`` is the file, for the ``MapError`` if they are damaged."""
    keypoints, images = arrays["first_keypoint"], arrays["first_jpeg_byte"]
    ids = arrays["id"]
    for firsts, end in ((keypoints, len(arrays["keypoints_px"])), (images, len(arrays["jpeg"]))):
        is_partition = len(firsts) == len(ids) + 1 and firsts[0] == 0 and firsts[-1] == end
        require(is_partition and bool((np.diff(firsts) >= 0).all()), where, "keypoints or images are not divided up")
    scales_are_positive = (arrays["scale"] > 0).all() and (arrays["measured_scale"] > 0).all()
    require(bool((ids >= 0).all() and scales_are_positive), where, "an id or a scale is not positive")
    require(bool((arrays["landmark_ids"] >= NO_LANDMARK).all()), where, "a landmark id is negative")
    down, down_std = arrays.get("down", np.zeros((len(ids), 3))), arrays.get("down_std", np.full(len(ids), -1.0))
    for row, id in enumerate(ids.tolist()):
        require(id not in slam_map, where, f"keyframe {id} is there twice")
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


def put_graph(slam_map: SlamMap, arrays: Arrays, where: str) -> None:
    """Put constraints, covisibility and culled keyframes into a map of all keyframes; see ``put_keyframes``."""
    require(bool((arrays["kind"] < len(_KINDS)).all()), where, "an edge is of an unknown kind")
    scales = np.linalg.det(arrays["first_from_second"][:, :3, :3])
    require(bool((scales > 0).all() and (arrays["culled_scale"] > 0).all()), where, "a scale is not positive")
    for kind, first, second, measured, covariance in zip(
        arrays["kind"].tolist(),
        arrays["first"].tolist(),
        arrays["second"].tolist(),
        arrays["first_from_second"],
        arrays["covariance"],
        strict=True,
    ):
        require(first != second, where, f"an edge connects keyframe {first} with itself")
        slam_map.put_edge(Edge(_KINDS[kind], first, second, measured.copy(), covariance.copy()))
    pairs = arrays["covisible"]
    known = np.isin(pairs[:, :2], np.array(slam_map.ids, np.int64)).all()
    require(bool(known and (pairs[:, 2] > 0).all()), where, "covisibility refers to unknown keyframes")
    slam_map.set_covisibility(map(tuple, pairs.tolist()))
    for id, parent, pose, scale in zip(
        arrays["culled_id"].tolist(),
        arrays["culled_parent"].tolist(),
        arrays["culled_pose"],
        arrays["culled_scale"].tolist(),
        strict=True,
    ):
        slam_map.put_culled(id, CulledKeyframe(parent, pose.copy(), scale))


def require(holds: bool, where: str, problem: str) -> None:
    """Raise ``MapError`` unless something holds for the files of a map."""
    if not holds:
        raise MapError(f"the map {where} is damaged: {problem}")
