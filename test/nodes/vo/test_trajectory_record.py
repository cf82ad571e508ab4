"""The trajectory on record survives resets, and is written whole."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("rclpy", reason="needs ROS 2 (rclpy)")

from ros_matching.errors import NodeError
from ros_matching.io.trajectory import read_trajectory
from ros_matching.nodes.vo.trajectory_record import TrajectoryRecord


def record(*lengths: int, capacity: int = 1000) -> TrajectoryRecord:
    """A record with parts of these lengths, their stamps counting up in seconds."""
    kept, stamp = TrajectoryRecord(capacity), 0
    for number, length in enumerate(lengths):
        if number:
            kept.begin_part()
        for _ in range(length):
            kept.add(stamp := stamp + 10**9, np.eye(4))
    return kept


def stamps(path) -> list[int]:
    return (read_trajectory(path).stamps_ns // 10**9).tolist()


def test_a_reset_throws_nothing_away(tmp_path):
    answer = record(2, 3, 1).save(str(tmp_path / "t.tum"), "tum")
    assert stamps(tmp_path / "t.part1.tum") == [1, 2]
    assert stamps(tmp_path / "t.part2.tum") == [3, 4, 5]
    assert stamps(tmp_path / "t.tum") == [6]
    assert all(name in answer for name in ("2 poses", "t.part1.tum", "3 poses", "t.part2.tum", "1 poses", "t.tum"))


def test_resets_without_poses_begin_no_part(tmp_path):
    answer = record(0, 2, 0, 0).save(str(tmp_path / "t.tum"), "tum")
    assert answer.startswith("no image has been tracked since the last reset")
    assert stamps(tmp_path / "t.part1.tum") == [1, 2]
    assert not (tmp_path / "t.tum").exists()


@pytest.mark.parametrize("lengths", [(5,), (1, 4), (2, 2, 1), (1, 1, 1, 1, 1)])
def test_the_newest_poses_are_kept(tmp_path, lengths):
    record(*lengths, capacity=3).save(str(tmp_path / "t.tum"), "tum")
    kept = sorted(stamp for file in tmp_path.iterdir() for stamp in stamps(file))
    assert kept == [3, 4, 5]


def test_the_number_of_parts_is_bounded(tmp_path):
    record(*[1] * 500).save(str(tmp_path / "t.tum"), "tum")
    files = {file.name for file in tmp_path.iterdir()}
    assert len(files) == 100
    assert {"t.tum", "t.part401.tum", "t.part499.tum"} <= files


def test_paths_that_cannot_be_written_are_refused_by_name(tmp_path):
    loop = tmp_path / "loop"
    loop.symlink_to(loop)
    (tmp_path / "file").touch()
    for file in ("~nosuchuser/t.tum", loop / "t.tum", tmp_path, tmp_path / "file" / "t.tum", "a\0b", "/dev/full"):
        with pytest.raises(NodeError, match="trajectory_file"):
            record(2).save(str(file), "tum")
    with pytest.raises(NodeError, match="trajectory_file"):
        record(2).save("", "tum")
    with pytest.raises(NodeError, match="nothing to save"):
        record(0).save(str(tmp_path / "t.tum"), "tum")
