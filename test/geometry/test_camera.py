import cv2
import numpy as np
import pytest
from geometry_truth import CAMERA, examples
from hypothesis import given
from hypothesis import strategies as st

from ros_matching.datatypes import Camera, DistortionModel
from ros_matching.errors import CalibrationError
from ros_matching.geometry.camera import Undistorter, distort_points, undistort_points

PLUMB_BOB, RATIONAL = DistortionModel.PLUMB_BOB, DistortionModel.RATIONAL_POLYNOMIAL
EQUIDISTANT = DistortionModel.EQUIDISTANT
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
def test_an_undistorted_image_shows_what_a_pinhole_camera_sees(name):
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
    corner = np.array([[0.0, 0.0], [320.0, 240.0]])  # the corner sees at 127 degrees
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
