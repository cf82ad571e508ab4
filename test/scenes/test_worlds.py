"""The ready-made scenes: varied, repeatable, and with features whose motion is the camera's."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
import torch

from ros_matching.datatypes import Camera
from ros_matching.errors import SceneError
from ros_matching.scenes import (
    PathConfig,
    PhotoTextures,
    ProceduralTextures,
    Renderer,
    build_scene,
    camera_path,
)

VGA_QUARTER = Camera(320, 240, 251.0, 251.0, 159.5, 119.5)


def matched_features(image0: np.ndarray, image1: np.ndarray) -> tuple[int, np.ndarray, np.ndarray]:
    sift = cv2.SIFT_create(1500)
    keypoints0, descriptors0 = sift.detectAndCompute(cv2.cvtColor(image0, cv2.COLOR_RGB2GRAY), None)
    keypoints1, descriptors1 = sift.detectAndCompute(cv2.cvtColor(image1, cv2.COLOR_RGB2GRAY), None)
    pairs = cv2.BFMatcher().knnMatch(descriptors0, descriptors1, k=2)
    good = [best for best, second in pairs if best.distance < 0.8 * second.distance]
    points0 = np.array([keypoints0[match.queryIdx].pt for match in good])
    points1 = np.array([keypoints1[match.trainIdx].pt for match in good])
    return len(keypoints0), points0, points1


@pytest.mark.parametrize("name", ["room_scene", "outdoor_scene"])
def test_sift_matches_obey_the_true_epipolar_geometry(name, request):
    scene = request.getfixturevalue(name)
    poses = camera_path(scene, PathConfig(frames=11, seed=6))[[0, 10]]
    image0, image1 = Renderer(scene, VGA_QUARTER).render(poses).rgb.numpy()
    count, points0, points1 = matched_features(image0, image1)
    assert count > 300
    assert len(points0) > 100
    relative = np.linalg.inv(poses[1]) @ poses[0]
    tx, ty, tz = relative[:3, 3]
    essential = np.array([[0, -tz, ty], [tz, 0, -tx], [-ty, tx, 0]]) @ relative[:3, :3]
    lines = VGA_QUARTER.unproject(points0) @ essential.T
    distances = np.abs((lines * VGA_QUARTER.unproject(points1)).sum(1)) / np.hypot(lines[:, 0], lines[:, 1])
    distances_px = VGA_QUARTER.fx * distances
    assert np.median(distances_px) < 0.35
    assert (distances_px < 1.5).mean() > 0.85


@pytest.mark.parametrize("name", ["room", "outdoor"])
def test_seeds_repeat_and_vary(name):
    textures, camera = ProceduralTextures(64, variants=2), VGA_QUARTER.scaled(80, 60)
    views = []
    for seed in (5, 5, 6):
        scene = build_scene(name, textures, seed)
        views.append(Renderer(scene, camera).render(camera_path(scene, PathConfig(path="still", frames=1, seed=seed))))
    torch.testing.assert_close(views[0].depth, views[1].depth, rtol=0, atol=0, equal_nan=True)
    assert torch.equal(views[0].rgb, views[1].rgb)
    assert not torch.equal(views[0].rgb, views[2].rgb)


def test_many_rooms_and_streets_can_be_walked():
    textures = ProceduralTextures(32, variants=1)
    for name in ("room", "outdoor"):
        for seed in range(8):
            scene = build_scene(name, textures, seed)
            poses = camera_path(scene, PathConfig(frames=60, seed=seed))
            assert np.ptp(poses[:, :3, 3], axis=0).max() > 0.1


def test_photos_of_a_folder_become_textures(tmp_path):
    red = np.zeros((50, 90, 3), np.uint8)
    red[..., 2] = 200
    cv2.imwrite(str(tmp_path / "red.png"), red)
    (tmp_path / "deeper").mkdir()
    cv2.imwrite(str(tmp_path / "deeper" / "also_red.jpg"), red)
    textures = PhotoTextures(tmp_path, side=64)
    texture = textures.texture("bricks", np.random.default_rng(0))
    assert texture.shape == (64, 64, 3)
    np.testing.assert_allclose(texture.reshape(-1, 3).mean(0), (200, 0, 0), atol=2)


def test_useless_folders_and_unknown_names_are_refused(tmp_path):
    with pytest.raises(SceneError, match="no JPEG or PNG"):
        PhotoTextures(tmp_path)
    (tmp_path / "broken.jpg").write_bytes(b"not a picture")
    with pytest.raises(SceneError, match=r"broken\.jpg"):
        PhotoTextures(tmp_path).texture("bricks", np.random.default_rng(0))
    with pytest.raises(SceneError, match="room, outdoor"):
        build_scene("moon")
    with pytest.raises(SceneError, match="bricks"):
        ProceduralTextures().texture("velvet", np.random.default_rng(0))
