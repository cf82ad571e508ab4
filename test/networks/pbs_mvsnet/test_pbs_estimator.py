"""Keyframes in, depth maps out: with a network whose learned parts are replaced by ideal ones."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional

from ros_matching.datatypes import Camera, DistortionModel, Frame, Keyframe, ScaleState
from ros_matching.errors import DataTypeError, GeometryError
from ros_matching.geometry.se3 import exp_so3, pose_from
from ros_matching.networks.pbs_mvsnet.estimator import DepthConfig, DepthEstimator, padded_length, sensible_levels
from ros_matching.networks.pbs_mvsnet.network import BSMVSNet, BSMVSNetConfig

CAMERA = Camera(150, 117, 130.0, 132.0, 76.3, 57.1)
NORMAL, DISTANCE = np.array([0.2, -0.1, 1.0]), 3.0
WAVES = np.array([[2.1, 0.6], [-0.8, 2.4], [1.5, -1.9]])
POSES = [
    pose_from(exp_so3(np.array(turn)), np.add(position, (100.0, -50.0, 20.0)))
    for turn, position in (
        ((0.1, 0.0, 0.3), (0.0, 0.0, 0.0)),
        ((0.1, 0.02, 0.28), (0.3, 0.1, 0.05)),
        ((0.08, -0.03, 0.3), (-0.3, 0.05, -0.05)),
        ((0.12, 0.0, 0.32), (0.05, -0.3, 0.0)),
    )
]


class EveryFourthPixel(nn.Module):
    def forward(self, image: torch.Tensor) -> torch.Tensor:
        return image[..., ::4, ::4]


class MeanDifference(nn.Module):
    def forward(self, volume: torch.Tensor) -> torch.Tensor:
        return 20_000 * functional.avg_pool2d(volume.mean(dim=1), 3, stride=1, padding=1, count_include_pad=False)


def ideal_network(sampling: str = "inverse") -> BSMVSNet:
    network = BSMVSNet(BSMVSNetConfig(1, 1, "none", sampling))
    network.feature, network.regularization = EveryFourthPixel(), MeanDifference()
    network.register_parameter("anchor", nn.Parameter(torch.zeros(())))
    return network


def plane_view(number: int, camera: Camera = CAMERA, waves: np.ndarray = WAVES) -> Keyframe:
    """A view of a plane that is smoothly coloured, with its exact depth; the plane is in camera 0's coordinates."""
    camera0_from_camera = np.linalg.inv(POSES[0]) @ POSES[number]
    v, u = np.mgrid[: camera.height, : camera.width]
    rays = camera.unproject(np.column_stack([u.ravel(), v.ravel()])) @ camera0_from_camera[:3, :3].T
    depth = (DISTANCE - NORMAL @ camera0_from_camera[:3, 3]) / (rays @ NORMAL)
    points = camera0_from_camera[:3, 3] + depth[:, None] * rays
    color = 0.5 + 0.45 * np.sin(points[:, :2] @ waves.T)
    shape = (camera.height, camera.width)
    image = np.rint(255 * color).astype(np.uint8).reshape(*shape, 3)
    frame = Frame(number, number, image, camera, depth=depth.reshape(shape).astype(np.float32))
    return Keyframe(number, frame, POSES[number], np.zeros((0, 2)), np.zeros(0), ScaleState.METRIC)


VIEWS = [plane_view(number) for number in range(4)]


@pytest.mark.parametrize(("sampling", "depth_range"), [("inverse", (1.5, np.inf)), ("linear", (1.5, 5.0))])
def test_the_depth_of_a_slanted_plane(sampling, depth_range):
    estimator = DepthEstimator(ideal_network(sampling), DepthConfig(planes=96))
    depth_map = estimator.estimate(VIEWS[0], VIEWS[1:], depth_range)
    ground_truth = VIEWS[0].frame.depth[::4, ::4]
    assert depth_map.depth.shape == ground_truth.shape == (30, 38)
    inside = (slice(5, -5), slice(5, -5))
    error = np.abs(depth_map.depth[inside] / ground_truth[inside] - 1)
    assert np.median(error) < 0.005
    assert np.mean(error < 0.03) > 0.95


@pytest.mark.parametrize("sampling", ["inverse", "linear"])
def test_refinement_finds_depths_between_few_hypotheses(sampling):
    ground_truth = VIEWS[0].frame.depth[8:-8:4, 8:-8:4]
    errors, views = [], [plane_view(number, waves=8 * WAVES) for number in range(4)]
    for steps in (0, 4):
        estimator = DepthEstimator(ideal_network(sampling), DepthConfig(planes=32, refinement=steps))
        depth = estimator.estimate(views[0], views[1:], (1.5, 6.0)).depth[2:-2, 2:-2]
        errors.append(np.abs(depth[: len(ground_truth)] / ground_truth[:, : depth.shape[1]] - 1))
    assert np.median(errors[1]) < 0.5 * np.median(errors[0])


def test_the_camera_of_the_depth_map_has_every_fourth_pixel():
    camera = DepthEstimator(ideal_network()).estimate(VIEWS[0], VIEWS[1:2], (1.0, 9.0)).camera
    pixels = np.array([[0.0, 0.0], [37.0, 29.0], [10.0, 3.0]])
    np.testing.assert_allclose(camera.unproject(pixels), CAMERA.unproject(4 * pixels))


def test_every_level_of_the_pyramid_has_the_depth():
    estimator = DepthEstimator(ideal_network(), DepthConfig(planes=96, levels=2))
    pyramid = estimator.estimate_pyramid(VIEWS[0], VIEWS[1:], (1.5, 9.0))
    assert [level.depth.shape for level in pyramid.levels] == [(15, 19), (30, 38)]
    for level in pyramid.levels:
        v, u = np.mgrid[3 : level.camera.height - 3, 3 : level.camera.width - 3]
        rays = level.camera.unproject(np.column_stack([u.ravel(), v.ravel()]))
        ground_truth = (DISTANCE / (rays @ NORMAL)).reshape(u.shape)
        assert np.median(np.abs(level.depth[3:-3, 3:-3] / ground_truth - 1)) < 0.01
        resized = CAMERA.scaled(75, 59) if level is not pyramid.finest else CAMERA
        pixel = np.array([[2.0, 3.0]])
        np.testing.assert_allclose(level.camera.unproject(pixel), resized.unproject(4 * pixel))
    np.testing.assert_array_equal(pyramid.finest.depth, estimator.estimate(VIEWS[0], VIEWS[1:], (1.5, 9.0)).depth)


def test_sources_of_other_sizes():
    small = Camera(90, 101, 80.0, 80.0, 44.0, 50.0)
    estimator = DepthEstimator(ideal_network(), DepthConfig(planes=96))
    depth_map = estimator.estimate(VIEWS[0], [VIEWS[1], plane_view(2, small)], (1.5, 9.0))
    ground_truth = VIEWS[0].frame.depth[::4, ::4]
    assert np.median(np.abs(depth_map.depth[6:-6, 10:-10] / ground_truth[6:-6, 10:-10] - 1)) < 0.02


def test_depth_outside_all_sources_is_unknown():
    turned = replace(VIEWS[1], world_from_camera=POSES[0] @ pose_from(exp_so3(np.array([0, 0.5, 0])), np.zeros(3)))
    depth_map = DepthEstimator(ideal_network()).estimate(VIEWS[0], [turned], (1.5, 9.0))
    unknown = np.isnan(depth_map.depth)
    assert unknown[:, :8].all()
    assert not unknown[:, -8:].any()
    assert (depth_map.confidence[unknown] == 0).all()


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_a_network_as_it_is(precision):
    torch.manual_seed(0)
    estimator = DepthEstimator(BSMVSNet(BSMVSNetConfig(1, 1)), DepthConfig(planes=16, precision=precision))
    depth_map = estimator.estimate(VIEWS[0], VIEWS[1:], (1.5, 9.0))
    known = depth_map.depth[~np.isnan(depth_map.depth)]
    assert known.min() >= 1.5
    assert known.max() <= 9
    assert depth_map.depth.dtype == depth_map.confidence.dtype == np.float32
    again = estimator.estimate(VIEWS[0], [VIEWS[i] for i in (3, 1, 2)], (1.5, 9.0))
    # In another order of views sums round differently, and a pixel between two hypotheses may go to the other one.
    equal = np.isclose(again.depth, depth_map.depth, rtol=1e-2 if precision == "bfloat16" else 1e-3)
    assert np.mean(equal) > 0.99
    np.testing.assert_allclose(again.depth, depth_map.depth, rtol=0.1)


def test_input_is_not_changed():
    before = VIEWS[0].frame.image.copy(), VIEWS[0].world_from_camera.copy()
    DepthEstimator(ideal_network()).estimate(VIEWS[0], VIEWS[1:], (1.5, 9.0))
    np.testing.assert_array_equal(VIEWS[0].frame.image, before[0])
    np.testing.assert_array_equal(VIEWS[0].world_from_camera, before[1])


def test_levels_by_image_size():
    sizes = {(640, 512): 3, (320, 240): 1, (1600, 1200): 4, (640, 480): 2, (100, 80): 1}
    for (width, height), levels in sizes.items():
        assert sensible_levels(replace(CAMERA, width=width, height=height)) == levels


def test_padding_is_the_least_that_fills_the_coarsest_voxels():
    assert [padded_length(n) for n in (1, 32, 33, 64, 65, 640)] == [32, 32, 64, 64, 96, 640]


@pytest.mark.parametrize("depth_range", [(0.0, 1.0), (2.0, 2.0), (3.0, 1.0), (-1.0, 4.0), (np.nan, 2.0)])
def test_an_empty_depth_range_is_refused(depth_range):
    with pytest.raises(GeometryError, match="depth range"):
        DepthEstimator(ideal_network()).estimate(VIEWS[0], VIEWS[1:], depth_range)


def test_a_linear_range_must_end():
    with pytest.raises(GeometryError, match="infinity"):
        DepthEstimator(ideal_network("linear")).estimate(VIEWS[0], VIEWS[1:], (1.0, np.inf))


def test_views_that_cannot_be_used_are_refused():
    estimator = DepthEstimator(ideal_network())
    with pytest.raises(GeometryError, match="at least one other keyframe"):
        estimator.estimate(VIEWS[0], [], (1.0, 9.0))
    bent = replace(CAMERA, distortion_model=DistortionModel.PLUMB_BOB, distortion=(0.1, 0.0, 0.0, 0.0))
    view = replace(VIEWS[1], frame=replace(VIEWS[1].frame, camera=bent))
    with pytest.raises(DataTypeError, match="undistort"):
        estimator.estimate(VIEWS[0], [view], (1.0, 9.0))
