"""Texture filtering against direct averages."""

from __future__ import annotations

import numpy as np
import torch

from ros_matching.scenes.mipmaps import MipMaps

CPU = torch.device("cpu")


def textures() -> list[np.ndarray]:
    rng = np.random.default_rng(0)
    return [rng.integers(0, 256, (side, side, 3)).astype(np.uint8) for side in (16, 64, 2)]


def sample(mipmaps: MipMaps, number: int, uv: np.ndarray, footprint: np.ndarray) -> np.ndarray:
    count = len(uv)
    jacobian = torch.tensor(footprint, dtype=torch.float32).view(4, 1).expand(4, count)
    return mipmaps.sample(torch.full((count,), number), torch.tensor(uv.T, dtype=torch.float32), jacobian).numpy().T


def test_texel_centres_give_the_texels():
    mipmaps = MipMaps(textures(), CPU)
    for number, texture in enumerate(textures()):
        side = len(texture)
        v, u = np.mgrid[:side, :side]
        uv = (np.column_stack([u.ravel(), v.ravel()]) + 0.5) / side
        found = sample(mipmaps, number, uv, np.eye(2) / side)
        np.testing.assert_allclose(found, texture.reshape(-1, 3), atol=0.05)


def test_repeated_texture_is_mirrored():
    mipmaps = MipMaps(textures(), CPU)
    uv = np.random.default_rng(1).uniform(0, 1, (50, 2))
    inside = sample(mipmaps, 1, uv, np.eye(2) / 64)
    for mirrored in (-uv, 2 - uv, uv + 2, uv - 4):
        np.testing.assert_allclose(sample(mipmaps, 1, mirrored, np.eye(2) / 64), inside, atol=0.1)


def test_footprints_average_their_texels():
    texture = textures()[1].astype(float)
    mipmaps = MipMaps(textures(), CPU)
    whole = sample(mipmaps, 1, np.array([[0.5, 0.5]]), np.eye(2))
    np.testing.assert_allclose(whole, texture.mean((0, 1))[None], atol=0.5)
    block = sample(mipmaps, 1, np.array([[0.375, 0.625]]), np.eye(2) / 4)
    np.testing.assert_allclose(block, texture[32:48, 16:32].mean((0, 1))[None], atol=0.5)


def test_long_footprints_blur_along_themselves_only():
    stripes = np.zeros((64, 64, 3), np.uint8)
    stripes[:, ::2] = 200  # vary along u, constant along v
    mipmaps = MipMaps([stripes], CPU)
    uv = np.column_stack([(np.arange(20, 40) + 0.5) / 64, np.full(20, 0.5)])
    along = sample(mipmaps, 0, uv, np.array([[1, 0], [0, 8]]) / 64)
    np.testing.assert_allclose(along[:, 0], stripes[32, 20:40, 0], atol=1)
    across = sample(mipmaps, 0, uv, np.array([[8, 0], [0, 1]]) / 64)
    np.testing.assert_allclose(across[:, 0], 100, atol=30)
    assert np.ptp(across[:, 0]) < 50
