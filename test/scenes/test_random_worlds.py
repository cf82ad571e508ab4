"""Random worlds: their layouts, textures and things that move."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from ros_matching.datatypes import Camera
from ros_matching.errors import SceneError
from ros_matching.scenes import FreeSpace, Rectangle, Renderer, Scene, SceneBuilder, Sphere, Surface
from ros_matching.scenes.random_textures import WorldTextures, cut_photo, repeated
from ros_matching.scenes.random_worlds import Mover, World, random_world, with_movers
from ros_matching.scenes.world_layouts import (
    corridor_world,
    room_world,
    street_world,
    table_world,
    terrain_world,
    wall_world,
)

LAYOUTS = [table_world, room_world, corridor_world, wall_world, street_world, terrain_world]


class PlainTextures:
    """One grey texture for everything: layouts alone are tested."""

    def texture(self, kind: str, rng: np.random.Generator) -> np.ndarray:
        return np.full((2, 2, 3), rng.integers(256), np.uint8)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_layouts_leave_room_for_cameras_and_vary(layout):
    sizes = set()
    for seed in range(4):
        world = layout(SceneBuilder(PlainTextures(), np.random.default_rng(seed)))
        space = world.scene.free_space
        places = np.random.default_rng(0).uniform(space.lower, space.upper, (200, 3))
        places[:, 2] += world.scene.ground_height(places[:, :2])
        assert (world.scene.distance(places) > space.clearance_m).mean() > 0.08
        assert (np.less_equal(world.lower, world.upper)).all()
        sizes.add(len(world.scene.primitives))
    assert len(sizes) > 1


def test_scales_span_two_decades():
    worlds = [
        layout(SceneBuilder(PlainTextures(), np.random.default_rng(seed))) for layout in LAYOUTS for seed in range(5)
    ]
    extents = [np.linalg.norm(np.subtract(world.upper, world.lower)[:2]) for world in worlds]
    assert min(extents) < 1
    assert max(extents) > 40


def test_the_generator_decides():
    first, again, other = (
        random_world(LAYOUTS, SceneBuilder(PlainTextures(), np.random.default_rng(seed))) for seed in (3, 3, 4)
    )
    assert first.name == again.name
    assert len(first.scene.primitives) == len(again.scene.primitives)
    for one, same in zip(first.scene.primitives, again.scene.primitives, strict=True):
        assert type(one) is type(same)
        assert one.surface.size_m == same.surface.size_m
    assert len(other.scene.primitives) != len(first.scene.primitives) or other.lower != first.lower


@pytest.fixture
def world_with_a_ball() -> World:
    plain = Surface(np.full((2, 2, 3), 90, np.uint8))
    facing = np.array([[0.0, 0, 1, 4], [-1, 0, 0, 0], [0, -1, 0, 0], [0, 0, 0, 1]])
    ball = np.eye(4)
    ball[:3, 3] = 2.0, 0.0, 0.0
    wall = Rectangle(facing, (20.0, 20.0), plain)
    scene = Scene([wall], free_space=FreeSpace((-1, -1, -1), (1, 1, 1), 0.2, 1.0))
    mover = Mover((Sphere(ball, 0.3, plain),), (2.0, 0.0, 0.0), 0.5)
    return World("test", scene, (4, -1, -1), (4, 1, 1), (mover,))


def test_movers_have_another_pose_in_every_view_and_are_marked(world_with_a_ball):
    poses = np.tile([[0.0, 0, 1, 0], [-1, 0, 0, 0], [0, -1, 0, 0], [0, 0, 0, 1]], (4, 1, 1))
    scene, present, moves = with_movers(world_with_a_ball, poses[:, :3, 3], np.random.default_rng(0))
    views = Renderer(scene, Camera(64, 48, 50.0, 50.0, 31.5, 23.5)).render(poses, present=present)
    moving = moves[views.primitives.numpy()]
    depth = views.depth.numpy()
    np.testing.assert_allclose(depth[~moving], 4.0, rtol=1e-5)
    assert (depth[moving] < 3.1).all()
    middles = np.array([np.argwhere(mask).mean(0) for mask in moving])
    assert (np.ptp(middles, axis=0)[1]) > 3
    assert moving.any((1, 2)).all()


def test_movers_keep_out_of_the_cameras_way(world_with_a_ball):
    eyes = np.array([[2.0, 0.0, 0.0]] * 50)
    scene, present, moves = with_movers(world_with_a_ball, eyes, np.random.default_rng(0))
    assert moves.sum() < 50
    for part in scene.primitives[1:]:
        assert part.distance(eyes[:1])[0] > 0.2
    assert (present[:, moves].sum(0) == 1).all()


def test_textures_recur_repeat_or_are_weak(tmp_path):
    rng = np.random.default_rng(0)
    cv2.imwrite(str(tmp_path / "a.png"), rng.integers(0, 256, (80, 120, 3), np.uint8))
    textures = WorldTextures([tmp_path / "a.png"], weak=0.3, repeated=0.3, shared=0.5)
    every = [textures.texture("wall", rng) for _ in range(40)]
    assert {texture.shape for texture in every} == {(512, 512, 3)}
    assert len({id(texture) for texture in every}) < 30
    assert min(texture.astype(float).std((0, 1)).max() for texture in every) < 20
    again = WorldTextures([tmp_path / "a.png"], weak=0.3, repeated=0.3, shared=0.5)
    rng = np.random.default_rng(0)
    rng.integers(0, 256, (80, 120, 3), np.uint8)
    np.testing.assert_array_equal(again.texture("wall", rng), every[0])


def test_a_repeated_motif_correlates_with_itself():
    rng = np.random.default_rng(1)
    texture = repeated(rng.integers(0, 256, (64, 64, 3), np.uint8), rng, 256).astype(float).mean(2)
    spectrum = np.abs(np.fft.fft2(texture - texture.mean())) ** 2
    correlation = np.fft.ifft2(spectrum).real
    correlation /= correlation[0, 0]
    assert max(correlation[0, -(-256 // count)] for count in (3, 4, 5, 6, 8)) > 0.4


def test_unknown_kinds_and_broken_photos_are_refused(tmp_path):
    with pytest.raises(SceneError, match="velvet"):
        WorldTextures(weak=0.0).texture("velvet", np.random.default_rng(0))
    (tmp_path / "broken.jpg").write_bytes(b"not a picture")
    with pytest.raises(SceneError, match=r"broken\.jpg"):
        cut_photo(tmp_path / "broken.jpg", np.random.default_rng(0), 64)
