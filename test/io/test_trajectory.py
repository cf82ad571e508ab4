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
from ros_matching.io.trajectory import Trajectory, read_kitti, read_tum, write_kitti, write_tum

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
def test_files_give_back_what_was_written(rows: list, tmp_path: Path) -> None:
    written = trajectory_of(rows)
    write_tum(tmp_path / "t.tum", written)
    read = read_tum(tmp_path / "t.tum")
    np.testing.assert_array_equal(read.stamps_ns, written.stamps_ns)
    np.testing.assert_array_equal(read.positions, written.positions)
    np.testing.assert_allclose(read.world_from_camera, written.world_from_camera, atol=1e-12)
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


def test_evo_reads_the_files_alike(tmp_path: Path) -> None:
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


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("1 0 0 0 0 1 0 0 0 0 1", "line 1: expected 12 values"),
        ("1 0 0 0 0 1 0 0 0 0 -1 0", "line 1: expected a rigid transform"),
        ("1.1 0 0 0 0 1 0 0 0 0 1 0", "line 1: expected a rigid transform"),
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
    with pytest.raises(SourceError, match="cannot be read as text"):
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


@given(text=st.text(alphabet="0123456789.-+einfa# \n", max_size=80))
@settings(deadline=None, max_examples=100, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_text_gives_a_trajectory_or_a_source_error(text: str, tmp_path: Path) -> None:
    (tmp_path / "t").write_text(text)
    with contextlib.suppress(SourceError):
        assert len(read_tum(tmp_path / "t")) >= 1
    with contextlib.suppress(SourceError):
        assert len(read_kitti(tmp_path / "t")) >= 1
