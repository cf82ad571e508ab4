"""KITTI, TUM RGB-D, EuRoC and 7-Scenes: small recordings of known ground truth, written as the datasets are."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from recordings import HEIGHT, WIDTH, K, colour, image, line, matrix_text, pose, write, write_image

from ros_matching.errors import CalibrationError, SourceError
from ros_matching.geometry.se3 import exp_so3, invert, pose_from, quaternion_from_rotation
from ros_matching.io import open_source

COUNT = 4


def check_frames(source, truths: list[np.ndarray | None], stamps_ns: list[int]) -> None:
    frames = list(source)
    assert [tuple(frame.image[5, 5]) for frame in frames] == [tuple(colour(index)) for index in range(len(truths))]
    assert [frame.stamp_ns for frame in frames] == stamps_ns
    for frame, ground_truth in zip(frames, truths, strict=True):
        if ground_truth is None:
            assert frame.true_world_from_camera is None
        else:
            np.testing.assert_allclose(frame.true_world_from_camera, ground_truth, atol=1e-9)


class TestKitti:
    BASELINES = (("P0", 0.0), ("P1", 0.5), ("P2", -0.06), ("P3", 0.48))

    def sequence(self, root: Path) -> Path:
        folder = root / "sequences" / "07"
        for index in range(COUNT):
            write_image(folder / "image_0" / f"{index:06d}.png", image(index)[..., 0])
            write_image(folder / "image_2" / f"{index:06d}.png", image(index))
        lines = []
        for name, baseline in self.BASELINES:
            offset = K @ np.array([-baseline, 0.01, 0.0])
            lines.append(f"{name}: {line(np.column_stack([K, offset]))}\n")
        write(folder / "calib.txt", "".join(lines) + f"Tr: {line(np.eye(4)[:3])}\n")
        write(folder / "times.txt", "".join(f"{index * 0.1:.6e}\n" for index in range(COUNT)))
        poses = [line(pose(index)[:3]) + "\n" for index in range(COUNT)]
        write(root / "poses" / "07.txt", "".join(poses))
        return folder

    def test_colour_camera_with_its_own_ground_truth(self, tmp_path: Path) -> None:
        source = open_source(self.sequence(tmp_path))
        assert source.name == "kitti_07"
        np.testing.assert_array_equal(source.camera.matrix, K)
        # x in camera 0 is x + b in camera i, whose position is -b.
        camera0_from_camera = pose_from(np.eye(3), np.array([-0.06, -0.01, 0.0]))
        truths = [pose(index) @ camera0_from_camera for index in range(COUNT)]
        check_frames(source, truths, [0, 100_000_000, 200_000_000, 300_000_000])

    def test_a_camera_may_be_chosen(self, tmp_path: Path) -> None:
        frames = list(open_source(self.sequence(tmp_path) / "image_0"))
        ground_truth = pose_from(np.eye(3), np.array([0.0, -0.01, 0.0]))
        np.testing.assert_allclose(frames[0].true_world_from_camera, ground_truth, atol=1e-12)
        assert tuple(frames[1].image[0, 0]) == (17, 17, 17)

    def test_the_right_camera(self, tmp_path: Path) -> None:
        folder = self.sequence(tmp_path)
        source = open_source(f"{folder}?stereo=true")
        assert all(frame.right is None for frame in source)
        assert [(fault.index, fault.skipped) for fault in source.faults] == [(i, False) for i in range(COUNT)]
        for index in range(COUNT):
            write_image(folder / "image_3" / f"{index:06d}.png", image(index + 1))
        frames = list(open_source(f"{folder}?stereo=true"))
        right = frames[2].right
        assert tuple(right.image[5, 5]) == tuple(colour(3))
        np.testing.assert_allclose(right.right_from_camera, pose_from(np.eye(3), np.array([-0.54, 0, 0])), atol=1e-9)
        assert all(frame.right is None for frame in open_source(folder))

    def test_without_ground_truth(self, tmp_path: Path) -> None:
        folder = self.sequence(tmp_path)
        (tmp_path / "poses" / "07.txt").unlink()
        assert all(frame.true_world_from_camera is None for frame in open_source(folder))

    @pytest.mark.parametrize(
        ("name", "text", "expected"),
        [
            ("poses/07.txt", line(np.eye(4)[:3]), "holds 1 lines for 4 images"),
            ("sequences/07/calib.txt", "P0: " + "1 " * 12, "has no line P2:"),
            ("sequences/07/calib.txt", "P2: 1 2 3", "line 1: expected 13 values"),
            ("sequences/07/calib.txt", "P2: " + "0 " * 12, "K is all zero"),
        ],
    )
    def test_errors_name_the_defect(self, name: str, text: str, expected: str, tmp_path: Path) -> None:
        folder = self.sequence(tmp_path)
        write(tmp_path / name, text)
        with pytest.raises(SourceError, match=expected):
            open_source(folder)


class TestTum:
    STAMPS = (1305031102.175304, 1305031102.211214, 1305031102.243211, 1305031102.275326)
    STAMPS_NS = (1305031102175304000, 1305031102211214000, 1305031102243211000, 1305031102275326000)

    def sequence(self, folder: Path) -> Path:
        rgb = ["# color images", "# timestamp filename"]
        for index, stamp in enumerate(self.STAMPS):
            write_image(folder / "rgb" / f"{stamp:.6f}.png", image(index, 640, 480))
            rgb.append(f"{stamp:.6f} rgb/{stamp:.6f}.png")
        write(folder / "rgb.txt", "\n".join(rgb))
        # Depth 15 ms after image 0 and 8 ms before image 2; nothing near images 1 and 3.
        depth = []
        for index, stamp in ((0, self.STAMPS[0] + 0.015), (2, self.STAMPS[2] - 0.008)):
            write_image(folder / "depth" / f"{index}.png", np.full((480, 640), 5000 + 2500 * index, np.uint16))
            depth.append(f"{stamp:.6f} depth/{index}.png")
        write(folder / "depth.txt", "\n".join(depth))
        # Truth 5 ms before and after images 1 and 2, turning and moving evenly; none around images 0 and 3.
        ground_truth = ["# timestamp tx ty tz qx qy qz qw"]
        for index in (1, 2):
            for side in (-1, 1):
                turn = exp_so3(np.array([0, 0, 0.02 * side])) @ pose(index)[:3, :3]
                position = pose(index)[:3, 3] + side * np.array([0.1, 0, 0])
                stamp = self.STAMPS[index] + 0.005 * side
                ground_truth.append(f"{stamp:.6f} {line(position)} {line(quaternion_from_rotation(turn))}")
        write(folder / "groundtruth.txt", "\n".join(ground_truth))
        return folder

    def test_images_depth_and_ground_truth_are_associated(self, tmp_path: Path) -> None:
        folder = self.sequence(tmp_path / "rgbd_dataset_freiburg3_x")
        source = open_source(folder)
        assert source.camera.fx == 535.4
        check_frames(source, [None, pose(1), pose(2), None], list(self.STAMPS_NS))
        depths = [None if frame.depth is None else float(frame.depth[7, 9]) for frame in source]
        assert depths == [1.0, None, 2.0, None]

    def test_known_calibrations_are_undistorted(self, tmp_path: Path) -> None:
        source = open_source(self.sequence(tmp_path / "rgbd_dataset_freiburg1_x"))
        assert source.camera.is_pinhole
        assert source.camera.fx != 517.3
        depth = next(iter(source)).depth
        assert set(np.unique(depth[np.isfinite(depth)])) == {1.0}

    def test_another_camera_needs_a_calibration(self, tmp_path: Path) -> None:
        folder = self.sequence(tmp_path / "mine")
        with pytest.raises(CalibrationError, match=r"freiburg1, freiburg2.*K\.txt"):
            open_source(folder)
        write(folder / "K.txt", "600 0 320\n0 600 240\n0 0 1\n")
        assert open_source(folder).camera.fx == 600

    @pytest.mark.parametrize(
        ("name", "text", "expected"),
        [
            ("rgb.txt", "# nothing\n", "rgb.txt holds no lines"),
            ("rgb.txt", "1.0\n", "rgb.txt, line 1: expected a stamp in seconds and the name of an image"),
            ("depth.txt", "now depth/0.png\n", "depth.txt, line 1: expected a stamp in seconds"),
            ("groundtruth.txt", "1.0 0 0 0\n", "groundtruth.txt, line 1: expected 8 values"),
        ],
    )
    def test_errors_name_the_defect(self, name: str, text: str, expected: str, tmp_path: Path) -> None:
        folder = self.sequence(tmp_path / "freiburg3")
        write(folder / name, text)
        with pytest.raises(SourceError, match=expected):
            open_source(folder)

    def test_a_listed_image_that_is_missing_is_named(self, tmp_path: Path) -> None:
        folder = self.sequence(tmp_path / "freiburg3")
        next(iter(sorted((folder / "rgb").iterdir())[2:])).unlink()
        source = open_source(folder)
        assert [frame.index for frame in source] == [0, 1, 3]
        assert "1305031102.243211.png: there is no such file" in source.faults[0].reason

    def test_a_damaged_line_of_the_list_is_a_fault_of_its_frame(self, tmp_path: Path) -> None:
        folder = self.sequence(tmp_path / "freiburg3")
        lines = (folder / "rgb.txt").read_text().splitlines()
        lines[3] = lines[3].split(".")[0]  # cut off in the middle of the stamp
        write(folder / "rgb.txt", "\n".join(lines))
        source = open_source(folder)
        assert [frame.stamp_ns for frame in source] == [self.STAMPS_NS[0], *self.STAMPS_NS[2:]]
        assert [fault.index for fault in source.faults] == [1]
        assert "rgb.txt, line 4" in source.faults[0].reason


class TestEuroc:
    START_NS = 1403636579763555584
    BODY_FROM_CAMERA = pose_from(exp_so3(np.array([0.2, -1.2, 0.7])), np.array([-0.02, -0.06, 0.01]))

    def sequence(self, root: Path) -> Path:
        camera = root / "mav0" / "cam0"
        rows = ["#timestamp [ns],filename"]
        for index in range(COUNT):
            stamp_ns = self.START_NS + index * 50_000_000
            write_image(camera / "data" / f"{stamp_ns}.png", image(index))
            rows.append(f"{stamp_ns},{stamp_ns}.png")
        write(camera / "data.csv", "\r\n".join(rows) + "\r\n")
        write(
            camera / "sensor.yaml",
            f"T_BS: {{cols: 4, rows: 4, data: {self.BODY_FROM_CAMERA.ravel().tolist()}}}\n"
            f"resolution: [{WIDTH}, {HEIGHT}]\nintrinsics: [40.0, 41.0, 23.5, 17.5]\n"
            "distortion_model: radial-tangential\ndistortion_coefficients: [0.0, 0.0, 0.0, 0.0]\n",
        )
        rows = ["#timestamp, p_RS_R_x [m], ..., q_RS_w [], q_RS_x [], ..., b_a_RS_S_z [m s^-2]"]
        for index in (1, 2, 3):  # the ground truth starts late
            body = pose(index) @ invert(self.BODY_FROM_CAMERA)
            x, y, z, w = quaternion_from_rotation(body[:3, :3])
            numbers = [*body[:3, 3], w, x, y, z, *([0.1] * 9)]
            rows.append(",".join([str(self.START_NS + index * 50_000_000), *(repr(float(n)) for n in numbers)]))
        write(root / "mav0" / "state_groundtruth_estimate0" / "data.csv", "\n".join(rows))
        return root

    def test_the_right_camera(self, tmp_path: Path) -> None:
        root = self.sequence(tmp_path / "MH_01_easy")
        right_from_left = pose_from(exp_so3(np.array([0.01, 0.0, 0.02])), np.array([-0.11, 0.0, 0.001]))
        mounting = self.BODY_FROM_CAMERA @ invert(right_from_left)
        left, right = root / "mav0" / "cam0", root / "mav0" / "cam1"
        sensor = (left / "sensor.yaml").read_text().splitlines()
        sensor[0] = f"T_BS: {{cols: 4, rows: 4, data: {mounting.ravel().tolist()}}}"
        write(right / "sensor.yaml", "\n".join(sensor))
        names = [f"{self.START_NS + index * 50_000_000}" for index in (1, 3)]
        write(right / "data.csv", "\n".join(["#timestamp [ns],filename", *(f"{n},{n}.png" for n in names)]))
        for index, name in zip((1, 3), names, strict=True):
            write_image(right / "data" / f"{name}.png", image(index + 1))
        frames = list(open_source(root, stereo=True))
        assert [frame.right is not None for frame in frames] == [False, True, False, True]
        assert tuple(frames[1].right.image[5, 5]) == tuple(colour(2))
        np.testing.assert_allclose(frames[1].right.right_from_camera, right_from_left, atol=1e-9)

    def test_the_ground_truth_is_of_the_camera(self, tmp_path: Path) -> None:
        root = self.sequence(tmp_path / "MH_01_easy")
        stamps_ns = [self.START_NS + index * 50_000_000 for index in range(COUNT)]
        for path in (root, root / "mav0", root / "mav0" / "cam0"):
            source = open_source(path)
            assert source.name == "MH_01_easy_cam0"
            check_frames(source, [None, pose(1), pose(2), pose(3)], stamps_ns)

    @pytest.mark.parametrize(
        ("name", "text", "expected"),
        [
            ("cam0/data.csv", "#timestamp [ns],filename\n", "holds no lines"),
            ("cam0/data.csv", "1.5,1.png\n", "line 1: expected a stamp in nanoseconds"),
            ("cam0/sensor.yaml", "intrinsics: [40, 40, 20, 20]\n", "has no T_BS"),
            ("state_groundtruth_estimate0/data.csv", "1,2,3\n", "line 1: expected 8 values"),
            (
                "state_groundtruth_estimate0/data.csv",
                "1,0,0,0,0,0,0,0\n",
                "line 1: expected a finite position",
            ),
        ],
    )
    def test_errors_name_the_defect(self, name: str, text: str, expected: str, tmp_path: Path) -> None:
        write(self.sequence(tmp_path) / "mav0" / name, text)
        with pytest.raises(SourceError, match=expected):
            open_source(tmp_path)

    def test_the_calibration_is_needed(self, tmp_path: Path) -> None:
        (self.sequence(tmp_path) / "mav0" / "cam0" / "sensor.yaml").unlink()
        with pytest.raises(CalibrationError, match=r"no calibration file .*sensor\.yaml"):
            open_source(tmp_path)


class TestSevenScenes:
    def sequence(self, folder: Path) -> Path:
        for index in range(COUNT):
            write_image(folder / f"frame-{index:06d}.color.png", image(index, 640, 480))
            write_image(folder / f"frame-{index:06d}.depth.png", np.full((480, 640), 1000, np.uint16))
            write(folder / f"frame-{index:06d}.pose.txt", matrix_text(pose(index)).replace(" ", "\t "))
        return folder

    def test_frames_with_ground_truth_and_without_the_unregistered_depth(self, tmp_path: Path) -> None:
        folder = self.sequence(tmp_path / "redkitchen" / "seq-03")
        write(folder / "frame-000002.pose.txt", "-1.#IND -1.#IND -1.#IND -1.#IND\n" * 4)
        source = open_source(folder)
        assert (source.name, source.camera.fx) == ("redkitchen_seq-03", 525)
        check_frames(source, [pose(0), pose(1), None, pose(3)], [10**9 + round(index * 1e9 / 30) for index in range(4)])
        assert all(frame.depth is None for frame in source)

    def test_a_calibration_next_to_the_images_precedes(self, tmp_path: Path) -> None:
        write(self.sequence(tmp_path) / "K.txt", "585 0 320\n0 585 240\n0 0 1\n")
        assert open_source(tmp_path).camera.fx == 585

    def test_a_frame_without_a_good_pose_is_incomplete(self, tmp_path: Path) -> None:
        folder = self.sequence(tmp_path)
        write(folder / "frame-000001.pose.txt", "1 0 0 0\n0 1 0 0\n")
        (folder / "frame-000002.pose.txt").unlink()
        source = open_source(folder)
        assert [frame.true_world_from_camera is None for frame in source] == [False, True, True, False]
        assert [(fault.index, fault.skipped) for fault in source.faults] == [(1, False), (2, False)]
        assert "frame-000001.pose.txt: expected a 4x4 pose, got 2 rows" in source.faults[0].reason
