"""What single layouts have of their own, and folders that could be of several."""

from __future__ import annotations

import itertools
import json
from pathlib import Path

import capture_writers as captures
import cv2
import layout_writers as writers
import numpy as np
import pytest
from layout_writers import Sequence

from ros_matching.cli.export import KeyframeExports
from ros_matching.datatypes import Camera, Frame, Keyframe, ScaleState
from ros_matching.errors import SourceError
from ros_matching.io import open_source
from ros_matching.io.formats import matching_formats
from ros_matching.matching import load_matcher
from ros_matching.visual_odometry import VisualOdometry


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


def test_images_of_cameras_that_differ_a_little_are_brought_to_one(room: Sequence, tmp_path: Path) -> None:
    """Of an image that was taken with a longer focal length, the result is as with the shorter one, but the border."""
    path = captures.nerfstudio(tmp_path, room)
    values = json.loads((path / "transforms.json").read_text())
    (frame,) = (frame for frame in values["frames"] if frame["file_path"].endswith("frame_3.png"))
    zoom, (width, height), k = 1.06, room.size, room.k
    stretch = np.array([[zoom, 0, (1 - zoom) * k[0, 2]], [0, zoom, (1 - zoom) * k[1, 2]]])
    writers.write_image(path / frame["file_path"], cv2.warpAffine(room.images[2], stretch, (width, height)))
    frame |= {"fl_x": zoom * k[0, 0], "fl_y": zoom * k[1, 1]}
    (path / "transforms.json").write_text(json.dumps(values))
    frames = list(open_source(path))
    middle = np.s_[20:-20, 20:-20]
    assert np.abs(frames[2].image.astype(int) - room.images[2])[middle].mean() < 4
    assert np.abs(cv2.imread(str(path / frame["file_path"]))[..., ::-1].astype(int) - room.images[2])[middle].mean() > 8
    np.testing.assert_array_equal(frames[1].image, room.images[1])
    frame["fl_x"] = 3 * k[0, 0]
    (path / "transforms.json").write_text(json.dumps(values))
    with pytest.raises(SourceError, match="frame_3"):
        open_source(path)


def test_one_of_several_files_of_transforms_may_be_given(room: Sequence, tmp_path: Path) -> None:
    path = captures.instant_ngp(tmp_path, room)
    (path / "transforms.json").rename(path / "transforms_train.json")
    assert len(open_source(path / "transforms_train.json")) == len(room)


def test_one_of_several_cameras_of_a_model_must_be_chosen(room: Sequence, tmp_path: Path) -> None:
    path = captures.colmap(tmp_path, room)
    with (path / "sparse" / "0" / "cameras.txt").open("a") as file:
        file.write("7 SIMPLE_PINHOLE 160 120 200 80 60\n")
    images = path / "sparse" / "0" / "images.txt"
    images.write_text(images.read_text().replace(" 1 0001.png", " 7 0001.png"))
    with pytest.raises(SourceError, match=r"several cameras: camera 1 with 4 images, camera 7 with 1 images; .*cam=1"):
        open_source(path)
    source = open_source(path, cam="7")
    assert (source.camera.fx, source.camera.cx) == (200, 79.5)
    assert [frame.stamp_ns for frame in source] == [10**9]
    assert len(open_source(f"{path}?cam=1")) == 4
    with pytest.raises(SourceError, match="no images of a camera 3"):
        open_source(path, cam="3")


def test_a_model_that_was_exported_is_read_back(room: Sequence, tmp_path: Path) -> None:
    exports = KeyframeExports([f"colmap={tmp_path / 'c'}", f"nerfstudio={tmp_path / 'n'}"])
    camera = Camera(*room.size, *room.k[[0, 1, 0, 1], [0, 1, 2, 2]])
    nothing = np.zeros((0, 2)), np.zeros(0), ScaleState.METRIC, None, 1, np.zeros(0, np.int64)
    for index, (image, pose) in enumerate(zip(room.images, room.poses, strict=True)):
        exports.take([Keyframe(index, Frame(index, index, image, camera), pose, *nothing)])
    exports.finish()
    for folder in ("c", "n"):
        source = open_source(tmp_path / folder)
        assert source.camera == camera
        for frame, image, pose in zip(source, room.images, room.poses, strict=True):
            np.testing.assert_array_equal(frame.image, image)
            np.testing.assert_allclose(frame.true_world_from_camera, pose, atol=1e-9)


def test_old_files_of_stray_scanner_have_poses_alone(room: Sequence, tmp_path: Path) -> None:
    path = captures.stray_scanner(tmp_path, room)
    lines = (path / "odometry.csv").read_text().splitlines()[1:]
    (path / "odometry.csv").write_text("\n".join(", ".join(line.split(", ")[2:]) for line in lines))
    source = open_source(path, start=1, stop=4)
    frames = list(source)
    assert [frame.stamp_ns for frame in frames] == [1_050_000_000, 1_100_000_000, 1_150_000_000]
    for frame in frames:
        np.testing.assert_allclose(frame.true_world_from_camera, room.poses[frame.index], atol=1e-9)
    assert np.isnan(frames[0].depth[:18]).all()  # of no confidence
    assert source.calibration.depth_units_per_metre == 1000


def test_stray_frames_without_a_line_or_a_good_depth_are_faults(room: Sequence, tmp_path: Path) -> None:
    path = captures.stray_scanner(tmp_path, room)
    lines = (path / "odometry.csv").read_text().splitlines()
    (path / "odometry.csv").write_text("\n".join(lines[:3] + lines[4:]))
    (path / "depth" / "000004.png").write_bytes(b"damaged")
    source = open_source(path)
    frames = {frame.index: frame for frame in source}
    assert sorted(frames) == [0, 1, 3, 4, 5]
    assert frames[4].depth is None
    assert [(fault.index, fault.skipped) for fault in source.faults] == [(2, True), (4, False)]


@pytest.mark.parametrize("name", ["TestKitti", "TestTum", "TestEuroc", "TestSevenScenes"])
def test_the_older_layouts_are_of_one_format_too(name: str, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.syspath_prepend(Path(__file__).parent.parent)
    import test_dataset_formats

    path = getattr(test_dataset_formats, name)().sequence(tmp_path / "rgbd_dataset_freiburg3_x")
    assert len(matching_formats(path)) == 1


def test_a_plain_folder_is_the_last_candidate(room: Sequence, tmp_path: Path) -> None:
    path = captures.nerfstudio(tmp_path, room)
    assert [found.name for found in matching_formats(path)] == ["transforms.json"]
    (path / "transforms.json").unlink()
    assert [found.name for found in matching_formats(path)] == ["image folder"]


@pytest.mark.parametrize(
    "layout",
    [writers.tartanair, writers.tutorial, captures.nerfstudio, captures.colmap],
    ids=lambda layout: layout.__name__,
)
def test_the_tracked_motion_is_that_of_the_layout(layout, walk: Sequence, tmp_path: Path) -> None:
    """The motion of the camera between frames, by images alone, is that of the poses of the layout."""
    odometry = VisualOdometry(load_matcher("sift"))
    results = [(frame, odometry.track(frame)) for frame in open_source(layout(tmp_path, walk))]
    compared = 0
    for (before, first), (after, second) in itertools.pairwise(results):
        poses = first.world_from_camera, second.world_from_camera
        truths = before.true_world_from_camera, after.true_world_from_camera
        if any(pose is None for pose in (*poses, *truths)) or not len(second.tracked_points_px):
            continue
        found, ground_truth = (np.linalg.inv(start) @ end for start, end in (poses, truths))
        cosine = found[:3, 3] @ ground_truth[:3, 3] / np.linalg.norm(found[:3, 3]) / np.linalg.norm(ground_truth[:3, 3])
        assert cosine > 0.95
        assert np.abs(found[:3, :3] - ground_truth[:3, :3]).max() < 0.02
        compared += 1
    assert compared >= 3
