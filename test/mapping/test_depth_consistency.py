import numpy as np
import pytest
import torch
from plane_views import CAMERA_FROM_WORLD, SIZE, K, plane_depth

from ros_matching.mapping.depth_consistency import is_consistent, reproject
from ros_matching.networks.pbs_mvsnet.warping import visible_in_source

MATRIX = torch.from_numpy(K)
SOURCE_FROM_REFERENCE = torch.from_numpy(CAMERA_FROM_WORLD[1])  # the reference is the world
PLANES = [(np.array([0.0, 0.0, 1.0]), 2.0), (np.array([0.25, -0.15, 1.0]), 2.4)]


def depths(plane: tuple[np.ndarray, float]) -> tuple[torch.Tensor, torch.Tensor]:
    return tuple(torch.from_numpy(plane_depth(*plane, pose)) for pose in CAMERA_FROM_WORLD[:2])


def there_and_back(depth: torch.Tensor, source_depth: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    return reproject(depth, MATRIX, source_depth, MATRIX, SOURCE_FROM_REFERENCE)


def agrees(depth: torch.Tensor, source_depth: torch.Tensor, error_px: float = 1.0) -> torch.Tensor:
    return is_consistent(depth, *there_and_back(depth, source_depth), error_px, 0.01)


@pytest.mark.parametrize("plane", PLANES)
def test_true_depths_reproject_to_their_pixels(plane):
    depth, source_depth = depths(plane)
    pixels, back = there_and_back(depth, source_depth)
    seen = visible_in_source(depth, MATRIX, MATRIX, SOURCE_FROM_REFERENCE, SIZE)
    assert 0.6 < seen.double().mean() < 1
    v, u = np.mgrid[: SIZE[0], : SIZE[1]]
    np.testing.assert_allclose(pixels[0][seen], u[seen.numpy()], atol=1e-3)  # depth is not quite linear in pixels
    np.testing.assert_allclose(pixels[1][seen], v[seen.numpy()], atol=1e-3)
    np.testing.assert_allclose(back[seen], depth[seen], rtol=1e-3)
    assert torch.equal(agrees(depth, source_depth), seen)


def test_a_bias_of_two_percent_is_not_consistent():
    depth, source_depth = depths(PLANES[0])
    assert not agrees(1.02 * depth, source_depth).any()
    assert not agrees(depth, 1.02 * source_depth).any()
    assert agrees(1.004 * depth, source_depth).any()


def test_the_two_rules_are_separate():
    """At a short baseline a wrong depth moves no pixel, and at a tight pixel limit no depth error is needed."""
    depth, source_depth = depths(PLANES[0])
    pixels, back = there_and_back(depth, source_depth)
    moved = pixels + torch.tensor([0.8, 0.8], dtype=torch.float64)[:, None, None]
    assert not is_consistent(depth, moved, back, 1.0, 0.01).any()
    assert is_consistent(depth, moved, back, 1.2, 0.01).any()
    assert not is_consistent(depth, pixels, 0.98 * back, 1.0, 0.01).any()


def test_unknown_and_invisible_depths_are_not_consistent():
    depth, source_depth = depths(PLANES[0])
    hole = depth.clone()
    hole[10:12, 15:18] = torch.nan
    assert not agrees(hole, source_depth)[10:12, 15:18].any()
    assert not agrees(depth, torch.full_like(source_depth, torch.nan)).any()
    behind = torch.eye(4, dtype=torch.float64)
    behind[2, 3] = -10.0
    back = reproject(depth, MATRIX, source_depth, MATRIX, behind)
    assert not is_consistent(depth, *back, 1.0, 0.01).any()


def test_sources_of_another_size_and_calibration():
    depth, _ = depths(PLANES[1])
    other = torch.tensor([[45.0, 0, 30.0], [0, 45.0, 25.0], [0, 0, 1]], dtype=torch.float64)
    normal, distance = PLANES[1]
    v, u = np.mgrid[:51, :61]
    rays = np.stack([(u - 30.0) / 45.0, (v - 25.0) / 45.0, np.ones(u.shape)], axis=-1)
    n = CAMERA_FROM_WORLD[1][:3, :3] @ normal
    source_depth = torch.from_numpy((distance + n @ CAMERA_FROM_WORLD[1][:3, 3]) / (rays @ n))
    back = reproject(depth, MATRIX, source_depth, other, SOURCE_FROM_REFERENCE)
    seen = visible_in_source(depth, MATRIX, other, SOURCE_FROM_REFERENCE, (51, 61))
    assert torch.equal(is_consistent(depth, *back, 0.05, 0.001), seen)
    assert seen.any()
