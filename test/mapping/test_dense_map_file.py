"""The file of a dense map: what comes back, and what is refused."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from ros_matching.datatypes import PointCloud, ScaleState
from ros_matching.errors import MapError
from ros_matching.geometry.se3 import exp_so3, pose_from
from ros_matching.geometry.sim3 import similarity_from
from ros_matching.mapping.dense_map_file import StoredDenseMap, load_dense_map, save_dense_map
from ros_matching.mapping.voxel_map import VoxelMap

POSES = [pose_from(exp_so3(np.array([0.1, 0.2 * n, 0.0])), np.array([1.0 * n, 0.0, 0.3])) for n in range(3)]
MOVED = similarity_from(pose_from(exp_so3(np.array([0.0, 0.5, 0.1])), np.array([3.0, 1.0, 0.0])), 1.7)


def made_map() -> VoxelMap:
    voxels = VoxelMap(0.05, 1000)
    rng = np.random.default_rng(0)
    for id, pose in enumerate(POSES):
        points = rng.uniform((-1, -1, 2), (1, 1, 4), (40, 3))
        colors = rng.integers(0, 255, (40, 3)).astype(np.uint8)
        voxels.insert(id, pose, PointCloud(points, colors, np.full(40, 0.5, np.float32)))
    return voxels


def stored(voxels: VoxelMap) -> StoredDenseMap:
    arrays = voxels.arrays()
    stamps_ns, scales = 1000 * (arrays.ids + 1), np.full(len(arrays.ids), 2.0)
    return StoredDenseMap(arrays, ScaleState.METRIC, stamps_ns, scales)


def sorted_rows(cloud: PointCloud) -> np.ndarray:
    rows = np.column_stack([cloud.points, cloud.colors])
    return rows[np.lexsort(rows.T)]


def test_a_map_goes_on_after_it_was_saved(tmp_path):
    voxels = made_map()
    path = save_dense_map(tmp_path / "deep" / "map.safetensors", stored(voxels))
    loaded = load_dense_map(path)
    assert loaded.unit is ScaleState.METRIC
    assert loaded.stamps_ns.tolist() == [1000, 2000, 3000]
    assert loaded.scales.tolist() == [2.0] * 3
    restored = VoxelMap.restored(loaded.arrays, 1000)
    np.testing.assert_allclose(sorted_rows(restored.cloud()), sorted_rows(voxels.cloud()), atol=1e-5)
    # Its keyframes still move, and others are added
    voxels.move({1: MOVED})
    restored.move({-2: MOVED})
    more = PointCloud(np.array([[9.0, 9.0, 9.0]]), np.zeros((1, 3), np.uint8), np.ones(1, np.float32))
    for map in (voxels, restored):
        map.insert(7, np.eye(4), more)
    np.testing.assert_allclose(sorted_rows(restored.cloud()), sorted_rows(voxels.cloud()), atol=1e-5)
    assert len(restored) == len(voxels)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"keyframe": np.full(120, 3, np.int32)}, "not in it"),
        ({"points": np.full((120, 3), np.nan, np.float32)}, "finite"),
        ({"poses": np.zeros((3, 4, 4))}, "similarity"),
        ({"count": np.zeros(120, np.int32)}, "observations"),
        ({"colors": np.zeros((119, 3), np.uint8)}, "colors is uint8"),
        ({"voxel_size": -1.0}, "voxel_size"),
    ],
)
def test_contents_that_cannot_be_are_refused(tmp_path, change, words):
    whole = stored(made_map())
    assert len(whole.arrays.points) == 120
    path = save_dense_map(tmp_path / "map.safetensors", replace(whole, arrays=replace(whole.arrays, **change)))
    with pytest.raises(MapError, match=words):
        load_dense_map(path)


@pytest.mark.parametrize("content", [b"", b"ply\n", b"\xff" * 64, None])
def test_other_files_are_refused(tmp_path, content):
    path = save_dense_map(tmp_path / "map.safetensors", stored(made_map()))
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2] if content is None else content)
    with pytest.raises(MapError, match="damaged"):
        load_dense_map(path)
    with pytest.raises(MapError, match="there is no"):
        load_dense_map(tmp_path / "nothing.safetensors")
