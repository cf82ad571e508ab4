"""Writers of known poses as structure from motion, nerfstudio and apps of phones write them; see ``layout_writers``."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path

import cv2
import numpy as np
from layout_writers import Sequence, row, write, write_depth, write_image, xyzw

OPENGL_FROM_OPENCV = np.diag([1.0, -1.0, -1.0, 1.0])  # camera axes: y up and z backward, or y down and z forward


def colmap(folder: Path, sequence: Sequence) -> Path:
    """A text model; one image was not posed. COLMAP's poses take the world to the camera."""
    (width, height), k = sequence.size, sequence.k
    parameters = row(np.array([k[0, 0], k[1, 1], k[0, 2] + 0.5, k[1, 2] + 0.5]))
    write(folder / "sparse" / "0" / "cameras.txt", f"# Camera list\n1 PINHOLE {width} {height} {parameters}\n")
    lines = ["# Image list with two lines of data per image:\n"]
    for index, pose in enumerate(sequence.poses):
        write_image(folder / "images" / f"{index:04d}.png", sequence.images[index])
        inverse = np.linalg.inv(pose)
        x, y, z, w = xyzw(inverse)
        if index != 2:
            lines.append(f"{9 - index} {row(np.array([w, x, y, z]))} {row(inverse[:3, 3])} 1 {index:04d}.png\n\n")
    write(folder / "sparse" / "0" / "images.txt", "".join(reversed(lines)))
    write(folder / "sparse" / "0" / "points3D.txt", "")
    return folder


def nerfstudio(folder: Path, sequence: Sequence) -> Path:
    """Shared intrinsics, and depth with its unit; frames in another order."""
    (width, height), k = sequence.size, sequence.k
    values = {"w": width, "h": height, "fl_x": k[0, 0], "fl_y": k[1, 1], "cx": k[0, 2] + 0.5, "cy": k[1, 2] + 0.5}
    values |= {"k1": 0.0, "k2": 0.0, "p1": 0.0, "p2": 0.0, "camera_model": "OPENCV", "depth_unit_scale_factor": 2e-4}
    values["frames"] = []
    for index, pose in enumerate(sequence.poses):
        write_image(folder / "images" / f"frame_{index + 1}.png", sequence.images[index])
        write_depth(folder / "depths" / f"frame_{index + 1}.png", sequence.depths[index], 5000)
        frame = {"file_path": f"images/frame_{index + 1}.png", "transform_matrix": (pose @ OPENGL_FROM_OPENCV).tolist()}
        values["frames"].insert(0, frame | {"depth_file_path": f"depths/frame_{index + 1}.png"})
    write(folder / "transforms.json", json.dumps(values))
    return folder


def instant_ngp(folder: Path, sequence: Sequence) -> Path:
    """The angle of view alone, and names without a suffix, as for images of Blender."""
    values = {"camera_angle_x": 2 * np.arctan(sequence.size[0] / 2 / sequence.k[0, 0]), "aabb_scale": 4, "frames": []}
    for index, pose in enumerate(sequence.poses):
        write_image(folder / "train" / f"r_{index}.png", sequence.images[index])
        matrix = (pose @ OPENGL_FROM_OPENCV).tolist()
        values["frames"].append({"file_path": f"./train/r_{index}", "rotation": 0.012, "transform_matrix": matrix})
    write(folder / "transforms.json", json.dumps(values))
    return folder


def _record3d_metadata(sequence: Sequence) -> dict:
    (width, height), k = sequence.size, sequence.k
    poses = [pose @ OPENGL_FROM_OPENCV for pose in sequence.poses]
    return {
        "w": width,
        "h": height,
        "K": k.T.ravel().tolist(),  # column by column
        "fps": 60,
        "poses": [[*xyzw(pose).tolist(), *pose[:3, 3].tolist()] for pose in poses],
    }


def record3d(folder: Path, sequence: Sequence) -> Path:
    """The export of images and EXR depth."""
    for index, image in enumerate(sequence.images):
        write_image(folder / "EXR_RGBD" / "rgb" / f"{index}.jpg", image)
        write(folder / "EXR_RGBD" / "depth" / f"{index}.exr", "")
    write(folder / "EXR_RGBD" / "metadata.json", json.dumps(_record3d_metadata(sequence)))
    return folder


def record3d_file(folder: Path, sequence: Sequence) -> Path:
    """A ``.r3d`` file, with stamps of the frames."""
    values = _record3d_metadata(sequence) | {"frameTimestamps": [512.25 + 0.05 * k for k in range(len(sequence))]}
    path = folder / "2023-05-01--10-00-00.r3d"
    folder.mkdir(exist_ok=True)
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("metadata", json.dumps(values))
        for index, image in enumerate(sequence.images):
            archive.writestr(f"rgbd/{index}.jpg", cv2.imencode(".jpg", image[..., ::-1])[1].tobytes())
            archive.writestr(f"rgbd/{index}.depth", b"lzfse")
    return path


def stray_scanner(folder: Path, sequence: Sequence) -> Path:
    """A video, depth in a quarter of its pixels with a confidence for each, and poses with our camera axes."""
    path = folder / "8653a2142b"
    path.mkdir(parents=True)
    writer = cv2.VideoWriter(str(path / "rgb.mp4"), cv2.VideoWriter.fourcc(*"mp4v"), 20, sequence.size)
    lines = ["timestamp, frame, x, y, z, qx, qy, qz, qw\n"]
    for index, pose in enumerate(sequence.poses):
        writer.write(np.ascontiguousarray(sequence.images[index][..., ::-1]))
        values = ", ".join(f"{value:.12g}" for value in [*pose[:3, 3], *xyzw(pose)])
        lines.append(f"{2741.5 + 0.05 * index:.6f}, {index:06d}, {values}\n")
        height, width = sequence.depths[index].shape
        small = sequence.depths[index].reshape(height // 4, 4, width // 4, 4).mean(axis=(1, 3))
        write_depth(path / "depth" / f"{index:06d}.png", small, 1000)
        confidence = np.full(small.shape, 2, np.uint8)
        confidence[:5] = 0
        write_image(path / "confidence" / f"{index:06d}.png", confidence)
    writer.release()
    write(path / "odometry.csv", "".join(lines))
    write(path / "camera_matrix.csv", "\n".join(", ".join(map(repr, r.tolist())) for r in sequence.k))
    return path
