"""Trajectory files: exact round trips, and the line named when something is wrong."""

from __future__ import annotations

import contextlib
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ros_matching.errors import DataTypeError, SourceError
from ros_matching.geometry.se3 import exp_so3, pose_from, rotation_angle_deg
from ros_matching.io.trajectory import (
    Trajectory,
    pose_lookup,
    read_euroc,
    read_kitti,
    read_trajectory,
    read_tum,
    write_kitti,
    write_tum,
)

START_NS = 1_403_636_580_838_555_648  # a stamp that float64 seconds cannot hold

finite = st.floats(-1e4, 1e4)
vectors = st.tuples(finite, finite, finite)
turns = st.tuples(*[st.floats(-4, 4)] * 3)
trajectories = st.lists(st.tuples(st.integers(0, 2**62), vectors, turns), min_size=1, max_size=5)


def trajectory_of(rows: list[tuple[int, tuple, tuple]]) -> Trajectory:
    stamps_ns, positions, rotation_vectors = zip(*rows, strict=True)
    return Trajectory(np.array(stamps_ns), pose_from(exp_so3(np.array(rotation_vectors)), np.array(positions)))


@given(rows=trajectories)
@settings(deadline=None, max_examples=50, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_written_files_are_read_unchanged(rows: list, tmp_path: Path) -> None:
    written = trajectory_of(rows)
    write_tum(tmp_path / "t.tum", written)
    read, ordered = read_tum(tmp_path / "t.tum"), written.in_order()
    np.testing.assert_array_equal(read.stamps_ns, ordered.stamps_ns)
    np.testing.assert_array_equal(read.positions, ordered.positions)
    np.testing.assert_allclose(read.world_from_camera, ordered.world_from_camera, atol=1e-12)
    write_kitti(tmp_path / "t.txt", written)
    read = read_kitti(tmp_path / "t.txt", written.stamps_ns)
    np.testing.assert_array_equal(read.positions, written.positions)
    np.testing.assert_allclose(read.world_from_camera, written.world_from_camera, atol=1e-12)


def test_the_tum_line_is_as_the_benchmark_defines_it(tmp_path: Path) -> None:
    quarter_turn = pose_from(exp_so3(np.array([0, 0, np.pi / 2])), np.array([1.0, 2.0, 3.0]))
    write_tum(tmp_path / "sub" / "t.tum", Trajectory(np.array([START_NS]), quarter_turn[None]))
    numbers = (tmp_path / "sub" / "t.tum").read_text().split()
    assert numbers[0] == "1403636580.838555648"
    np.testing.assert_allclose([float(n) for n in numbers[1:]], [1, 2, 3, 0, 0, np.sqrt(0.5), np.sqrt(0.5)], atol=1e-15)


def test_evo_reads_the_same_trajectory(tmp_path: Path) -> None:
    file_interface = pytest.importorskip("evo.tools.file_interface")
    written = trajectory_of([(k * 10**9, (k, 2 * k, 0.5), (0.1 * k, 0.2, -0.3)) for k in range(5)])
    write_tum(tmp_path / "t.tum", written)
    write_kitti(tmp_path / "t.txt", written)
    for path in (
        file_interface.read_tum_trajectory_file(tmp_path / "t.tum"),
        file_interface.read_kitti_poses_file(tmp_path / "t.txt"),
    ):
        np.testing.assert_allclose(np.array(path.poses_se3), written.world_from_camera, atol=1e-9)


def test_comments_empty_lines_and_exponents_are_read(tmp_path: Path) -> None:
    (tmp_path / "t.tum").write_text("# stamp tx ...\n\n1.403636580838555648e+09 1 2 3 0 0 0 1\r\n")
    read = read_tum(tmp_path / "t.tum")
    assert read.stamps_ns.tolist() == [START_NS]
    np.testing.assert_array_equal(read.world_from_camera[0], pose_from(np.eye(3), np.array([1, 2, 3])))


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("1 2 3", "expected 8 values .* got 3"),
        ("1 0 0 0 0 0 0 1 9", "expected 8 values .* got 9"),
        ("1 0 0 0 0 0 0 2", ".* unit quaternion"),
        ("1 0 nan 0 0 0 0 1", ".* finite position"),
        ("1 0 0 0 1e200 0 0 1", ".* unit quaternion"),
        ("1 0 x 0 0 0 0 1", "expected a number, got 'x'"),
        ("soon 0 0 0 0 0 0 1", "expected a stamp in seconds, got 'soon'"),
        ("nan 0 0 0 0 0 0 1", "expected a stamp in seconds"),
        ("1e30 0 0 0 0 0 0 1", "expected a stamp in seconds"),
    ],
)
def test_a_bad_tum_line_is_named(line: str, expected: str, tmp_path: Path) -> None:
    path = tmp_path / "t.tum"
    path.write_text(f"# header\n0 0 0 0 0 0 0 1\n{line}\n")
    with pytest.raises(SourceError, match=f"t.tum, line 3: {expected}"):
        read_tum(path)


@pytest.mark.parametrize(("digits", "unit"), [(0, "nano"), (3, "micro"), (6, "milli"), (9, "")])
def test_the_unit_of_stamps_since_1970_shows_by_their_size(digits: int, unit: str, tmp_path: Path, caplog) -> None:
    stamps = [START_NS // 10**digits + k * 33_333_333 // 10**digits for k in range(3)]
    stamps = [k + stamps[0] for k in range(3)] if digits == 9 else stamps
    (tmp_path / "t.tum").write_text("".join(f"{stamp} {k} 0 0 0 0 0 1\n" for k, stamp in enumerate(stamps)))
    assert read_tum(tmp_path / "t.tum").stamps_ns.tolist() == [stamp * 10**digits for stamp in stamps]
    assert (f"{unit}seconds" in caplog.text) == bool(unit)


def test_float_nanoseconds_and_a_bad_stamp_are_distinguished(tmp_path: Path) -> None:
    path = tmp_path / "t.tum"
    path.write_text("1.403636579763555584e+18 0 0 0 0 0 0 1\n")
    assert read_tum(path).stamps_ns.tolist() == [1403636579763555584]
    path.write_text("".join(f"{stamp} 0 0 0 0 0 0 1\n" for stamp in ("1.5", "2.5", "1403636579763555584")))
    with pytest.raises(SourceError, match="line 3: expected a stamp in seconds"):
        read_tum(path)


@pytest.mark.parametrize("step", [33_333_333, 33_333])
def test_whole_stamps_hours_apart_are_no_seconds(step: int, tmp_path: Path) -> None:
    (tmp_path / "t.tum").write_text("".join(f"{k * step} 0 0 0 0 0 0 1\n" for k in range(4)))
    with pytest.raises(SourceError, match="hours apart"):
        read_tum(tmp_path / "t.tum")


def test_unsorted_and_repeated_stamps_are_sorted_and_counted(tmp_path: Path, caplog) -> None:
    (tmp_path / "t.tum").write_text("".join(f"{stamp} {stamp} 0 0 0 0 0 1\n" for stamp in (3, 1, 2, 2, 4)))
    read = read_tum(tmp_path / "t.tum")
    assert read.stamps_ns.tolist() == [10**9, 2 * 10**9, 3 * 10**9, 4 * 10**9]
    assert read.positions[:, 0].tolist() == [1, 2, 3, 4]
    assert "1 poses repeat a stamp" in caplog.text
    assert "go back 1 times" in caplog.text


@pytest.mark.parametrize("separator", [",", ", ", "\t", " ; "])
@pytest.mark.parametrize("header", ["", "timestamp tx ty tz qx qy qz qw", "# timestamp tx ty tz qx qy qz qw"])
def test_values_may_be_separated_by_commas_and_named(separator: str, header: str, tmp_path: Path) -> None:
    lines = [header, "1.5 1 2 3 0 0 0.6 0.8", "2.5 1 2 3 0 0 0.6 0.8"]
    (tmp_path / "t.csv").write_text("\n".join(line.replace(" ", separator) for line in lines if line))
    expected = pose_from(exp_so3(np.array([0, 0, 2 * np.arctan2(0.6, 0.8)])), np.array([1, 2, 3]))
    for read in (read_tum, read_trajectory):
        trajectory = read(tmp_path / "t.csv")
        assert trajectory.stamps_ns.tolist() == [1_500_000_000, 2_500_000_000]
        np.testing.assert_allclose(trajectory.world_from_camera[1], expected, atol=1e-12)


EUROC_HEADER = "#timestamp, p_RS_R_x [m], p_RS_R_y [m], p_RS_R_z [m], q_RS_w [], q_RS_x [], q_RS_y [], q_RS_z []"


@pytest.mark.parametrize(("header", "more"), [(EUROC_HEADER, ""), (EUROC_HEADER[1:], ""), ("", ",0" * 9)])
def test_a_euroc_file_has_the_real_part_first(header: str, more: str, tmp_path: Path) -> None:
    (tmp_path / "data.csv").write_text(f"{header}\n{START_NS},1,2,3,0.8,0,0,0.6{more}\n")
    expected = pose_from(exp_so3(np.array([0, 0, 2 * np.arctan2(0.6, 0.8)])), np.array([1, 2, 3]))
    for read in (read_euroc, read_trajectory):
        trajectory = read(tmp_path / "data.csv")
        assert trajectory.stamps_ns.tolist() == [START_NS]
        np.testing.assert_allclose(trajectory.world_from_camera[0], expected, atol=1e-12)


def test_euroc_stamps_are_nanoseconds_however_small(tmp_path: Path) -> None:
    (tmp_path / "data.csv").write_text(f"{EUROC_HEADER}\n0,0,0,0,1,0,0,0\n33333333,0,0,0,1,0,0,0\n")
    assert read_euroc(tmp_path / "data.csv").stamps_ns.tolist() == [0, 33333333]


def test_unknown_quaternion_order_or_missing_stamps_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_text(f"{START_NS},1,2,3,0.8,0,0,0.6\n")
    with pytest.raises(SourceError, match="quaternion x y z w"):
        read_trajectory(path)
    path.write_text(f"#ns,x,y,z,qx,qy,qz,qw\n{START_NS},1,2,3,0.8,0,0,0.6\n")
    assert read_trajectory(path).stamps_ns.tolist() == [START_NS]
    write_kitti(path, trajectory_of([(0, (0, 0, 0), (0, 0, 0))]))
    with pytest.raises(SourceError, match="without stamps"):
        read_trajectory(path)


def test_poses_are_looked_up_by_stamp_or_by_index(tmp_path: Path) -> None:
    written = trajectory_of([(k * 10**8, (k, 0, 0), (0, 0, 0.1 * k)) for k in range(3)])
    write_tum(tmp_path / "t.tum", written)
    lookup = pose_lookup(tmp_path / "t.tum")
    np.testing.assert_allclose(lookup(99, 5 * 10**7)[:3, 3], [0.5, 0, 0])
    assert lookup(0, 10**9) is None
    write_kitti(tmp_path / "t.txt", written)
    (tmp_path / "t.txt").write_text((tmp_path / "t.txt").read_text().replace(" ", ","))
    lookup = pose_lookup(tmp_path / "t.txt")
    np.testing.assert_allclose(lookup(2, 10**18), written.world_from_camera[2], atol=1e-12)
    with pytest.raises(SourceError, match="3 poses, but there is a frame 3"):
        lookup(3, 0)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("1 0 0 0 0 1 0 0 0 0 1", "line 1: expected 12 values"),
        ("1 0 0 0 0 1 0 0 0 0 -1 0", "line 1: expected a rigid transform"),
        ("1.1 0 0 0 0 1 0 0 0 0 1 0", "line 1: expected a rigid transform"),
        ("1 1e300 0 0 0 1e300 0 0 0 0 1 0", "line 1: expected a rigid transform"),
        ("nan 0 0 0 0 1 0 0 0 0 1 0", "pose 1 is not finite"),
        ("", "holds no lines"),
    ],
)
def test_a_bad_kitti_file_is_refused(text: str, expected: str, tmp_path: Path) -> None:
    (tmp_path / "t.txt").write_text(text)
    with pytest.raises(SourceError, match=expected):
        read_kitti(tmp_path / "t.txt")


def test_other_files_are_refused(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="there is no file"):
        read_tum(tmp_path / "none.tum")
    (tmp_path / "image.tum").write_bytes(b"\x89PNG\xff\xfe\x00")
    with pytest.raises(SourceError, match="binary"):
        read_tum(tmp_path / "image.tum")
    with pytest.raises(SourceError, match="cannot be read as text"):
        read_tum(tmp_path)


def test_kitti_takes_stamps_or_counts_at_its_rate(tmp_path: Path) -> None:
    written = trajectory_of([(k, (k, 0, 0), (0, 0, 0)) for k in range(3)])
    write_kitti(tmp_path / "t.txt", written)
    assert read_kitti(tmp_path / "t.txt").stamps_ns.tolist() == [0, 100_000_000, 200_000_000]
    with pytest.raises(SourceError, match="3 poses, but 2 stamps"):
        read_kitti(tmp_path / "t.txt", np.arange(2))


def test_few_digits_become_an_exact_rotation(tmp_path: Path) -> None:
    rotation = exp_so3(np.array([0.3, -0.8, 0.5]))
    pose = pose_from(rotation, np.array([1.0, 2.0, 3.0]))
    (tmp_path / "t.txt").write_text(" ".join(f"{value:.3f}" for value in pose[:3].ravel()))
    read = read_kitti(tmp_path / "t.txt").world_from_camera[0]
    np.testing.assert_allclose(read[:3, :3] @ read[:3, :3].T, np.eye(3), atol=1e-14)
    assert rotation_angle_deg(read[:3, :3].T @ rotation) < 0.1


def test_poses_between_stamps_are_interpolated() -> None:
    turn = np.radians(90)
    trajectory = trajectory_of([(START_NS, (0, 0, 0), (0, 0, 0)), (START_NS + 10**8, (2, 0, 0), (0, 0, turn))])
    offsets_ns = np.array([-1, 0, 25_000_000, 10**8, 10**8 + 1])
    poses = trajectory.at(START_NS + offsets_ns)
    assert np.isnan(poses[[0, 4]]).all()
    np.testing.assert_array_equal(poses[[1, 3]], trajectory.world_from_camera)
    np.testing.assert_allclose(
        poses[2], pose_from(exp_so3(np.array([0, 0, turn / 4])), np.array([0.5, 0, 0])), atol=1e-12
    )
    assert np.isnan(trajectory.at(START_NS + offsets_ns, max_gap_s=0.05)[2]).all()


def test_stamps_out_of_order_or_twice_are_sorted_out_before_interpolation() -> None:
    trajectory = trajectory_of([(200, (2, 0, 0), (0, 0, 0)), (100, (1, 0, 0), (0, 0, 0)), (100, (9, 9, 9), (0, 0, 0))])
    np.testing.assert_allclose(trajectory.in_order().at(np.array([100, 150]))[:, 0, 3], [1.0, 1.5])
    empty = Trajectory(np.zeros(0, np.int64), np.zeros((0, 4, 4)))
    assert np.isnan(empty.at(np.array([1, 2]))).all()


def test_arrays_that_do_not_fit_are_refused() -> None:
    with pytest.raises(DataTypeError, match="integers"):
        Trajectory(np.zeros(2), np.tile(np.eye(4), (2, 1, 1)))
    with pytest.raises(DataTypeError, match=r"\(2, 4, 4\)"):
        Trajectory(np.zeros(2, np.int64), np.tile(np.eye(4), (3, 1, 1)))
    with pytest.raises(DataTypeError, match="finite"):
        Trajectory(np.zeros(1, np.int64), np.full((1, 4, 4), np.nan))


@given(text=st.text(alphabet="0123456789.-+einfa#, \n", max_size=80))
@settings(deadline=None, max_examples=100, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_text_yields_a_trajectory_or_a_source_error(text: str, tmp_path: Path) -> None:
    (tmp_path / "t").write_text(text)
    with contextlib.suppress(SourceError):
        assert len(read_tum(tmp_path / "t")) >= 1
    with contextlib.suppress(SourceError):
        assert len(read_kitti(tmp_path / "t")) >= 1
    with contextlib.suppress(SourceError):
        pose_lookup(tmp_path / "t")(0, 0)
