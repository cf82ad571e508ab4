"""The file of a dense map, from which mapping continues: points with their keyframes, in safetensors.

Unlike a point cloud it keeps what points belong to which keyframe, so that they still follow the map of SLAM. Nothing
in it is executed; sizes are checked before memory is allocated.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ros_matching.atomic_file import output_path, write_atomic
from ros_matching.datatypes import ScaleState
from ros_matching.errors import MapError
from ros_matching.mapping.voxel_map import VoxelArrays

SUFFIX = ".safetensors"
_FORMAT, _VERSION = "ros_matching dense map", 1
_MAX_BYTES, _MAX_HEADER = 2**34, 2**16
# dtype and shape of each array, of N points and K keyframes
_LAYOUT = {
    "points": (np.float32, "N", (3,)),
    "colors": (np.uint8, "N", (3,)),
    "confidence": (np.float32, "N", ()),
    "keyframe": (np.int32, "N", ()),
    "observed": (np.int32, "N", ()),
    "count": (np.int32, "N", ()),
    "poses": (np.float64, "K", (4, 4)),
    "maps": (np.int64, "K", ()),
    "stamps_ns": (np.int64, "K", ()),
    "scales": (np.float64, "K", ()),
}


@dataclass(frozen=True, eq=False)
class StoredDenseMap:
    """A dense map with its unit, and of its keyframes (K,) the stamps and the scales with which they were added.

    A scale is ``map_scale`` of the message ``Keyframe``: 0 without SLAM.
    """

    arrays: VoxelArrays
    unit: ScaleState
    stamps_ns: np.ndarray
    scales: np.ndarray


def save_dense_map(path: str | Path, stored: StoredDenseMap) -> Path:
    """Write a map, replacing an earlier file only when it is complete; return the path. Raises ``OSError``."""
    from safetensors.numpy import save

    arrays = {name: np.ascontiguousarray(_array(stored, name), kind) for name, (kind, _, _) in _LAYOUT.items()}
    values = {"format": _FORMAT, "version": _VERSION, "unit": stored.unit.value}
    values["voxel_size"] = stored.arrays.voxel_size
    path = output_path(path)
    write_atomic(path, save(arrays, metadata={"map": json.dumps(values)}))
    return path


def load_dense_map(path: str | Path) -> StoredDenseMap:
    """Read a map; its keyframes have the ids -1, -2, ..., as those of new ones are not negative.

    Raises ``MapError`` for a file that is missing, damaged or something else.
    """
    from safetensors import SafetensorError, safe_open

    path = Path(path).expanduser()
    if not path.is_file():
        raise MapError(f"there is no dense map {path}")
    if path.stat().st_size > _MAX_BYTES:
        raise MapError(f"{path} has {path.stat().st_size} bytes, expected at most {_MAX_BYTES}")
    try:
        with safe_open(path, framework="numpy") as file:
            unit, voxel_size = _checked_values(path, (file.metadata() or {}).get("map", ""))
            missing = sorted(set(_LAYOUT) - set(file.keys()))
            if missing:
                raise MapError(f"{path} is damaged: it has no array {missing[0]!r}")
            arrays = {name: file.get_tensor(name) for name in _LAYOUT}
    except (SafetensorError, OSError, ValueError, KeyError) as error:
        raise MapError(f"{path} is damaged or not a dense map: {error}") from error
    _check_arrays(path, arrays)
    stamps_ns, scales = arrays.pop("stamps_ns"), arrays.pop("scales")
    ids = -1 - np.arange(len(stamps_ns))
    return StoredDenseMap(VoxelArrays(voxel_size, ids=ids, **arrays), unit, stamps_ns, scales)


def _array(stored: StoredDenseMap, name: str) -> np.ndarray:
    return getattr(stored if name in ("stamps_ns", "scales") else stored.arrays, name)


def _checked_values(path: Path, text: str) -> tuple[ScaleState, float]:
    """Return the unit and the size of the voxels."""
    if len(text) > _MAX_HEADER:
        raise MapError(f"{path} is damaged: its description has {len(text)} characters")
    values = json.loads(text) if text else None
    if not isinstance(values, dict) or values.get("format") != _FORMAT:
        raise MapError(f"{path} is not a dense map of ros_matching")
    if values.get("version") != _VERSION:
        raise MapError(f"{path} has version {values.get('version')!r}, this program reads {_VERSION}")
    size, unit = values.get("voxel_size"), values.get("unit")
    if not isinstance(size, float) or not 0 < size < np.inf or unit not in {state.value for state in ScaleState}:
        raise MapError(f"{path} is damaged: voxel_size is {size!r}, unit is {unit!r}")
    return ScaleState(unit), size


def _check_arrays(path: Path, arrays: dict[str, np.ndarray]) -> None:
    counts = {"N": len(arrays["points"]), "K": len(arrays["poses"])}
    for name, (kind, rows, shape) in _LAYOUT.items():
        if arrays[name].dtype != kind or arrays[name].shape != (counts[rows], *shape):
            raise MapError(
                f"{path} is damaged: {name} is {arrays[name].dtype} {arrays[name].shape}, expected {np.dtype(kind)} "
                f"{(counts[rows], *shape)}"
            )
    keyframe = arrays["keyframe"]
    if len(keyframe) and not (keyframe.min() >= 0 and keyframe.max() < counts["K"]):
        raise MapError(f"{path} is damaged: a point belongs to a keyframe that is not in it")
    if not all(np.isfinite(arrays[name]).all() for name in ("points", "confidence", "poses", "scales")):
        raise MapError(f"{path} is damaged: not all of its numbers are finite")
    if not (np.linalg.det(arrays["poses"][:, :3, :3]) > 0).all() or not (arrays["scales"] >= 0).all():
        raise MapError(f"{path} is damaged: a pose is not a similarity, or a scale is negative")
    if len(keyframe) and not (arrays["count"].min() >= 1 and arrays["observed"].min() >= 0):
        raise MapError(f"{path} is damaged: a point has {arrays['count'].min()} observations")
