import numpy as np

from ros_matching.datatypes import Camera, PointCloud
from ros_matching.evaluation.mapping.visualization import draw_cloud, look_at, overview
from ros_matching.geometry.se3 import invert, transform

CAMERA = Camera(80, 60, 70.0, 70.0, 39.5, 29.5)


def sheet(z: float, color: tuple, half: float = 1.0, step: float = 0.02) -> PointCloud:
    x, y = (axis.ravel() for axis in np.meshgrid(*[np.arange(-half, half, step)] * 2))
    points = np.column_stack([x, y, np.full(len(x), z)])
    return PointCloud(points, np.tile(np.array(color, np.uint8), (len(x), 1)), np.ones(len(x), np.float32))


def joined(*clouds: PointCloud) -> PointCloud:
    return PointCloud(*(np.concatenate([getattr(c, n) for c in clouds]) for n in ("points", "colors", "confidence")))


def test_the_nearer_points_hide_the_others():
    red, blue = sheet(2.0, (200, 0, 0), half=0.3), sheet(4.0, (0, 0, 200), half=4.0, step=0.04)
    for cloud in (joined(red, blue), joined(blue, red)):
        image = draw_cloud(cloud, CAMERA, np.eye(4), point_size=0.04)
        assert image.shape == (60, 80, 3)
        np.testing.assert_array_equal(image[30, 40], (200, 0, 0))
        assert image[5, 5, 2] > 150
        assert image[5, 5, 0] == 0


def test_points_before_the_near_plane_are_left_out():
    cloud = joined(sheet(2.0, (200, 0, 0)), sheet(4.0, (0, 0, 200), half=4.0, step=0.04))
    image = draw_cloud(cloud, CAMERA, np.eye(4), point_size=0.04, near=3.0)
    np.testing.assert_array_equal(image[30, 40], (0, 0, 200))


def test_a_flat_surface_is_not_shaded_and_an_edge_is():
    wall = sheet(4.0, (200, 200, 200), half=4.0, step=0.03)
    box = sheet(3.0, (200, 200, 200), half=0.4)
    image = draw_cloud(joined(wall, box), CAMERA, np.eye(4), point_size=0.05)[..., 0].astype(int)
    assert image[30, 40] == 200
    assert image.min() < 150


def test_an_empty_cloud_is_an_empty_image():
    empty = PointCloud(np.zeros((0, 3)), np.zeros((0, 3), np.uint8), np.zeros(0, np.float32))
    image = draw_cloud(empty, CAMERA, np.eye(4), point_size=0.1)
    assert (image == image[0, 0]).all()
    behind = draw_cloud(sheet(-2.0, (9, 9, 9)), CAMERA, np.eye(4), point_size=0.1)
    np.testing.assert_array_equal(image, behind)


def test_look_at_puts_the_target_in_the_middle_and_down_below():
    pose = look_at(np.array([3.0, -2.0, 1.0]), np.array([0.5, 0.2, 4.0]), np.array([0.0, 1.0, 0.0]))
    local = transform(invert(pose), np.array([[0.5, 0.2, 4.0], [0.5, 1.2, 4.0]]))
    np.testing.assert_allclose(local[0, :2], 0, atol=1e-12)
    assert local[0, 2] > 0
    assert local[1, 1] > 0
    np.testing.assert_allclose(pose[:3, :3] @ pose[:3, :3].T, np.eye(3), atol=1e-12)


def test_the_overview_sees_most_of_the_cloud():
    cloud = sheet(4.0, (9, 9, 9), half=2.0, step=0.1)
    camera, pose, near = overview(cloud, [np.eye(4)] * 3)
    local = transform(invert(pose), cloud.points)
    pixels = camera.project(local)
    inside = ((pixels > 0) & (pixels < (camera.width, camera.height))).all(axis=1) & (local[:, 2] > near)
    assert inside.mean() > 0.9
    assert pose[1, 3] < 0  # above: down is along y


def test_a_small_cloud_fills_the_overview():
    for half in (1.0, 2.0):
        cloud = sheet(4.0, (9, 9, 9), half=half, step=half / 20)
        camera, pose, _ = overview(cloud, [np.eye(4)] * 3)
        spread = np.ptp(camera.project(transform(invert(pose), cloud.points)), axis=0) / (camera.width, camera.height)
        assert 0.6 < spread.max() < 1.1
