"""Writers of data-set layouts: each writes a short sequence of known poses in the format of a data set.

They are written from the data sets' descriptions, with SciPy's rotations, and share no code with the readers. A writer
takes the folder to fill and the sequence, and returns the path to open.
"""

from __future__ import annotations

import json
import zipfile
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from scipy.spatial.transform import Rotation


@dataclass(frozen=True)
class Sequence:
    """Images (N, H, W, 3) RGB, depths (N, H, W) in metres, ``world_from_camera`` (N, 4, 4), and K (3, 3)."""

    images: np.ndarray
    depths: np.ndarray
    poses: np.ndarray
    k: np.ndarray

    def __len__(self) -> int:
        return len(self.images)

    @property
    def size(self) -> tuple[int, int]:
        """Width and height."""
        return self.images.shape[2], self.images.shape[1]


def write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def write_image(path: Path, rgb: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    assert cv2.imwrite(str(path), rgb[..., ::-1] if rgb.ndim == 3 and rgb.shape[2] == 3 else rgb)


def write_depth(path: Path, metres: np.ndarray, units: float) -> None:
    write_image(path, np.round(np.nan_to_num(metres) * units).astype(np.uint16))


def row(values: np.ndarray) -> str:
    return " ".join(f"{value:.12g}" for value in np.ravel(values))


def rows(matrix: np.ndarray) -> str:
    return "".join(row(values) + "\n" for values in matrix)


def xyzw(pose: np.ndarray) -> np.ndarray:
    return Rotation.from_matrix(pose[:3, :3]).as_quat()


def four_by_four(rotation_vector: list[float], translation: list[float]) -> np.ndarray:
    matrix = np.eye(4)
    matrix[:3, :3] = Rotation.from_rotvec(rotation_vector).as_matrix()
    matrix[:3, 3] = translation
    return matrix


def kitti_raw(folder: Path, sequence: Sequence) -> Path:
    """Rectified images; poses by latitude, longitude and the angles of the GPS/INS unit."""
    drive = folder / "2011_09_26" / "2011_09_26_drive_0005_sync"
    imu_to_velo = four_by_four([0.01, -0.02, 0.03], [-0.8, 0.3, -0.8])
    velo_to_cam0 = four_by_four([1.2, -1.2, 1.2], [0.0, -0.08, -0.27])
    rectification = four_by_four([0.004, 0.01, -0.02], [0, 0, 0])
    offset = np.array([0.06, 0.001, 0.002])  # x + offset in camera 2 is x in camera 0
    cam2_from_cam0 = four_by_four([0, 0, 0], offset)
    cam2_from_imu = cam2_from_cam0 @ rectification @ velo_to_cam0 @ imu_to_velo
    lines = ["calib_time: 09-Jan-2012 13:57:47\n"]
    for number, shift in (("00", np.zeros(3)), ("02", offset), ("03", offset - [0.54, 0, 0])):
        projection = np.column_stack([sequence.k, sequence.k @ shift])
        lines += [f"S_{number}: 1392.0 512.0\n", f"K_{number}: {row(sequence.k)}\n", f"D_{number}: -0.3 0.1 0 0 0\n"]
        lines += [f"R_{number}: {row(np.eye(3))}\n", f"T_{number}: {row(shift)}\n"]
        lines += [f"S_rect_{number}: {row(sequence.size)}\n", f"R_rect_{number}: {row(rectification[:3, :3])}\n"]
        lines += [f"P_rect_{number}: {row(projection)}\n"]
    write(drive.parent / "calib_cam_to_cam.txt", "".join(lines))
    for name, matrix in (("imu_to_velo", imu_to_velo), ("velo_to_cam", velo_to_cam0)):
        text = f"calib_time: 25-May-2012 16:47:16\nR: {row(matrix[:3, :3])}\nT: {row(matrix[:3, 3])}\n"
        write(drive.parent / f"calib_{name}.txt", text)
    stamps, scale = [], np.cos(np.radians(49.0)) * 6378137.0
    for index, pose in enumerate(sequence.poses):
        name = f"{index:010d}"
        write_image(drive / "image_02" / "data" / f"{name}.png", sequence.images[index])
        write_image(drive / "image_03" / "data" / f"{name}.png", sequence.images[index])
        stamps.append(f"2011-09-26 13:02:{25 + index // 10}.{index % 10}64389445\n")
        world_from_imu = pose @ cam2_from_imu
        yaw, pitch, roll = Rotation.from_matrix(world_from_imu[:3, :3]).as_euler("ZYX")
        # The first packet is at latitude 49 degrees, which sets the scale of the Mercator plane.
        east, north, up = world_from_imu[:3, 3] - (sequence.poses[0] @ cam2_from_imu)[:3, 3]
        start = scale * np.log(np.tan(np.pi * (90 + 49.0) / 360))
        latitude = np.degrees(2 * np.arctan(np.exp((north + start) / scale))) - 90
        longitude = 8.4 + np.degrees(east / scale)
        packet = f"{latitude:.15f} {longitude:.15f} {115 + up:.9f} {roll:.12f} {pitch:.12f} {yaw:.12f} 0 0 0\n"
        write(drive / "oxts" / "data" / f"{name}.txt", packet)
    for sensor in ("image_02", "image_03", "oxts"):
        write(drive / sensor / "timestamps.txt", "".join(stamps))
    return drive


def tutorial(folder: Path, sequence: Sequence) -> Path:
    """The cut of KITTI that tutorials come with."""
    for index, image in enumerate(sequence.images):
        write_image(folder / "image_l" / f"{index:06d}.png", image)
        write_image(folder / "image_r" / f"{index:06d}.png", image)
    right = np.column_stack([sequence.k, sequence.k @ [-0.54, 0, 0]])
    left = np.column_stack([sequence.k, np.zeros(3)])
    write(folder / "calib.txt", f"{row(left)}\n{row(right)}\n")
    write(folder / "poses.txt", "".join(row(pose[:3]) + "\n" for pose in sequence.poses))
    return folder


def tartanair(folder: Path, sequence: Sequence) -> Path:
    """Poses of a body whose x axis looks forward, y right, z down."""
    path = folder / "carwelding" / "P001"
    # The columns are the axes of the camera in the body: right is y, down is z, forward is x.
    body_from_camera = np.eye(4)
    body_from_camera[:3, :3] = np.array([[0, 1, 0], [0, 0, 1], [1, 0, 0]]).T
    lines = []
    for index, pose in enumerate(sequence.poses):
        body = pose @ np.linalg.inv(body_from_camera)
        lines.append(f"{row(body[:3, 3])} {row(xyzw(body))}\n")
        for side in ("left", "right"):
            write_image(path / f"image_{side}" / f"{index:06d}_{side}.png", sequence.images[index])
        (path / "depth_left").mkdir(exist_ok=True)
        np.save(path / "depth_left" / f"{index:06d}_left_depth.npy", sequence.depths[index].astype(np.float32))
    write(path / "pose_left.txt", "".join(lines))
    return path


def tartanair_v2(folder: Path, sequence: Sequence) -> Path:
    """The second version: other names, and depth as the bytes of a float32 in a PNG of four channels."""
    path = tartanair(folder, sequence)
    for old, new in (("image_left", "image_lcam_front"), ("image_right", "image_rcam_front")):
        (path / old).rename(path / new)
        for file in list((path / new).iterdir()):
            file.rename(file.with_name(f"{file.stem.split('_')[0]}_{new[6:]}.png"))
    (path / "pose_left.txt").rename(path / "pose_lcam_front.txt")
    for file in list((path / "depth_left").iterdir()):
        rgba = np.load(file)[..., None].view(np.uint8)
        write_image(path / "depth_lcam_front" / f"{file.name[:6]}_lcam_front_depth.png", rgba)
        file.unlink()
    (path / "depth_left").rmdir()
    return path


def icl_nuim(folder: Path, sequence: Sequence) -> Path:
    """TUM-compatible files, but poses of a camera with y up in a left-handed world; the first image has no pose."""
    path = folder / "living_room_traj2_frei_png"
    mirror = np.diag([1.0, -1.0, 1.0, 1.0])
    listing, ground_truth = [], []
    for index, pose in enumerate(sequence.poses):
        write_image(path / "rgb" / f"{index}.png", cv2.resize(sequence.images[index], (640, 480)))
        write_depth(path / "depth" / f"{index}.png", np.full((480, 640), 2.0 + index), 5000)
        listing.append(f"{index} depth/{index}.png {index} rgb/{index}.png\n")
        left_handed = mirror @ pose @ mirror
        if index:
            ground_truth.append(f"{index} {row(left_handed[:3, 3])} {row(xyzw(left_handed))}\n")
    write(path / "associations.txt", "".join(listing))
    write(path / "livingRoom2.gt.freiburg", "".join(ground_truth))
    return path


def replica(folder: Path, sequence: Sequence) -> Path:
    """A scene as NICE-SLAM renders it; the camera's file lies one folder up."""
    path = folder / "Replica" / "office0"
    width, height = sequence.size
    camera = {"w": width, "h": height, "scale": 6553.5}
    camera |= dict(zip(("fx", "fy", "cx", "cy"), sequence.k[[0, 1, 0, 1], [0, 1, 2, 2]].tolist(), strict=True))
    write(path.parent / "cam_params.json", json.dumps({"camera": camera}))
    for index, image in enumerate(sequence.images):
        write_image(path / "results" / f"frame{index:06d}.jpg", image)
        write_depth(path / "results" / f"depth{index:06d}.png", sequence.depths[index], 6553.5)
    write(path / "traj.txt", "".join(row(pose) + "\n" for pose in sequence.poses))
    return path


def scannet(folder: Path, sequence: Sequence) -> Path:
    """An exported scene: depth of half the size with intrinsics of its own."""
    path = folder / "scene0000_00"
    half = np.diag([0.5, 0.5, 1.0]) @ sequence.k
    for name, k in (("color", sequence.k), ("depth", half)):
        matrix = np.eye(4)
        matrix[:3, :3] = k
        write(path / "intrinsic" / f"intrinsic_{name}.txt", rows(matrix))
        write(path / "intrinsic" / f"extrinsic_{name}.txt", rows(np.eye(4)))
    for index, pose in enumerate(sequence.poses):
        write_image(path / "color" / f"{index}.jpg", sequence.images[index])
        write_depth(path / "depth" / f"{index}.png", sequence.depths[index][::2, ::2], 1000)
        write(path / "pose" / f"{index}.txt", rows(pose if index != 1 else np.full((4, 4), -np.inf)))
    return path


def tum_vi(folder: Path, sequence: Sequence) -> Path:
    """The EuRoC export: poses of the IMU, known for the middle images; Kalibr's chain in YAML."""
    path = folder / "dataset-room1_512_16"
    left_from_imu = four_by_four([0.1, -2.0, 1.9], [0.04, -0.07, -0.01])
    right_from_left = four_by_four([0.0, 0.0, 0.0], [-0.1, 0.0, 0.0])
    chain, width, height = [], *sequence.size
    for name, matrix in (("cam0", left_from_imu), ("cam1", right_from_left @ left_from_imu)):
        chain += [f"{name}:\n", "  T_cam_imu:\n", *(f"  - [{', '.join(map(repr, r.tolist()))}]\n" for r in matrix)]
        k = sequence.k
        chain += ["  camera_model: pinhole\n", f"  intrinsics: [{k[0, 0]}, {k[1, 1]}, {k[0, 2]}, {k[1, 2]}]\n"]
        chain += ["  distortion_model: radtan\n  distortion_coeffs: [0.0, 0.0, 0.0, 0.0]\n"]
        chain += [f"  resolution: [{width}, {height}]\n  rostopic: /{name}/image_raw\n"]
    write(path / "dso" / "camchain.yaml", "".join(chain))
    start = 1520530308199447626
    ground_truth = [
        "#timestamp [ns], p_RS_R_x [m], p_RS_R_y [m], p_RS_R_z [m], q_RS_w [], q_RS_x [], q_RS_y [], q_RS_z []\n"
    ]
    for index, pose in enumerate(sequence.poses):
        stamp = start + index * 50_000_000
        for camera in ("cam0", "cam1"):
            listing = path / "mav0" / camera / "data.csv"
            write_image(
                path / "mav0" / camera / "data" / f"{stamp}.png", sequence.images[index].astype(np.uint16) * 257
            )
            previous = listing.read_text() if index else "#timestamp [ns],filename\n"
            write(listing, f"{previous}{stamp},{stamp}.png\n")
        body = pose @ left_from_imu
        x, y, z, w = xyzw(body)
        if 0 < index < len(sequence) - 1:
            values = [*body[:3, 3], w, x, y, z]
            ground_truth.append(f"{stamp},{','.join(map(repr, map(float, values)))}\n")
    write(path / "mav0" / "mocap0" / "data.csv", "".join(ground_truth))
    return path


def mono_vo(folder: Path, sequence: Sequence) -> Path:
    """Images in an archive, DSO's calibration relative to the image size, poses at the start alone."""
    path = folder / "sequence_30"
    path.mkdir(parents=True)
    (width, height), k, lines, ground_truth = sequence.size, sequence.k, [], []
    with zipfile.ZipFile(path / "images.zip", "w") as archive:
        for index, image in enumerate(sequence.images):
            archive.writestr(f"{index:05d}.jpg", cv2.imencode(".jpg", image[..., ::-1])[1].tobytes())
            stamp = f"{1448467000 + index * 0.05:.6f}"
            lines.append(f"{index:05d} {stamp} 4.5\n")
            values = [*sequence.poses[index][:3, 3], *xyzw(sequence.poses[index])] if index < 3 else [np.nan] * 7
            ground_truth.append(f"{stamp} {row(np.array(values))}\n")
    relative = [k[0, 0] / width, k[1, 1] / height, (k[0, 2] + 0.5) / width, (k[1, 2] + 0.5) / height, 0.0]
    write(path / "camera.txt", f"{row(np.array(relative))}\n{width} {height}\ncrop\n{width} {height}\n")
    write(path / "times.txt", "".join(lines))
    write(path / "groundtruthSync.txt", "".join(ground_truth))
    write(path / "pcalib.txt", row(np.arange(256)))
    write_image(path / "vignette.png", np.full((height, width), 65535, np.uint16))
    return path
