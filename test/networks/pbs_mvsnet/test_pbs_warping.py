import numpy as np
import pytest
import torch
from plane_views import CAMERA_FROM_WORLD, SIZE, K, pixels, projections
from scipy.ndimage import map_coordinates

from ros_matching.networks.pbs_mvsnet.warping import source_from_reference, warp

DEPTHS = torch.tensor([[0.7, 1.0, 1.9, 4.0, 50.0]], dtype=torch.float64)


def warp_view(feature: torch.Tensor, view: int, depths: torch.Tensor = DEPTHS) -> torch.Tensor:
    rotation, translation = source_from_reference(projections().to(feature.dtype))
    return warp(feature, rotation[:, view - 1], translation[:, view - 1], depths.to(feature.dtype), SIZE)


def homography_of_plane(view: int, depth: float) -> np.ndarray:
    """Takes reference pixels to the view's, for points on the plane z = depth of the reference (camera 0 is world)."""
    pose = CAMERA_FROM_WORLD[view]
    return K @ (pose[:3, :3] + np.outer(pose[:3, 3], [0, 0, 1]) / depth) @ np.linalg.inv(K)


@pytest.mark.parametrize("view", [1, 2, 3])
@pytest.mark.parametrize("source_size", [(30, 40), (17, 53)])
def test_each_depth_plane_is_its_exact_homography(view, source_size):
    feature = np.random.default_rng(view).normal(size=(2, *source_size))
    warped = warp_view(torch.from_numpy(feature)[None], view)
    for d, depth in enumerate(DEPTHS[0].numpy()):
        u, v, z = homography_of_plane(view, depth) @ pixels().T
        for channel in range(2):
            expected = map_coordinates(feature[channel], [v / z, u / z], order=1, mode="grid-constant", cval=0.0)
            np.testing.assert_allclose(warped[0, channel, d], expected.reshape(SIZE), atol=1e-10)


def test_the_same_pose_returns_the_feature_at_every_depth():
    feature = torch.randn(1, 3, *SIZE, dtype=torch.float64)
    same = projections()[:, [2, 2]]
    rotation, translation = source_from_reference(same)
    warped = warp(feature, rotation[:, 0], translation[:, 0], DEPTHS, SIZE)
    torch.testing.assert_close(warped, feature.unsqueeze(2).expand_as(warped), atol=1e-10, rtol=0)


def test_single_precision_projections_are_combined_in_double():
    """With the world's origin a hundred metres away the relative pose is a small difference of large numbers."""
    moved = torch.eye(4, dtype=torch.float64)
    moved[:3, 3] = torch.tensor([100.0, -50.0, 20.0])
    far = (projections() @ moved).float()
    for single, exact in zip(source_from_reference(far), source_from_reference(far.double()), strict=True):
        assert single.dtype == torch.float32
        torch.testing.assert_close(single.double(), exact, atol=2e-6, rtol=0)


def test_a_point_behind_the_source_samples_nothing():
    forward = torch.eye(4, dtype=torch.float64).repeat(1, 2, 1, 1)
    forward[:, :, :3, :3] = torch.from_numpy(K)
    forward[0, 1, :3, 3] = torch.from_numpy(K) @ torch.tensor([0.0, 0.0, -2.0], dtype=torch.float64)
    rotation, translation = source_from_reference(forward)
    depths = torch.tensor([[0.5, 2.0, 8.0]], dtype=torch.float64)
    warped = warp(torch.ones(1, 1, *SIZE, dtype=torch.float64), rotation[:, 0], translation[:, 0], depths, SIZE)
    assert (warped[0, 0, :2] == 0).all()  # behind, and exactly in the source's plane
    assert warped[0, 0, 2, SIZE[0] // 2, SIZE[1] // 2] == pytest.approx(1)


def test_gradients_reach_the_features():
    feature = torch.randn(1, 2, 6, 7, dtype=torch.float64, requires_grad=True)
    rotation, translation = source_from_reference(projections())

    def warped(x: torch.Tensor) -> torch.Tensor:
        return warp(x, rotation[:, 0], translation[:, 0], DEPTHS[:, :3], (6, 7))

    assert torch.autograd.gradcheck(warped, feature)
