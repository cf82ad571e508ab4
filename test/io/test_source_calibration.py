"""The calibration, its options and the unit of depth that a source is opened with."""

from __future__ import annotations

import logging
from pathlib import Path

import numpy as np
import pytest
from recordings import HEIGHT, WIDTH, K, folder, image, line, matrix_text, pose, write, write_image

from ros_matching.datatypes import Camera, DistortionModel
from ros_matching.errors import CalibrationError, SourceError
from ros_matching.io import open_source
from ros_matching.io.depth_images import doubt_depth_units


def with_depth(path: Path, values: np.ndarray, layout: str = "folder") -> Path:
    """A recording of four frames in a layout, whose depth images hold ``values`` (H, W)."""
    if layout == "folder":
        folder(path)
        for index in range(4):
            write_image(path / "depth" / f"{index:05d}.png", values)
        return path
    for index in range(4):
        write_image(path / "rgb" / f"{index}.png", image(index))
        write_image(path / "depth" / f"{index}.png", values)
    write(path / "K.txt", matrix_text(K))
    for name in ("rgb", "depth"):
        write(path / f"{name}.txt", "".join(f"{1 + 0.1 * index:.1f} {name}/{index}.png\n" for index in range(4)))
    return path


def depths(step: int, metres: tuple[float, float], units: float) -> np.ndarray:
    """Depth values of a scene from near to far, in steps of a number of units."""
    near, far = (value * units for value in metres)
    ramp = np.linspace(near, far, WIDTH * HEIGHT).reshape(HEIGHT, WIDTH)
    return (ramp / step).astype(np.uint16) * np.uint16(step)


def test_a_matrix_of_another_resolution_is_refused_unless_the_images_are_a_crop(tmp_path: Path) -> None:
    folder(tmp_path)
    half = K * [[0.5, 1, 0.5], [1, 0.5, 0.5], [1, 1, 1]]  # of images half as large: its point is at a quarter
    write(tmp_path / "K.txt", matrix_text(half))
    with pytest.raises(CalibrationError, match=r"K\.txt has its principal point at \(11\.75, 8\.75\).*off_center=true"):
        open_source(tmp_path)
    assert open_source(f"{tmp_path}?off_center=true").camera.cx == 11.75
    assert open_source(tmp_path, off_center=True).camera.cx == 11.75
    write(tmp_path / "K.txt", matrix_text(K * [[2, 1, 2], [1, 2, 2], [1, 1, 1]]))
    with pytest.raises(CalibrationError, match=r"\(47, 35\)"):
        open_source(tmp_path)
    (tmp_path / "K.txt").unlink()
    sized = f"width: {WIDTH}\nheight: {HEIGHT}\nfx: 40\nfy: 40\ncx: 11.75\ncy: 8.75\n"
    write(tmp_path / "camera.yaml", sized)  # a file that states the size of the images is of a crop
    assert open_source(tmp_path).camera.cx == 11.75


def test_a_principal_point_up_to_a_fifth_of_a_side_off_is_taken(tmp_path: Path) -> None:
    folder(tmp_path)
    shift = np.array([[0, 0, 0.19 * WIDTH], [0, 0, -0.19 * HEIGHT], [0, 0, 0]])
    write(tmp_path / "K.txt", matrix_text(K + shift))
    assert open_source(tmp_path).camera.cx == pytest.approx(23.5 + 0.19 * WIDTH)
    write(tmp_path / "K.txt", matrix_text(K + 1.1 * shift))
    with pytest.raises(CalibrationError, match="off_center"):
        open_source(tmp_path)


def test_files_of_one_folder_must_contain_one_calibration(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """A matrix without distortion next to a calibration with it would be read silently."""
    folder(tmp_path)
    write(tmp_path / "camera.yaml", "fx: 40\nfy: 41\ncx: 23.5\ncy: 17.5\n")
    assert open_source(tmp_path).calibration.origin == str(tmp_path / "K.txt")
    assert not caplog.text
    write(tmp_path / "camera.yaml", "fx: 40\nfy: 41\ncx: 23.5\ncy: 17.5\nk1: -0.1\n")
    with pytest.raises(CalibrationError, match=r"camera\.yaml"):
        open_source(tmp_path)
    assert open_source(tmp_path, calibration=tmp_path / "camera.yaml").calibration.camera.distortion[0] == -0.1
    write(tmp_path / "camera.yaml", "exposure: auto\n")
    assert open_source(tmp_path).camera.fx == 40
    assert "camera.yaml" in caplog.text


def test_one_of_several_cameras_by_the_option_of_a_source(tmp_path: Path) -> None:
    folder(tmp_path)
    lines = [f"{index} PINHOLE {WIDTH} {HEIGHT} {40 + index} 41 24 18\n" for index in (1, 2)]
    write(tmp_path / "cameras.txt", "".join(lines))
    with pytest.raises(CalibrationError, match="several cameras, 1, 2"):
        open_source(tmp_path, calibration=tmp_path / "cameras.txt")
    source = open_source(f"{tmp_path}?calibration={tmp_path / 'cameras.txt'}&cam=2")
    assert (source.camera.fx, source.camera.cx) == (42, 23.5)
    with pytest.raises(CalibrationError, match="no camera 2"):
        open_source(f"{tmp_path}?cam=2")  # of K.txt, which has one
    with pytest.raises(SourceError, match="not cam"):
        open_source("scene:room", cam="1")


def test_a_source_names_the_calibration_of_its_images(tmp_path: Path) -> None:
    folder(tmp_path)
    write(tmp_path / "K.txt", f"{line(K[[0, 1, 0, 1], [0, 1, 2, 2]])} -0.1 0.02 0 0\n")
    source = open_source(tmp_path, start=1)
    assert source.calibration.origin == str(tmp_path / "K.txt")
    coefficients = (-0.1, 0.02, 0.0, 0.0, 0.0)
    assert source.calibration.camera == Camera(
        WIDTH, HEIGHT, 40, 41, 23.5, 17.5, DistortionModel.PLUMB_BOB, coefficients
    )
    assert source.camera.is_pinhole
    assert source.calibration.depth_units_per_metre is None
    assert open_source("scene:room?frames=2").calibration.camera == open_source("scene:room?frames=2").camera


@pytest.mark.parametrize("layout", ["folder", "tum"])
def test_the_unit_of_depth_images_is_an_option(layout: str, tmp_path: Path) -> None:
    values = np.full((HEIGHT, WIDTH), 2000, np.uint16)
    path = with_depth(tmp_path, values, layout)
    default = {"folder": 1000.0, "tum": 5000.0}[layout]
    assert next(iter(open_source(path))).depth.max() == pytest.approx(2000 / default)
    source = open_source(f"{path}?depth_scale=4000")
    assert source.calibration.depth_units_per_metre == 4000
    assert next(iter(source)).depth.max() == pytest.approx(0.5)
    with pytest.raises(SourceError, match="depth_scale to be the units of a metre"):
        open_source(f"{path}?depth_scale=0.001")


def test_a_source_without_depth_images_takes_no_unit_of_them(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="has no depth images"):
        open_source(folder(tmp_path), depth_scale=1000)


def test_the_depth_unit_of_a_calibration_precedes_that_of_the_layout(tmp_path: Path) -> None:
    path = with_depth(tmp_path, np.full((HEIGHT, WIDTH), 2000, np.uint16), "tum")
    settings = "Camera.fx: 40\nCamera.fy: 41\nCamera.cx: 23.5\nCamera.cy: 17.5\nDepthMapFactor: 1000.0\n"
    write(path / "camera.yaml", settings)
    (path / "K.txt").unlink()
    assert next(iter(open_source(path))).depth.max() == pytest.approx(2)


@pytest.mark.parametrize(
    ("layout", "values", "suggested"),
    [
        ("tum", depths(5, (0.6, 4.0), 5000), None),  # a Kinect, as TUM stores it
        ("tum", depths(1, (0.9, 4.0), 5000), None),  # rendered
        ("tum", depths(5, (0.4, 1.2), 5000), None),  # a desk
        ("tum", depths(1, (0.6, 4.0), 1000), "depth_scale=1000"),
        ("tum", depths(1, (2.0, 8.0), 1000), "depth_scale=1000"),
        ("folder", depths(1, (0.4, 9.0), 1000), None),
        ("folder", depths(5, (0.6, 4.0), 5000), "depth_scale=5000"),
        ("folder", np.zeros((HEIGHT, WIDTH), np.uint16), None),
    ],
)
def test_the_unit_of_depth_is_doubted_by_the_values(
    layout: str, values: np.ndarray, suggested: str | None, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    source = open_source(with_depth(tmp_path, values, layout))
    with caplog.at_level(logging.WARNING):
        next(iter(source))
    doubt = source.calibration.depth_doubt
    assert (doubt == "") if suggested is None else (suggested in doubt)
    assert doubt in caplog.text
    assert bool(caplog.text) == bool(doubt)
    confirmed = open_source(tmp_path, depth_scale=source.calibration.depth_units_per_metre)
    assert confirmed.calibration.depth_doubt == ""


def test_depth_images_that_cannot_be_read_say_nothing_of_their_unit(tmp_path: Path) -> None:
    (tmp_path / "bad.png").write_bytes(b"no image")
    assert doubt_depth_units([tmp_path / "bad.png", tmp_path / "none.png"], 1000) == ""
    assert doubt_depth_units([], 1000) == ""


def test_a_negative_fy_mirrors_the_true_poses(tmp_path: Path) -> None:
    """A camera with y up in a world with y up is equivalent to its mirror image with y down."""
    folder(tmp_path)
    write(tmp_path / "K.txt", matrix_text(K * [[1, 1, 1], [1, -1, 1], [1, 1, 1]]))
    mirror = np.diag([1.0, -1.0, 1.0, 1.0])
    write(tmp_path / "poses.txt", "".join(line(mirror @ pose(index) @ mirror) + "\n" for index in range(4)))
    source = open_source(tmp_path)
    assert source.camera.fy == 41
    for frame in source:
        np.testing.assert_allclose(frame.true_world_from_camera, pose(frame.index), atol=1e-12)
