"""Every layout, written by independent code from known poses: it is found, by one format alone, and read back."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import layout_writers as writers
import numpy as np
import pytest
from layout_writers import Sequence

from ros_matching.errors import SourceError
from ros_matching.io import open_source
from ros_matching.io.formats import matching_formats

HZ30 = tuple(10**9 + round(index * 1e9 / 30) for index in range(6))
HZ10 = tuple(10**9 + index * 10**8 for index in range(6))

# layout -> format, stamps, images without a pose, has depth
LAYOUTS: dict[Callable, tuple[str, tuple[int, ...], set[int], bool]] = {
    writers.kitti_raw: ("KITTI raw", tuple(1317042145064389445 + index * 10**8 for index in range(6)), set(), False),
    writers.tutorial: ("tutorial", HZ10, set(), False),
    writers.tartanair: ("TartanAir", HZ30, set(), True),
    writers.tartanair_v2: ("TartanAir", HZ30, set(), True),
    writers.icl_nuim: ("ICL-NUIM", HZ30, {0}, True),
    writers.replica: ("Replica", HZ30, set(), True),
    writers.scannet: ("ScanNet", HZ30, {1}, True),
}
EXACT = {writers.tartanair, writers.tartanair_v2}  # depth without rounding
every_layout = pytest.mark.parametrize("layout", LAYOUTS, ids=lambda layout: layout.__name__)


@every_layout
def test_exactly_one_format_matches(layout: Callable, room: Sequence, tmp_path: Path) -> None:
    path = layout(tmp_path, room)
    assert [found.name for found in matching_formats(path)] == [LAYOUTS[layout][0]]


@every_layout
def test_images_stamps_and_calibration(layout: Callable, room: Sequence, tmp_path: Path) -> None:
    source = open_source(layout(tmp_path, room))
    frames = list(source)
    assert [frame.stamp_ns for frame in frames] == list(LAYOUTS[layout][1])
    assert [frame.index for frame in frames] == list(range(len(room)))
    if layout is writers.icl_nuim:
        assert (source.camera.fx, source.camera.fy) == (481.2, 480.0)
        return
    np.testing.assert_allclose(source.camera.matrix, room.k, atol=0.51)
    for frame, image in zip(frames, room.images, strict=True):
        assert np.abs(frame.image.astype(int) - image).mean() < 6  # some are JPEG


@every_layout
def test_poses_are_those_of_the_camera(layout: Callable, room: Sequence, tmp_path: Path) -> None:
    frames = list(open_source(layout(tmp_path, room)))
    unknown = LAYOUTS[layout][2]
    assert {frame.index for frame in frames if frame.true_world_from_camera is None} == unknown
    known = [index for index in range(len(room)) if index not in unknown]
    found = np.array([frames[index].true_world_from_camera for index in known])
    truth = room.poses[known]
    # Worlds may differ by where they begin: KITTI's is where the first packet was.
    shift = found[0, :3, 3] - truth[0, :3, 3]
    assert layout is writers.kitti_raw or np.abs(shift).max() < 1e-6
    found[:, :3, 3] -= shift
    np.testing.assert_allclose(found, truth, atol=1e-6)


@every_layout
def test_depth_is_in_metres(layout: Callable, room: Sequence, tmp_path: Path) -> None:
    frames = list(open_source(layout(tmp_path, room)))
    assert all((frame.depth is not None) == LAYOUTS[layout][3] for frame in frames)
    for frame, depth in zip(frames, room.depths, strict=True):
        if frame.depth is None:
            continue
        expected = np.full((480, 640), 2.0 + frame.index) if layout is writers.icl_nuim else depth
        both = np.isfinite(frame.depth) & np.isfinite(expected)
        assert both.mean() > (0.2 if layout is writers.scannet else 0.9)
        tolerance = 0.03 if layout is writers.scannet else 0.0 if layout in EXACT else 1e-3
        assert np.median(np.abs(frame.depth - expected)[both]) <= tolerance


@pytest.mark.parametrize(
    ("layout", "from_right"),
    [
        (writers.kitti_raw, [-0.54, 0, 0]),
        (writers.tutorial, [-0.54, 0, 0]),
        (writers.tartanair, [-0.25, 0, 0]),
        (writers.tartanair_v2, [-0.25, 0, 0]),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_the_right_camera(layout: Callable, from_right: list[float], room: Sequence, tmp_path: Path) -> None:
    path = layout(tmp_path, room)
    assert all(frame.partner is None for frame in open_source(path))
    for frame in open_source(path, stereo=True):
        np.testing.assert_allclose(frame.partner.partner_from_camera[:3, 3], from_right, atol=1e-9)
        np.testing.assert_allclose(frame.partner.partner_from_camera[:3, :3], np.eye(3), atol=1e-9)
        np.testing.assert_allclose(frame.partner.camera.matrix, room.k, atol=0.51)


@every_layout
def test_a_calibration_given_replaces_the_own(layout: Callable, room: Sequence, tmp_path: Path) -> None:
    path = layout(tmp_path / "data", room)
    size = (640, 480) if layout is writers.icl_nuim else room.size
    writers.write(tmp_path / "K.txt", f"200 0 {size[0] / 2}\n0 200 {size[1] / 2}\n0 0 1\n")
    assert open_source(path, calibration=tmp_path / "K.txt").camera.fx == 200


@pytest.mark.parametrize(
    ("layout", "missing", "expected"),
    [
        (writers.kitti_raw, "../calib_cam_to_cam.txt", "calib_cam_to_cam.txt"),
        (writers.kitti_raw, "../calib_imu_to_velo.txt", "calib_imu_to_velo.txt"),
        (writers.kitti_raw, "image_02/timestamps.txt", "timestamps.txt"),
        (writers.tutorial, "calib.txt", "calib.txt"),
        (writers.replica, "../cam_params.json", "cam_params.json"),
        (writers.scannet, "intrinsic/intrinsic_color.txt", "intrinsic_color.txt"),
        (writers.scannet, "intrinsic/intrinsic_depth.txt", "intrinsic_depth.txt"),
    ],
)
def test_half_a_layout_names_what_is_missing(
    layout: Callable, missing: str, expected: str, room: Sequence, tmp_path: Path
) -> None:
    path = layout(tmp_path, room)
    (path / missing).unlink()
    with pytest.raises(SourceError, match=expected):
        open_source(path)


@pytest.mark.parametrize(
    ("layout", "missing"),
    [
        (writers.tutorial, "poses.txt"),
        (writers.tartanair, "pose_left.txt"),
        (writers.icl_nuim, "livingRoom2.gt.freiburg"),
        (writers.replica, "traj.txt"),
    ],
)
def test_without_poses_there_is_no_ground_truth(layout: Callable, missing: str, room: Sequence, tmp_path: Path) -> None:
    path = layout(tmp_path, room)
    (path / missing).unlink()
    assert all(frame.true_world_from_camera is None for frame in open_source(path))


@pytest.mark.parametrize(
    ("layout", "file", "text", "expected"),
    [
        (writers.tutorial, "poses.txt", "1 0 0 0 0 1 0 0 0 0 1 0\n", "1 lines for 6 images"),
        (writers.tutorial, "calib.txt", "1 2 3\n", "12 values"),
        (writers.tartanair, "pose_left.txt", "0 0 0 0 0 0 1\n", "1 poses for 6 images"),
        (writers.tartanair, "pose_left.txt", "0 0 0 0 0 0 0\n" * 6, "unit quaternion"),
        (writers.icl_nuim, "livingRoom2.gt.freiburg", "1.5 0 0 0 0 0 0 1\n", "whole image numbers"),
        (writers.replica, "traj.txt", "1 0 0 0 0 1 0 0 0 0 1 0 0 0 0 1\n", "1 poses"),
        (writers.replica, "../cam_params.json", "{", "JSON"),
        (writers.replica, "../cam_params.json", '{"camera": {"fx": "a"}}', "numbers"),
        (writers.scannet, "pose/0.txt", "1 0 0 0\n", "4x4 pose"),
        (writers.kitti_raw, "image_02/timestamps.txt", "now\n" * 6, "line 1: expected 2011"),
        (writers.kitti_raw, "image_02/timestamps.txt", "", "0 lines for 6"),
        (writers.kitti_raw, "oxts/data/0000000002.txt", "95 8 1 0 0 0 0\n", "latitude"),
        (writers.kitti_raw, "../calib_velo_to_cam.txt", "R: 1 2\n", "R: and T:"),
    ],
)
def test_files_that_are_wrong(
    layout: Callable, file: str, text: str, expected: str, room: Sequence, tmp_path: Path
) -> None:
    path = layout(tmp_path, room)
    writers.write(path / file, text)
    with pytest.raises(SourceError, match=expected):
        open_source(path)


@pytest.mark.parametrize(
    ("layout", "image"), [(writers.tutorial, "image_l/000002.png"), (writers.kitti_raw, "image_02/data/0000000002.png")]
)
def test_an_image_that_is_missing_takes_its_stamp_and_pose_along(
    layout: Callable, image: str, room: Sequence, tmp_path: Path
) -> None:
    path = layout(tmp_path, room)
    whole = list(open_source(path))
    (path / image).unlink()
    frames = list(open_source(path))
    assert len(frames) == len(room) - 1
    for frame, expected in zip(frames, whole[:2] + whole[3:], strict=True):
        np.testing.assert_array_equal(frame.true_world_from_camera, expected.true_world_from_camera)
        assert layout is writers.tutorial or frame.stamp_ns == expected.stamp_ns


def test_a_folder_of_two_layouts_lists_both_and_takes_the_one_that_is_named(room: Sequence, tmp_path: Path) -> None:
    writers.tutorial(tmp_path, room)
    writers.replica(tmp_path, room)
    for name in ("results", "traj.txt"):
        (tmp_path / "Replica" / "office0" / name).rename(tmp_path / name)
    with pytest.raises(SourceError, match=r"several formats(.|\n)*format=tutorial(.|\n)*format=replica"):
        open_source(tmp_path)
    assert len(open_source(tmp_path, format="tutorial")) == len(room)
    assert len(open_source(f"{tmp_path}?format=tutorial&stride=2")) == len(room) // 2
    with pytest.raises(SourceError, match=r"no format 'kitty'; there are: .*kitti-odometry"):
        open_source(tmp_path, format="kitty")


def test_raw_images_of_kitti_are_undistorted_and_their_poses_interpolated(room: Sequence, tmp_path: Path) -> None:
    drive = writers.kitti_raw(tmp_path, room)
    raw = drive.with_name(drive.name.replace("sync", "extract"))
    drive.rename(raw)
    calibration = raw.parent / "calib_cam_to_cam.txt"
    text = calibration.read_text().replace(f"S_rect_02: {writers.row(room.size)}", "S_rect_02: 1242 375")
    calibration.write_text(text.replace("S_02: 1392.0 512.0", f"S_02: {writers.row(room.size)}"))
    source = open_source(raw)
    assert source.camera.fx != room.k[0, 0]
    frames = list(source)
    assert all(frame.true_world_from_camera is not None for frame in frames)
    # Images half way between the packets: half way between the poses.
    stamps = (raw / "image_02" / "timestamps.txt").read_text().replace("64389445", "14389445")
    (raw / "image_02" / "timestamps.txt").write_text(stamps)
    between = list(open_source(raw))
    assert between[0].true_world_from_camera is None
    centers = np.array([frame.true_world_from_camera[:3, 3] for frame in frames])
    found = np.array([frame.true_world_from_camera[:3, 3] for frame in between[1:]])
    np.testing.assert_allclose(found, 0.5 * (centers[1:] + centers[:-1]), atol=0.02)


@pytest.mark.parametrize("part", ["image_03", "image_03/data"])
def test_a_camera_of_kitti_may_be_chosen(part: str, room: Sequence, tmp_path: Path) -> None:
    path = writers.kitti_raw(tmp_path, room)
    left, right = list(open_source(path)), list(open_source(path / part))
    left_from_right = np.linalg.inv(left[2].true_world_from_camera) @ right[2].true_world_from_camera
    np.testing.assert_allclose(left_from_right[:3, 3], [0.54, 0, 0], atol=1e-6)
