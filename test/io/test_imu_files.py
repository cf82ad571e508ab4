"""Files of an IMU: samples, noise and extrinsics, and the IMU of a source."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from ros_matching.errors import CalibrationError, SourceError
from ros_matching.geometry.se3 import exp_so3, invert, pose_from
from ros_matching.io import open_source
from ros_matching.io.imu import imu_of, read_imu_extrinsics, read_imu_files, read_imu_noise, read_imu_samples

EXTRINSICS = pose_from(exp_so3(np.array([0.2, -1.1, 0.4])), np.array([0.05, -0.02, 0.1]))
KALIBR = """imu0:
  accelerometer_noise_density: 2.0e-3
  accelerometer_random_walk: 3e-3
  gyroscope_noise_density: 1.7e-4
  gyroscope_random_walk: 2e-5
  rostopic: /imu0
  update_rate: 200.0
"""


def rows(matrix: np.ndarray) -> str:
    return "\n".join(" ".join(f"{value:.12g}" for value in row) for row in matrix)


def csv(stamps: list[str], header: str = "stamp_ns,wx,wy,wz,ax,ay,az") -> str:
    return "\n".join([header, *(f"{stamp},0.1,0.2,0.3,1,2,9.5" for stamp in stamps)])


@pytest.mark.parametrize(
    ("stamps", "header"),
    [
        (["1403715273262142976", "1403715273267142912"], "#timestamp [ns],w_RS_S_x [rad s^-1],y,z,a,b,c"),
        (["1403715273.262142976", "1403715273.267142912"], "stamp,wx,wy,wz,ax,ay,az"),
    ],
)
def test_stamps_in_nanoseconds_and_seconds(tmp_path: Path, stamps: list[str], header: str) -> None:
    (tmp_path / "imu.csv").write_text(csv(stamps, header))
    samples = read_imu_samples(tmp_path / "imu.csv")
    assert samples.stamps_ns.tolist() == [1403715273262142976, 1403715273267142912]
    assert samples.gyroscope[1].tolist() == [0.1, 0.2, 0.3]
    assert samples.accelerometer[0].tolist() == [1.0, 2.0, 9.5]


def test_lines_that_are_no_samples_are_refused_by_name(tmp_path: Path) -> None:
    path = tmp_path / "imu.csv"
    path.write_text(csv(["1", "2"]) + "\n3,0.1,0.2")
    with pytest.raises(SourceError, match="line 4: expected 7 values"):
        read_imu_samples(path)
    path.write_text(csv(["1"]) + "\n2,nan,0,0,0,0,9.8")
    with pytest.raises(SourceError, match="line 3: expected finite"):
        read_imu_samples(path)


def test_noise_and_extrinsics_of_kalibr(tmp_path: Path) -> None:
    path = tmp_path / "imu.yaml"
    path.write_text(KALIBR)
    noise = read_imu_noise(path)
    assert (noise.gyroscope, noise.accelerometer) == (1.7e-4, 2e-3)
    assert (noise.gyroscope_walk, noise.accelerometer_walk) == (2e-5, 3e-3)
    path.write_text(KALIBR.replace("gyroscope_noise_density", "noise"))
    with pytest.raises(CalibrationError, match="gyroscope_noise_density"):
        read_imu_noise(path)
    chain = tmp_path / "camchain.yaml"
    listed = "\n".join(f"  - [{', '.join(map(str, row))}]" for row in invert(EXTRINSICS).tolist())
    chain.write_text(f"cam0:\n  T_cam_imu:\n{listed}\n  timeshift_cam_imu: -0.0125\n")
    found, offset_s = read_imu_extrinsics(chain)
    assert np.allclose(found, EXTRINSICS)
    assert offset_s == -0.0125
    with pytest.raises(CalibrationError, match="cam1"):
        read_imu_extrinsics(chain, "cam1")


def test_a_matrix_as_text_in_one_line_or_in_rows(tmp_path: Path) -> None:
    path = tmp_path / "T_imu_cam.txt"
    path.write_text("# imu <- camera\n" + rows(EXTRINSICS))
    assert np.allclose(read_imu_extrinsics(path)[0], EXTRINSICS)
    path.write_text(rows(EXTRINSICS.reshape(1, 16)))
    assert np.allclose(read_imu_extrinsics(path)[0], EXTRINSICS)


def test_an_image_folder_has_the_imu_beside_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cv2 = pytest.importorskip("cv2")
    (tmp_path / "images").mkdir()
    for name in ("a", "b"):
        cv2.imwrite(str(tmp_path / "images" / f"{name}.png"), np.zeros((48, 64, 3), np.uint8))
    (tmp_path / "K.txt").write_text("60 0 32\n0 60 24\n0 0 1\n")
    with pytest.raises(SourceError, match="has no IMU that is known; give a file"):
        imu_of(open_source(tmp_path))
    (tmp_path / "imu.csv").write_text(csv(["1000000000000000000", "1000000000005000000"]))
    without = imu_of(open_source(tmp_path))
    assert without.imu_from_camera is None
    assert without.noise is None
    (tmp_path / "T_imu_cam.txt").write_text("# not filled in\n")
    assert imu_of(open_source(tmp_path)).imu_from_camera is None
    (tmp_path / "T_imu_cam.txt").write_text(rows(EXTRINSICS))
    (tmp_path / "imu.yaml").write_text(KALIBR)
    known = imu_of(open_source(tmp_path, stop=1))
    assert np.allclose(known.imu_from_camera, EXTRINSICS)
    assert known.noise.gyroscope == 1.7e-4
    assert len(read_imu_files(tmp_path / "imu.csv").samples) == 2


def test_a_rendered_scene_has_an_imu_where_asked() -> None:
    assert open_source("scene:room?frames=10").imu is None
    recording = imu_of(open_source("scene:room?frames=31&imu=200&imu_noise=consumer", stop=20))
    assert len(recording.samples) == 201
    assert recording.samples.rate_hz == 200
    assert recording.imu_from_camera is not None


def test_euroc_has_its_imu_with_noise_and_extrinsics(tmp_path: Path) -> None:
    cv2 = pytest.importorskip("cv2")
    camera, imu = tmp_path / "mav0" / "cam0", tmp_path / "mav0" / "imu0"
    (camera / "data").mkdir(parents=True)
    imu.mkdir()
    stamps = [1403715273262142976, 1403715273312142976]
    for stamp in stamps:
        cv2.imwrite(str(camera / "data" / f"{stamp}.png"), np.zeros((480, 752), np.uint8))
    (camera / "data.csv").write_text("#t,filename\n" + "".join(f"{stamp},{stamp}.png\n" for stamp in stamps))
    numbers = ", ".join(f"{value:.12g}" for value in EXTRINSICS.ravel())
    (camera / "sensor.yaml").write_text(
        f"sensor_type: camera\nT_BS:\n  cols: 4\n  rows: 4\n  data: [{numbers}]\nresolution: [752, 480]\n"
        "camera_model: pinhole\nintrinsics: [458.6, 457.3, 367.2, 248.4]\ndistortion_model: radial-tangential\n"
        "distortion_coefficients: [-0.28, 0.07, 0.0002, 0.00002]\n"
    )
    (imu / "data.csv").write_text(csv([str(stamps[0]), str(stamps[0] + 5_000_000)], "#timestamp [ns],w,w,w,a,a,a"))
    (imu / "sensor.yaml").write_text(KALIBR.replace("imu0:\n  ", "").replace("\n  ", "\n"))
    found = imu_of(open_source(tmp_path))
    assert np.allclose(found.imu_from_camera, EXTRINSICS)
    assert found.noise.accelerometer_walk == 3e-3
    assert len(found.samples) == 2
