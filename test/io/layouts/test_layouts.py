"""Every layout, written by independent code from known poses: it is found, by one format alone, and read back."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import capture_writers as captures
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
    writers.tum_vi: ("TUM-VI", tuple(1520530308199447626 + index * 50_000_000 for index in range(6)), {0, 5}, False),
    writers.mono_vo: (
        "TUM monoVO",
        tuple(1448467000 * 10**9 + index * 50_000_000 for index in range(6)),
        {3, 4, 5},
        False,
    ),
    captures.colmap: ("COLMAP", HZ30, {2}, False),
    captures.nerfstudio: ("transforms.json", HZ30, set(), True),
    captures.instant_ngp: ("transforms.json", HZ30, set(), False),
    captures.record3d: ("Record3D", tuple(10**9 + round(index * 1e9 / 60) for index in range(6)), set(), False),
    captures.record3d_file: ("Record3D", tuple(10**9 + index * 50_000_000 for index in range(6)), set(), False),
    captures.stray_scanner: (
        "Stray Scanner",
        tuple(2741500000000 + index * 50_000_000 for index in range(6)),
        set(),
        True,
    ),
}
SPARSE = {writers.scannet: 0.2, captures.stray_scanner: 0.03}  # depth in fewer pixels, and the least part that is known
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
    ground_truth = room.poses[known]
    # Worlds may differ by where they begin: KITTI's is where the first packet was.
    shift = found[0, :3, 3] - ground_truth[0, :3, 3]
    assert layout is writers.kitti_raw or np.abs(shift).max() < 1e-6
    found[:, :3, 3] -= shift
    np.testing.assert_allclose(found, ground_truth, atol=1e-6)


@every_layout
def test_depth_is_in_metres(layout: Callable, room: Sequence, tmp_path: Path) -> None:
    frames = list(open_source(layout(tmp_path, room)))
    assert all((frame.depth is not None) == LAYOUTS[layout][3] for frame in frames)
    for frame, depth in zip(frames, room.depths, strict=True):
        if frame.depth is None:
            continue
        expected = np.full((480, 640), 2.0 + frame.index) if layout is writers.icl_nuim else depth
        both = np.isfinite(frame.depth) & np.isfinite(expected)
        assert both.mean() > SPARSE.get(layout, 0.9)
        tolerance = 0.06 if layout in SPARSE else 0.0 if layout in EXACT else 1e-3
        assert np.median(np.abs(frame.depth - expected)[both]) <= tolerance


@pytest.mark.parametrize(
    ("layout", "from_right"),
    [
        (writers.kitti_raw, [-0.54, 0, 0]),
        (writers.tutorial, [-0.54, 0, 0]),
        (writers.tartanair, [-0.25, 0, 0]),
        (writers.tartanair_v2, [-0.25, 0, 0]),
        (writers.tum_vi, [-0.1, 0, 0]),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_the_right_camera(layout: Callable, from_right: list[float], room: Sequence, tmp_path: Path) -> None:
    path = layout(tmp_path, room)
    assert all(frame.right is None for frame in open_source(path))
    for frame in open_source(path, stereo=True):
        np.testing.assert_allclose(frame.right.right_from_camera[:3, 3], from_right, atol=1e-9)
        np.testing.assert_allclose(frame.right.right_from_camera[:3, :3], np.eye(3), atol=1e-9)
        np.testing.assert_allclose(frame.right.camera.matrix, room.k, atol=0.51)


@every_layout
def test_a_given_calibration_replaces_that_of_the_recording(layout: Callable, room: Sequence, tmp_path: Path) -> None:
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
        (captures.stray_scanner, "camera_matrix.csv", "camera_matrix.csv"),
    ],
)
def test_an_incomplete_layout_names_the_missing_part(
    layout: Callable, missing: str, expected: str, room: Sequence, tmp_path: Path
) -> None:
    path = layout(tmp_path, room)
    (path / missing).unlink()
    with pytest.raises(SourceError, match=expected):
        open_source(path)


@pytest.mark.parametrize(
    ("layout", "image"),
    [
        (captures.colmap, "images/0001.png"),
        (captures.nerfstudio, "images/frame_2.png"),
        (writers.tum_vi, "mav0/cam0/data/1520530308249447626.png"),
    ],
)
def test_a_listed_image_that_is_missing_is_a_fault_and_all_are_an_error(
    layout: Callable, image: str, room: Sequence, tmp_path: Path
) -> None:
    path = layout(tmp_path, room)
    (path / image).unlink()
    source = open_source(path)
    assert [frame.index for frame in source] == [0, 2, 3, 4, 5]
    assert [fault.index for fault in source.faults] == [1]
    for file in (path / image).parent.iterdir():
        file.unlink()
    with pytest.raises(SourceError, match=r"\.png"):
        open_source(path)


@pytest.mark.parametrize(
    ("layout", "missing"),
    [
        (writers.tutorial, "poses.txt"),
        (writers.tartanair, "pose_left.txt"),
        (writers.icl_nuim, "livingRoom2.gt.freiburg"),
        (writers.replica, "traj.txt"),
        (writers.tum_vi, "mav0/mocap0/data.csv"),
        (writers.mono_vo, "groundtruthSync.txt"),
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
        (writers.replica, "../cam_params.json", '{"camera": {"fx": "a", "cx": 1}}', "numbers"),
        (writers.scannet, "pose/0.txt", "1 0 0 0\n", "4x4 pose"),
        (writers.kitti_raw, "image_02/timestamps.txt", "now\n" * 6, "line 1: expected 2011"),
        (writers.kitti_raw, "image_02/timestamps.txt", "", "0 lines for 6"),
        (writers.kitti_raw, "oxts/data/0000000002.txt", "95 8 1 0 0 0 0\n", "latitude"),
        (writers.kitti_raw, "../calib_velo_to_cam.txt", "R: 1 2\n", "R: and T:"),
        (writers.tum_vi, "dso/camchain.yaml", "cam1: {}\n", "cam0"),
        (writers.tum_vi, "dso/camchain.yaml", "cam0: [1\n", "YAML"),
        (writers.mono_vo, "times.txt", "00000 1.5\n", "1 lines for 6 images"),
        (writers.mono_vo, "images.zip", "no zip", "zip archive"),
        (writers.mono_vo, "camera.txt", "0.5 0.5\n640 480\n", "camera.txt"),
        (captures.colmap, "sparse/0/cameras.txt", "1 THIN_PRISM_FISHEYE 160 120 1 2 3\n", "THIN_PRISM_FISHEYE|thin"),
        (captures.colmap, "sparse/0/images.txt", "# nothing\n", "no image with a pose"),
        (captures.nerfstudio, "transforms.json", "[]", "list of frames"),
        (captures.nerfstudio, "transforms.json", '{"frames": [{"file_path": 3}]}', "file_path"),
        (
            captures.nerfstudio,
            "transforms.json",
            '{"fl_x": 80, "w": 160, "h": 120, "frames": [{"file_path": "images/frame_1.png"}]}',
            "transform_matrix",
        ),
        (captures.record3d, "EXR_RGBD/metadata.json", '{"K": [1, 2], "poses": []}', "K"),
        (captures.record3d, "EXR_RGBD/metadata.json", '{"poses": [[0, 0, 0, 1, 0, 0, 0]]}', "1 poses"),
        (captures.record3d, "EXR_RGBD/metadata.json", '{"poses": [[1]]}', "7 numbers"),
        (captures.stray_scanner, "odometry.csv", "timestamp, frame, x\n1, 2, 3\n", "7 values"),
        (captures.stray_scanner, "rgb.mp4", "", "rgb.mp4"),
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
