"""Point-cloud files: exact round trips, files of other programs, and incomplete ones."""

from __future__ import annotations

import contextlib
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ros_matching.datatypes import PointCloud
from ros_matching.errors import SourceError
from ros_matching.io.point_clouds import read_cloud, write_cloud

SUFFIXES = (".ply", ".pcd")


def cloud_of(count: int, seed: int = 0) -> PointCloud:
    random = np.random.default_rng(seed)
    return PointCloud(
        random.normal(scale=100, size=(count, 3)).astype(np.float32),
        random.integers(0, 256, (count, 3), dtype=np.uint8),
        random.random(count, dtype=np.float32),
    )


def assert_equal(read: PointCloud, written: PointCloud) -> None:
    for name in ("points", "colors", "confidence"):
        np.testing.assert_array_equal(getattr(read, name), getattr(written, name))


@given(count=st.integers(0, 40), seed=st.integers(0, 2**32), suffix=st.sampled_from(SUFFIXES))
@settings(deadline=None, max_examples=30, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_written_files_are_read_unchanged(count: int, seed: int, suffix: str, tmp_path: Path) -> None:
    written = cloud_of(count, seed)
    write_cloud(tmp_path / "maps" / f"cloud{suffix}", written)
    assert_equal(read_cloud(tmp_path / "maps" / f"cloud{suffix}"), written)


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_a_point_that_is_nan_stays_so(suffix: str, tmp_path: Path) -> None:
    cloud = cloud_of(2)
    cloud.points[1] = np.nan
    write_cloud(tmp_path / f"c{suffix}", cloud)
    assert_equal(read_cloud(tmp_path / f"c{suffix}"), cloud)


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_every_cut_is_noticed(suffix: str, tmp_path: Path) -> None:
    path = tmp_path / f"c{suffix}"
    write_cloud(path, cloud_of(3))
    data = path.read_bytes()
    for length in range(len(data)):
        path.write_bytes(data[:length])
        with pytest.raises(SourceError, match=r"cut off|cut-off"):
            read_cloud(path)


ASCII_PLY = """ply
format ascii 1.0
comment by hand
element vertex 2
property double x
property double y
property double z
property uchar red
property uchar green
property uchar blue
element face 1
property list uchar int vertex_indices
end_header
1 2 3 255 0 10
-4.5 5e-1 6 1 2 3
3 0 1 1
"""


def test_ascii_ply_with_faces(tmp_path: Path) -> None:
    (tmp_path / "c.ply").write_text(ASCII_PLY)
    cloud = read_cloud(tmp_path / "c.ply")
    np.testing.assert_array_equal(cloud.points, [[1, 2, 3], [-4.5, 0.5, 6]])
    np.testing.assert_array_equal(cloud.colors, [[255, 0, 10], [1, 2, 3]])
    np.testing.assert_array_equal(cloud.confidence, [1, 1])


def test_binary_ply_of_other_order_and_fields(tmp_path: Path) -> None:
    header = "ply\r\nformat binary_big_endian 1.0\r\nelement vertex 2\r\n"
    header += "".join(f"property float {name}\r\n" for name in ("nx", "z", "y", "x")) + "end_header\r\n"
    values = np.arange(8, dtype=">f4").reshape(2, 4)
    (tmp_path / "c.ply").write_bytes(header.encode() + values.tobytes())
    cloud = read_cloud(tmp_path / "c.ply")
    np.testing.assert_array_equal(cloud.points, values[:, [3, 2, 1]])
    np.testing.assert_array_equal(cloud.colors, np.full((2, 3), 128))


def pcd_header(rgb_type: str, form: str, extra: bool = False) -> str:
    fields = " normal _ _" if extra else ""
    return (
        f"# .PCD v.7 - Point Cloud Data file format\nVERSION .7\nFIELDS x y z rgb{fields}\n"
        f"SIZE 4 4 4 4{' 4 1 1' if extra else ''}\nTYPE F F F {rgb_type}{' F U U' if extra else ''}\n"
        f"COUNT 1 1 1 1{' 3 2 1' if extra else ''}\nWIDTH 2\nHEIGHT 1\nVIEWPOINT 0 0 0 1 0 0 0\nPOINTS 2\nDATA {form}\n"
    )


@pytest.mark.parametrize("rgb_type", ["F", "U"])
def test_ascii_pcd_of_both_kinds_of_rgb(rgb_type: str, tmp_path: Path) -> None:
    packed = np.array([0xFF8001, 0x010203], np.uint32)
    shown = packed.view(np.float32) if rgb_type == "F" else packed
    lines = [f"{k} 2 3 {value!r}" for k, value in enumerate(shown.tolist())]
    (tmp_path / "c.pcd").write_text(pcd_header(rgb_type, "ascii") + "\n".join(lines))
    cloud = read_cloud(tmp_path / "c.pcd")
    np.testing.assert_array_equal(cloud.points, [[0, 2, 3], [1, 2, 3]])
    np.testing.assert_array_equal(cloud.colors, [[255, 128, 1], [1, 2, 3]])


def test_binary_pcd_with_vectors_and_padding(tmp_path: Path) -> None:
    dtype = np.dtype("<f4,<f4,<f4,<u4,(3,)<f4,(2,)u1,u1")
    records = np.zeros(2, dtype)
    records["f1"] = [7, 8]
    records["f3"] = 0x00FF00
    (tmp_path / "c.pcd").write_bytes(pcd_header("U", "binary", extra=True).encode() + records.tobytes())
    cloud = read_cloud(tmp_path / "c.pcd")
    np.testing.assert_array_equal(cloud.points, [[0, 7, 0], [0, 8, 0]])
    np.testing.assert_array_equal(cloud.colors, [[0, 255, 0]] * 2)


@pytest.mark.parametrize(
    ("name", "text", "expected"),
    [
        ("c.ply", ASCII_PLY.replace("-4.5 5e-1", "-4.5"), "2 lines of 6 numbers"),
        ("c.ply", ASCII_PLY.replace("-4.5", "minus"), "2 lines of 6 numbers"),
        ("c.ply", ASCII_PLY.split("-4.5")[0], "got 1: it is cut off"),
        ("c.ply", ASCII_PLY.replace("ascii", "binary_middle_endian"), "PLY formats"),
        ("c.ply", ASCII_PLY.replace("property double y", "property quad y"), "known types"),
        ("c.ply", ASCII_PLY.replace("property double y", "property double x"), "each once"),
        ("c.ply", ASCII_PLY.replace("vertex 2", "vertex -2"), "number of vertices"),
        ("c.ply", ASCII_PLY.replace("element vertex 2", "element edge 2"), "vertex first"),
        ("c.ply", ASCII_PLY.replace("property double z", "property double w"), "no field z"),
        ("c.ply", "solid cube", "expected a PLY file"),
        ("c.pcd", pcd_header("F", "binary_compressed"), "binary_compressed.*convert"),
        ("c.pcd", pcd_header("F", "ascii").replace("SIZE 4 4 4 4", "SIZE 4 4"), "fit each other"),
        ("c.pcd", pcd_header("F", "ascii").replace("POINTS 2", "POINTS many"), "fit each other"),
        ("c.pcd", pcd_header("F", "ascii").replace("POINTS 2", "POINTS -2"), "number of points"),
        ("c.pcd", "solid cube", "expected a PCD file"),
        ("c.stl", "solid cube", "suffix .ply or .pcd"),
    ],
)
def test_errors_name_the_defect(name: str, text: str, expected: str, tmp_path: Path) -> None:
    (tmp_path / name).write_text(text)
    with pytest.raises(SourceError, match=expected):
        read_cloud(tmp_path / name)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match=r"there is no file .*none\.ply"):
        read_cloud(tmp_path / "none.ply")


@given(position=st.integers(0, 400), value=st.integers(0, 255), suffix=st.sampled_from(SUFFIXES))
@settings(deadline=None, max_examples=100, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_flipped_byte_yields_a_cloud_or_a_source_error(
    position: int, value: int, suffix: str, tmp_path: Path
) -> None:
    path = tmp_path / f"c{suffix}"
    write_cloud(path, cloud_of(4))
    data = bytearray(path.read_bytes())
    data[position % len(data)] = value
    path.write_bytes(data)
    with contextlib.suppress(SourceError):
        assert isinstance(read_cloud(path), PointCloud)
