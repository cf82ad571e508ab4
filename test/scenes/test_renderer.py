"""Depth and colour against closed-form ground truth."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.ndimage import map_coordinates
from scipy.spatial.transform import Rotation

from ros_matching.datatypes import Camera
from ros_matching.errors import SceneError
from ros_matching.scenes import (
    Box,
    Cylinder,
    HeightField,
    Light,
    PathConfig,
    Rectangle,
    Renderer,
    Scene,
    Sphere,
    Surface,
    camera_path,
    render,
)


def pose(x=0.0, y=0.0, z=0.0, rotvec=(0.0, 0.0, 0.0)) -> np.ndarray:
    matrix = np.eye(4)
    matrix[:3, :3], matrix[:3, 3] = Rotation.from_rotvec(rotvec).as_matrix(), (x, y, z)
    return matrix


def plain(value: int) -> Surface:
    return Surface(np.full((4, 4, 3), value, np.uint8))


def pixel_rays(camera: Camera) -> np.ndarray:
    v, u = np.mgrid[: camera.height, : camera.width]
    pixels = np.column_stack([u.ravel(), v.ravel()]).astype(float)
    return camera.unproject(pixels)


@settings(deadline=None, max_examples=12)
@given(st.tuples(*[st.floats(-0.6, 0.6)] * 3), st.tuples(*[st.floats(-0.3, 0.3)] * 3), st.floats(0.5, 20.0))
def test_plane_depth_is_exact(plane_turn, camera_turn, distance):
    camera = Camera(64, 48, 60.0, 58.0, 31.0, 24.5)
    plane, eye = pose(z=distance, rotvec=plane_turn), pose(0.1, -0.2, 0.05, camera_turn)
    scene = Scene([Rectangle(plane, (np.inf, np.inf), plain(100))])
    depth = render(scene, camera, eye[None], antialias=False).depth[0].numpy().ravel()

    normal = plane[:3, 2]
    rays = pixel_rays(camera) @ eye[:3, :3].T
    with np.errstate(divide="ignore"):
        expected = (normal @ (plane[:3, 3] - eye[:3, 3])) / (rays @ normal)
    seen = (expected > 0) & (expected < 1e3)
    np.testing.assert_allclose(depth[seen], expected[seen], rtol=1e-4)
    assert np.isnan(depth[expected < 0]).all()


def test_rectangle_covers_exactly_its_pixels():
    camera = Camera(64, 48, 50.0, 50.0, 31.5, 23.5)
    scene = Scene([Rectangle(pose(z=2.0), (0.4, 0.2), plain(100))])
    seen = ~torch.isnan(render(scene, camera, np.eye(4)[None], antialias=False).depth[0]).numpy()
    v, u = np.mgrid[:48, :64]
    np.testing.assert_array_equal(seen, (np.abs(u - 31.5) <= 10.0) & (np.abs(v - 23.5) <= 5.0))


def test_one_sided_rectangle_is_visible_from_its_front_only(camera):
    front = Rectangle(pose(z=2.0), (5.0, 5.0), plain(100), one_sided=True)
    back = Rectangle(pose(z=2.0, rotvec=(np.pi, 0, 0)), (5.0, 5.0), plain(100), one_sided=True)
    assert not render(Scene([front]), camera, np.eye(4)[None]).depth.isnan().any()
    assert render(Scene([back]), camera, np.eye(4)[None]).depth.isnan().all()


def test_texture_has_its_orientation_and_position(camera):
    texture = np.zeros((2, 2, 3), np.uint8)
    texture[0, 0], texture[0, 1], texture[1, 0] = (255, 0, 0), (0, 255, 0), (0, 0, 255)
    scene = Scene([Rectangle(pose(z=1.0), (0.4, 0.4), Surface(texture, (0.8, 0.8)))])
    image = render(scene, camera, np.eye(4)[None], antialias=False).rgb[0].numpy()
    for du, dv, color in ((-40, -40, (255, 0, 0)), (40, -40, (0, 255, 0)), (-40, 40, (0, 0, 255)), (40, 40, (0, 0, 0))):
        np.testing.assert_allclose(image[int(60.5 + dv), int(79 + du)], color, atol=1)


def test_sphere_depth_and_silhouette(camera):
    center, radius = np.array([0.2, -0.1, 3.0]), 0.7
    scene = Scene([Sphere(pose(*center, rotvec=(0.3, 1.0, 0.2)), radius, plain(100))])
    depth = render(scene, camera, np.eye(4)[None], antialias=False).depth[0].numpy().ravel()
    rays = pixel_rays(camera)
    a, b, c = (rays**2).sum(1), rays @ center, center @ center - radius**2
    discriminant = b**2 - a * c
    inside = discriminant > 1e-4
    np.testing.assert_allclose(depth[inside], ((b - np.sqrt(np.maximum(discriminant, 0))) / a)[inside], rtol=1e-4)
    assert np.isnan(depth[discriminant < -1e-4]).all()


@pytest.mark.parametrize("turn", [(0.0, 0.0, 0.0), (0.4, 0.9, -0.3), (np.pi / 2, 0.0, 0.0)])
@pytest.mark.parametrize("kind", ["cylinder", "box"])
def test_solids_lie_on_their_own_surface(camera, kind, turn):
    placed = pose(0.1, 0.2, 2.5, turn)
    solid = Cylinder(placed, 0.4, 0.6, plain(9)) if kind == "cylinder" else Box(placed, (0.3, 0.4, 0.6), plain(9))
    depth = render(Scene([solid]), camera, np.eye(4)[None], antialias=False).depth[0].numpy().ravel()
    seen = ~np.isnan(depth)
    points = pixel_rays(camera)[seen] * depth[seen, None]
    np.testing.assert_allclose(solid.distance(points), 0.0, atol=1e-5)
    assert (solid.distance(points * 0.999) > 0).all(), "the far side was hit"
    # every ray that passes through the solid is stopped by it
    steps = np.linspace(1.0, 4.0, 100)[:, None, None]
    passes = np.min([solid.distance(points) for points in pixel_rays(camera) * steps], axis=0) < -0.03
    assert seen[passes].all()


def test_height_field_agrees_with_dense_search():
    rng = np.random.default_rng(1)
    heights = 0.15 * rng.standard_normal((24, 32))
    field = HeightField((-8.0, 2.0, -1.5), heights, 0.5, plain(80))
    camera = Camera(40, 30, 32.0, 32.0, 19.5, 14.5)
    eye = pose(0.0, -1.0, 0.3, (-np.pi / 2 - 0.15, 0, 0))  # looking along y, a little down
    depth = render(Scene([field]), camera, eye[None], antialias=False).depth[0].numpy().ravel()

    rays = pixel_rays(camera) @ eye[:3, :3].T
    along = np.linspace(0.5, 18.0, 2500)
    points = eye[:3, 3] + along[:, None, None] * rays
    x, y = (points[..., 0] + 8.0) / 0.5, (points[..., 1] - 2.0) / 0.5
    inside = (x >= 0) & (x <= 31) & (y >= 0) & (y <= 23)
    gap = points[..., 2] + 1.5 - map_coordinates(heights, [np.clip(y, 0, 23), np.clip(x, 0, 31)], order=1)
    entered = inside & np.roll(inside, 1, axis=0)
    below = entered & (gap <= 0) & (np.roll(gap, 1, axis=0) > 0)
    expected = np.where(below.any(0), along[below.argmax(0)], np.nan)
    both = ~np.isnan(expected) & ~np.isnan(depth)
    assert both.mean() > 0.3
    assert (np.isnan(expected) == np.isnan(depth)).mean() > 0.97
    errors = np.abs(depth - expected)[both]
    assert (errors < 0.01).mean() > 0.97  # the rest graze a crest


def test_nearer_things_hide_farther_ones(camera):
    wall = Rectangle(pose(z=4.0), (np.inf, np.inf), plain(200))
    things = [Sphere(pose(z=3.0), 0.5, plain(50)), Box(pose(0.0, 0.0, 2.0), (0.1, 0.1, 0.1), plain(120))]
    for order in ([wall, *things], [*things[::-1], wall]):
        view = render(Scene(order), camera, np.eye(4)[None])
        assert view.depth[0, 60, 79] == pytest.approx(1.9, abs=1e-4)
        assert view.depth[0, 60, 79 + 15] == pytest.approx(2.600, abs=2e-3)
        assert view.depth[0, 5, 5] == pytest.approx(4.0, abs=1e-4)
        assert [int(view.rgb[0, 60, u, 0]) for u in (79, 94, 5)] == [120, 50, 200]


def test_lambert_shading_of_a_tilted_plane(camera):
    scene = Scene(
        [Rectangle(pose(z=2.0, rotvec=(0, np.radians(60), 0)), (np.inf, np.inf), plain(200))],
        light=Light((0.0, 0.0, -1e6), ambient=0.25),
    )
    center = render(scene, camera, np.eye(4)[None]).rgb[0, 60, 79]
    assert int(center[0]) == pytest.approx(200 * (0.25 + 0.75 * 0.5), abs=1)


def test_sky_has_colour_and_no_depth(camera):
    scene = Scene([Rectangle(pose(z=2.0), (0.3, 0.3), plain(10))], sky=np.full((4, 4, 3), 180, np.uint8))
    view = render(scene, camera, np.eye(4)[None])
    assert view.depth[0, 0, 0].isnan()
    assert view.rgb[0, 0, 0].tolist() == [180, 180, 180]
    assert view.depth[0, 60, 79] == pytest.approx(2.0, abs=1e-5)


def test_far_texture_fades_to_its_mean_instead_of_aliasing(camera):
    checks = np.kron(np.indices((64, 64)).sum(0) % 2, np.ones((2, 2)))[..., None].repeat(3, 2)
    floor = Rectangle(
        pose(y=1.0, rotvec=(-np.pi / 2, 0, 0)), (np.inf, np.inf), Surface((255 * checks).astype(np.uint8), (4.0, 4.0))
    )
    image = render(Scene([floor]), camera, np.eye(4)[None]).rgb[0, :, :, 0].numpy().astype(float)
    just_below_horizon = image[64:68]
    np.testing.assert_allclose(just_below_horizon, 127.5, atol=6)
    assert image[-20:].std() > 25, "texture close by must still be visible"


def test_antialiasing_blends_edges_and_keeps_the_rest(camera):
    scene = Scene(
        [Rectangle(pose(z=2.0, rotvec=(0, 0, 0.2)), (0.5, 0.5), plain(200))], sky=np.zeros((4, 4, 3), np.uint8)
    )
    smooth, hard = (render(scene, camera, np.eye(4)[None], antialias=on) for on in (True, False))
    torch.testing.assert_close(smooth.depth, hard.depth, equal_nan=True)
    values = smooth.rgb[..., 0].unique().tolist()
    assert set(hard.rgb[..., 0].unique().tolist()) == {0, 200}
    assert set(values) == {0, 40, 80, 120, 160, 200}
    area = float(smooth.rgb[..., 0].float().sum()) / 200
    assert area == pytest.approx(camera.fx * camera.fy / 4, rel=5e-3)


@pytest.mark.parametrize("name", ["room_scene", "outdoor_scene"])
def test_views_are_photo_consistent(name, request, camera):
    """Warping one view to another by the exact depth reproduces its colours where both see the same point."""
    scene = request.getfixturevalue(name)
    poses = camera_path(scene, PathConfig(frames=11, seed=2))[[0, 10]]
    views = Renderer(scene, camera).render(poses)
    rgb, depth = views.rgb.numpy().astype(float), views.depth.numpy()
    points = pixel_rays(camera) * depth[0].reshape(-1, 1)
    relative = np.linalg.inv(poses[1]) @ poses[0]
    moved = points @ relative[:3, :3].T + relative[:3, 3]
    u, v = camera.project(moved).T
    seen = np.isfinite(u) & (u >= 0) & (v >= 0) & (u <= camera.width - 1) & (v <= camera.height - 1)
    there = np.where(
        seen, depth[1][np.rint(np.where(seen, v, 0)).astype(int), np.rint(np.where(seen, u, 0)).astype(int)], np.nan
    )
    visible = seen & (np.abs(there - moved[:, 2]) < 0.02 * moved[:, 2])
    assert visible.mean() > 0.3
    warped = np.stack([map_coordinates(rgb[1, ..., c], [v[visible], u[visible]], order=1) for c in range(3)], 1)
    errors = np.abs(warped - rgb[0].reshape(-1, 3)[visible])
    assert np.median(errors) < 6
    shuffled = np.abs(warped - rgb[0].reshape(-1, 3)[visible][::-1])
    assert np.median(errors) < 0.35 * np.median(shuffled)


def test_batch_equals_single_views(room_scene, camera):
    poses = camera_path(room_scene, PathConfig(frames=31))[::15]
    renderer = Renderer(room_scene, camera)
    together, apart = renderer.render(poses), [renderer.render(one[None]) for one in poses]
    torch.testing.assert_close(together.depth, torch.cat([view.depth for view in apart]), rtol=1e-5, atol=1e-5)
    difference = together.rgb.int() - torch.cat([view.rgb for view in apart]).int()
    assert (difference.abs() <= 1).float().mean() > 0.9999


def test_odd_image_sizes(camera):
    camera = Camera(37, 19, 30.0, 30.0, 18.0, 9.0)
    view = render(Scene([Rectangle(pose(z=2.0), (np.inf, np.inf), plain(7))]), camera, np.eye(4)[None])
    assert view.rgb.shape == (1, 19, 37, 3)
    torch.testing.assert_close(view.depth, torch.full((1, 19, 37), 2.0))


def test_wrong_poses_and_cameras_are_refused(camera):
    scene = Scene([Rectangle(pose(z=2.0), (1.0, 1.0), plain(7))])
    with pytest.raises(SceneError, match=r"poses \(B, 4, 4\)"):
        render(scene, camera, np.eye(4))
    with pytest.raises(SceneError, match="device 'nonsense'"):
        Renderer(scene, camera, "nonsense")
    with pytest.raises(SceneError, match="power of two"):
        Surface(np.zeros((3, 3, 3), np.uint8))
    with pytest.raises(SceneError, match="at least one primitive"):
        Scene([])


def test_primitives_are_identified_by_their_index_in_the_scene(camera):
    wall = Rectangle(pose(z=5.0), (50.0, 50.0), plain(50))
    ball, box = Sphere(pose(-0.6, z=3.0), 0.3, plain(100)), Box(pose(0.6, z=3.0), (0.3, 0.3, 0.3), plain(150))
    views = render(Scene([ball, wall, box]), camera, pose()[None])
    assert set(views.primitives.unique().tolist()) == {0, 1, 2}
    for place, gray in ((0, 100), (1, 50), (2, 150)):
        inside = views.primitives[0] == place
        assert (views.rgb[0][inside].float().mean() - gray).abs() < 3
    assert (render(Scene([ball]), camera, pose()[None]).primitives == -1).any()


def test_each_view_shows_its_present_primitives(camera):
    wall, ball = Rectangle(pose(z=5.0), (50.0, 50.0), plain(50)), Sphere(pose(z=3.0), 0.3, plain(100))
    present = np.array([[True, True], [True, False], [False, True], [False, False]])
    views = Renderer(Scene([wall, ball]), camera).render(np.tile(pose(), (4, 1, 1)), present=present)
    seen = [set(ids.unique().tolist()) for ids in views.primitives]
    assert seen == [{0, 1}, {0}, {-1, 1}, {-1}]
    alone = render(Scene([wall]), camera, pose()[None])
    assert torch.equal(views.rgb[1], alone.rgb[0])
    assert torch.equal(views.depth[1], alone.depth[0])


def test_every_view_may_have_its_own_intrinsics(room_scene, camera):
    other = Camera(160, 120, 200.0, 210.0, 60.0, 70.0)
    poses = camera_path(room_scene, PathConfig(frames=2, seed=1))
    both = Renderer(room_scene, camera).render(poses, intrinsics=np.stack([camera.matrix, other.matrix]))
    for number, own in enumerate((camera, other)):
        alone = Renderer(room_scene, own).render(poses[number][None])
        torch.testing.assert_close(both.depth[number], alone.depth[0], equal_nan=True)
        assert (both.rgb[number].float() - alone.rgb[0].float()).abs().mean() < 0.05


def test_wrong_shapes_of_arguments_per_view_are_refused(camera):
    renderer = Renderer(Scene([Sphere(pose(z=3.0), 0.3, plain(100))]), camera)
    with pytest.raises(SceneError, match="intrinsics"):
        renderer.render(pose()[None], intrinsics=camera.matrix)
    with pytest.raises(SceneError, match="present"):
        renderer.render(pose()[None], present=np.ones((1, 2), bool))


def test_highlights_are_at_the_mirror_direction_of_the_light(camera):
    """At the peak the floor is a mirror: the lamp appears at its mirror image below the floor."""
    texture = np.full((4, 4, 3), 60, np.uint8)
    floor = Rectangle(pose(y=1.0, rotvec=(-np.pi / 2, 0.0, 0.0)), (50.0, 50.0), Surface(texture, gloss=0.5))
    lamp, mirrored = (0.4, 0.0, 8.0), np.array([0.4, 2.0, 8.0])
    views = render(Scene([floor], Light(lamp, ambient=1.0)), camera, pose()[None])
    gray = views.rgb[0].float().mean(-1)
    assert gray[views.primitives[0] == 0].min() == 60
    assert 180 < gray.max() <= 60 + 128
    row, column = divmod(int(gray.argmax()), camera.width)
    np.testing.assert_allclose((column, row), camera.project(mirrored[None])[0], atol=2)


def test_gloss_out_of_range_is_refused():
    with pytest.raises(SceneError, match="gloss"):
        Surface(np.zeros((2, 2, 3), np.uint8), gloss=1.5)
