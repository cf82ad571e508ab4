from dataclasses import replace

import cv2
import numpy as np
import pytest
from geometry_ground_truth import CAMERA, examples
from hypothesis import given
from hypothesis import strategies as st

from ros_matching.datatypes import Camera, DistortionModel
from ros_matching.errors import CalibrationError
from ros_matching.geometry.distortion import Undistorter, distort_points, undistort_points

PLUMB_BOB, RATIONAL = DistortionModel.PLUMB_BOB, DistortionModel.RATIONAL_POLYNOMIAL
EQUIDISTANT, FOV = DistortionModel.EQUIDISTANT, DistortionModel.FOV
RATIONAL_COEFFICIENTS = (0.4, -2.6, 0.0006, -0.0002, 1.5, 0.28, -2.4, 1.43)
LENSES = {  # calibrations as they are published for the cameras of well-known data sets
    "euroc": Camera(752, 480, 458.654, 457.296, 367.215, 248.375, PLUMB_BOB, (-0.283, 0.0740, 0.00019, 1.76e-05)),
    "tum_fr1": Camera(640, 480, 517.3, 516.5, 318.6, 255.3, PLUMB_BOB, (0.2624, -0.9531, -0.0054, 0.0026, 1.1633)),
    "azure": Camera(1280, 720, 605.0, 605.0, 638.0, 366.0, RATIONAL, RATIONAL_COEFFICIENTS),
    "tum_vi": Camera(512, 512, 191.0, 191.0, 254.9, 256.9, EQUIDISTANT, (0.00348, 0.000715, -0.00205, 0.000203)),
    "barrel": Camera(640, 480, 300.0, 300.0, 320.0, 240.0, PLUMB_BOB, (-0.3, 0.09, 0.0, 0.0, -0.01)),
    "pincushion": Camera(640, 480, 400.0, 400.0, 320.0, 240.0, PLUMB_BOB, (0.2, 0.05, 0.0, 0.0, 0.0)),
}


def grid(camera: Camera, count: int = 25) -> np.ndarray:
    axes = np.linspace(0, camera.width - 1, count), np.linspace(0, camera.height - 1, count)
    return np.stack(np.meshgrid(*axes), axis=-1).reshape(-1, 2)


@pytest.mark.parametrize("name", LENSES)
def test_undistorting_undoes_distorting_over_the_whole_undistorted_image(name):
    lens = LENSES[name]
    pinhole = Undistorter(lens).camera
    pixels = grid(pinhole)
    distorted = distort_points(pixels, lens, pinhole)
    np.testing.assert_allclose(undistort_points(distorted, lens, pinhole), pixels, atol=1e-6)


@pytest.mark.parametrize("name", LENSES)
def test_the_undistorted_view_is_covered_and_wide(name):
    lens = LENSES[name]
    pinhole = Undistorter(lens).camera
    assert pinhole.is_pinhole
    assert (pinhole.width, pinhole.height) == (lens.width, lens.height)
    assert pinhole.fx / pinhole.fy == pytest.approx(lens.fx / lens.fy)
    source = distort_points(grid(pinhole), lens, pinhole)
    assert (source >= -0.5).all()
    assert (source <= np.array([lens.width, lens.height]) - 0.5).all()
    margins = np.r_[source.min(axis=0), [lens.width - 1, lens.height - 1] - source.max(axis=0)]
    if name != "tum_vi":  # that one ends at 120 degrees, not at the border
        assert margins.min() < 2.0


@pytest.mark.parametrize("name", LENSES)
def test_an_undistorted_image_is_that_of_a_pinhole_camera(name):
    lens = LENSES[name].scaled(LENSES[name].width // 4, LENSES[name].height // 4)
    undistorter = Undistorter(lens)
    rays = undistort_points(grid_of_all(lens), lens)  # in the pixels of the same intrinsics without distortion
    pattern = np.nan_to_num(50.0 * np.sin(rays[:, 0] / 15.0) + 50.0 * np.cos(rays[:, 1] / 20.0) + 120.0)
    image = np.repeat(pattern.reshape(lens.height, lens.width, 1), 3, axis=2).astype(np.uint8)
    result = undistorter.undistort(image)
    own = undistorter.camera.unproject(grid_of_all(lens))[:, :2] * (lens.fx, lens.fy) + (lens.cx, lens.cy)
    expected = (50.0 * np.sin(own[:, 0] / 15.0) + 50.0 * np.cos(own[:, 1] / 20.0) + 120.0).reshape(result.shape[:2])
    error = np.abs(result[:, :, 1] - expected)
    assert np.median(error) < 1.5
    assert np.percentile(error, 99.5) < 6.0


def grid_of_all(camera: Camera) -> np.ndarray:
    return (
        np.stack(np.meshgrid(np.arange(camera.width), np.arange(camera.height)), axis=-1).reshape(-1, 2).astype(float)
    )


@examples
@given(
    st.tuples(*[st.floats(-limit, limit) for limit in (0.2, 0.05, 0.002, 0.002, 0.01)]),
    st.sampled_from([PLUMB_BOB, EQUIDISTANT]),
)
def test_round_trip_for_mild_lenses_of_any_coefficients(coefficients, model):
    count = 5 if model is PLUMB_BOB else 4
    lens = Camera(640, 480, 500.0, 505.0, 320.0, 240.0, model, coefficients[:count])
    pixels = grid(lens)
    np.testing.assert_allclose(undistort_points(distort_points(pixels, lens), lens), pixels, atol=1e-6)


def test_a_lens_without_distortion_changes_nothing_and_copies_nothing():
    image = np.zeros((480, 640, 3), np.uint8)
    still = Camera(640, 480, 500.0, 500.0, 320.0, 240.0, PLUMB_BOB, (0.0,) * 5)
    for camera in (CAMERA, still, Camera(640, 480, 500.0, 500.0, 320.0, 240.0, PLUMB_BOB, ())):
        undistorter = Undistorter(camera)
        assert undistorter.undistort(image) is image
        assert undistorter.camera.is_pinhole
        assert undistorter.camera.fx == camera.fx
        np.testing.assert_allclose(distort_points(grid(camera), camera), grid(camera))
        np.testing.assert_allclose(undistort_points(grid(camera), camera), grid(camera))


def test_pixels_that_no_ray_reaches_are_unknown():
    lens = Camera(640, 480, 180.0, 180.0, 320.0, 240.0, EQUIDISTANT, (0.0, 0.0, 0.0, 0.0001))
    corner = np.array([[0.0, 0.0], [320.0, 240.0]])  # the corner is at 127 degrees
    np.testing.assert_allclose(undistort_points(corner, lens), [[np.nan, np.nan], [320.0, 240.0]])
    assert undistort_points(np.zeros((0, 2)), lens).shape == (0, 2)


def test_depth_is_resampled_without_mixing():
    lens = LENSES["barrel"]
    depth = np.where(np.arange(640) < 320, 1.0, 5.0)[None].repeat(480, axis=0).astype(np.float32)
    depth[::7] = np.nan
    result = Undistorter(lens).undistort_depth(depth)
    assert set(np.unique(result[np.isfinite(result)])) == {1.0, 5.0}
    assert np.isnan(result).any()


@pytest.mark.parametrize(
    ("model", "coefficients"),
    [(PLUMB_BOB, (0.1, 0.2, 0.0)), (RATIONAL, (0.1, 0.0, 0.0, 0.0, 0.0)), (EQUIDISTANT, (0.1, 0.0, 0.0, 0.0, 0.0))],
)
def test_a_wrong_count_of_coefficients_raises(model, coefficients):
    lens = Camera(640, 480, 500.0, 500.0, 320.0, 240.0, model, coefficients)
    for call in (lambda: Undistorter(lens), lambda: distort_points(np.ones((1, 2)), lens)):
        with pytest.raises(CalibrationError, match="coefficients, got"):
            call()


def test_coefficients_that_describe_no_lens_and_images_of_another_size_raise():
    with pytest.raises(CalibrationError, match="describe no lens"):
        Undistorter(Camera(640, 480, 300.0, 300.0, 320.0, 240.0, PLUMB_BOB, (-2.3, 0.9, 0.0, 0.0, -0.5)))
    with pytest.raises(CalibrationError, match="640x480 images, got 320x240"):
        Undistorter(LENSES["barrel"]).undistort(np.zeros((240, 320, 3), np.uint8))


def test_points_agree_with_opencv():
    lens = LENSES["euroc"]
    rays = np.random.default_rng(0).uniform(-0.5, 0.5, (50, 2))
    pixels = rays * (lens.fx, lens.fy) + (lens.cx, lens.cy)
    points = np.column_stack([rays, np.ones(50)])
    expected, _ = cv2.projectPoints(points, np.zeros(3), np.zeros(3), lens.matrix, np.array(lens.distortion))
    np.testing.assert_allclose(distort_points(pixels, lens), expected[:, 0], atol=1e-9)


def rational_reference(xy: np.ndarray, d: tuple[float, ...]) -> np.ndarray:
    """OpenCV's documented model of 14 coefficients, term by term, in normalised coordinates (N, 2)."""
    k1, k2, p1, p2, k3, k4, k5, k6, s1, s2, s3, s4, tau_x, tau_y = d
    x, y = xy.T
    r2 = x**2 + y**2
    radial = (1 + k1 * r2 + k2 * r2**2 + k3 * r2**3) / (1 + k4 * r2 + k5 * r2**2 + k6 * r2**3)
    bent = np.stack(
        [
            x * radial + 2 * p1 * x * y + p2 * (r2 + 2 * x**2) + s1 * r2 + s2 * r2**2,
            y * radial + p1 * (r2 + 2 * y**2) + 2 * p2 * x * y + s3 * r2 + s4 * r2**2,
            np.ones_like(x),
        ]
    )
    about_x = np.array([[1, 0, 0], [0, np.cos(tau_x), np.sin(tau_x)], [0, -np.sin(tau_x), np.cos(tau_x)]])
    about_y = np.array([[np.cos(tau_y), 0, -np.sin(tau_y)], [0, 1, 0], [np.sin(tau_y), 0, np.cos(tau_y)]])
    tilt = about_y @ about_x
    onto_sensor = np.array([[tilt[2, 2], 0, -tilt[0, 2]], [0, tilt[2, 2], -tilt[1, 2]], [0, 0, 1]]) @ tilt
    u, v, w = onto_sensor @ bent
    return np.column_stack([u / w, v / w])


@pytest.mark.parametrize("count", [8, 12, 14])
def test_thin_prism_and_tilt_follow_the_documented_model(count: int) -> None:
    coefficients = (*RATIONAL_COEFFICIENTS, 0.003, -0.001, -0.002, 0.0008, 0.02, -0.03)[:count]
    lens = Camera(640, 480, 500.0, 510.0, 320.0, 240.0, RATIONAL, coefficients)
    xy = np.random.default_rng(1).uniform(-0.4, 0.4, (40, 2))
    expected = rational_reference(xy, coefficients + (0.0,) * (14 - count)) * (lens.fx, lens.fy) + (lens.cx, lens.cy)
    pixels = xy * (lens.fx, lens.fy) + (lens.cx, lens.cy)
    np.testing.assert_allclose(distort_points(pixels, lens), expected, atol=1e-9)
    np.testing.assert_allclose(undistort_points(expected, lens), pixels, atol=1e-6)


def test_the_fov_model_maps_angles_to_radii() -> None:
    """In the model of Devernay and Faugeras a pinhole radius tan(a) / (2 tan(omega / 2)) is imaged at a / omega."""
    lens = Camera(640, 480, 300.0, 310.0, 320.0, 240.0, FOV, (0.9,))
    angles, directions = np.linspace(0.01, 0.8, 20), np.linspace(0, 6, 20)
    unit = np.column_stack([np.cos(directions), np.sin(directions)])
    ideal = unit * (np.tan(angles) / (2 * np.tan(0.45)))[:, None] * (300, 310) + (320, 240)
    imaged = unit * (angles / 0.9)[:, None] * (300, 310) + (320, 240)
    np.testing.assert_allclose(distort_points(ideal, lens), imaged, atol=1e-9)
    np.testing.assert_allclose(undistort_points(imaged, lens), ideal, atol=1e-9)
    with pytest.raises(CalibrationError, match="omega"):
        Undistorter(replace(lens, distortion=(4.0,)))


@pytest.mark.parametrize("name", [*LENSES, "none"])
def test_skew_shears_the_columns_by_the_rows(name: str) -> None:
    """u = fx x + s y + cx with (x, y) behind the lens, by K; the undistorted camera has no skew."""
    lens = LENSES.get(name, CAMERA)
    sheared = replace(lens, skew=6.0)
    assert not sheared.is_pinhole
    pixels = grid(lens, 9)[20:60]
    plain = distort_points(pixels, lens)
    expected = np.column_stack([plain[:, 0] + 6.0 * (plain[:, 1] - lens.cy) / lens.fy, plain[:, 1]])
    np.testing.assert_allclose(distort_points(pixels, sheared), expected, atol=1e-9)
    pinhole = Undistorter(sheared).camera
    assert pinhole.skew == 0
    pixels = grid(pinhole)
    np.testing.assert_allclose(
        undistort_points(distort_points(pixels, sheared, pinhole), sheared, pinhole), pixels, atol=1e-6
    )


@pytest.mark.parametrize("name", ["euroc", "tum_vi", "tilted", "fov", "none"])
def test_images_are_undistorted_as_points_are(name: str) -> None:
    """A pattern painted through the lens and the skew is where the pinhole camera projects it."""
    extra = {
        "tilted": replace(LENSES["azure"], distortion=(*RATIONAL_COEFFICIENTS, 0.003, 0.0, 0.0, 0.002, 0.02, -0.03)),
        "fov": Camera(640, 480, 300.0, 310.0, 320.0, 240.0, FOV, (0.9,)),
        "none": CAMERA,
    }
    lens = replace((LENSES | extra)[name], skew=8.0)
    lens = lens.scaled(lens.width // 2, lens.height // 2)
    undistorter = Undistorter(lens)
    x, y = (undistort_points(grid_of_all(lens), lens, undistorter.camera)).T
    painted = np.nan_to_num(120 + 60 * np.sin(x / 9.0) + 60 * np.cos(y / 11.0)).reshape(lens.height, lens.width)
    result = undistorter.undistort(np.repeat(painted[..., None], 3, axis=2).astype(np.uint8))[..., 0]
    u, v = grid_of_all(lens).T
    expected = (120 + 60 * np.sin(u / 9.0) + 60 * np.cos(v / 11.0)).reshape(result.shape)
    error = np.abs(result - expected)
    assert np.median(error) < 2.0
    assert np.percentile(error, 99) < 8.0


def test_an_equidistant_lens_distorts_without_coefficients_of_its_own() -> None:
    lens = Camera(640, 480, 300.0, 300.0, 320.0, 240.0, EQUIDISTANT, (0.0,) * 4)
    assert not lens.is_pinhole
    pixel = np.array([[320.0 + 300.0 * np.tan(0.7), 240.0]])
    np.testing.assert_allclose(distort_points(pixel, lens), [[320.0 + 300.0 * 0.7, 240.0]])
    assert replace(lens, distortion=()).is_pinhole
