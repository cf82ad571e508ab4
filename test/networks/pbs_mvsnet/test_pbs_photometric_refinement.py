"""The narrow sweep: back to the exact depth where there is texture, nothing changed where there is none."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from test_pbs_estimator import CAMERA, POSES, WAVES, plane_view

from ros_matching.geometry.se3 import exp_so3, invert, pose_from
from ros_matching.networks.pbs_mvsnet.photometric_refinement import Refined, refine

VIEWS = [plane_view(number, waves=8 * WAVES) for number in range(4)]
TRUTH = 1 / torch.from_numpy(VIEWS[0].frame.depth[::4, ::4]).float()
REACH = 0.02
STEPS = 4


def refined(
    inverse: torch.Tensor, poses: list[np.ndarray] = POSES, images: torch.Tensor | None = None, border: int = 0
) -> Refined:
    """``refine`` with images of the plane, or others, padded on the right and below by black."""
    if images is None:
        images = torch.from_numpy(np.stack([view.frame.image for view in VIEWS])).permute(0, 3, 1, 2).float() / 255
    images = torch.nn.functional.pad(images, (0, border, 0, border))
    projections = np.stack([invert(pose) @ poses[0] for pose in poses])
    projections[:, :3] = CAMERA.matrix @ projections[:, :3]
    sizes = torch.tensor([[CAMERA.width, CAMERA.height]] * len(poses))
    reach = torch.full_like(inverse, REACH)
    return refine(inverse, reach, STEPS, images, torch.from_numpy(projections).float(), sizes)


@settings(max_examples=10, deadline=None)
@given(shift=st.floats(-0.9, 0.9), tilt=st.floats(-0.003, 0.003))
def test_a_shifted_surface_comes_back(shift: float, tilt: float) -> None:
    columns = torch.linspace(-1, 1, TRUTH.shape[1])
    start = TRUTH + (shift - np.sign(shift) * abs(tilt) / REACH) * REACH + tilt * columns
    result = refined(start)
    sure = result.agreement > 0.9
    assert sure.float().mean() > 0.6
    before, after = ((inverse / TRUTH - 1).abs()[sure] for inverse in (start, result.inverse))
    assert after.median() < 0.15 * before.median() + 0.003
    assert after.quantile(0.9) < 0.3 * before.quantile(0.9) + 0.006


def test_no_depth_leaves_its_reach() -> None:
    start = TRUTH + 3 * REACH
    assert ((refined(start).inverse - start).abs() <= REACH * (1 + 1e-4)).all()


def test_the_padding_of_images_is_not_looked_at() -> None:
    start = TRUTH + 0.3 * REACH
    plain, padded = refined(start), refined(start, border=11)
    np.testing.assert_allclose(padded.inverse, plain.inverse, atol=1e-3 * REACH)
    np.testing.assert_allclose(padded.agreement, plain.agreement, atol=1e-3)


def test_without_texture_nothing_speaks_for_or_against_a_depth() -> None:
    noise = 0.5 + 0.001 * torch.randn(4, 3, CAMERA.height, CAMERA.width, generator=torch.manual_seed(0))
    result = refined(TRUTH, images=noise)
    assert result.agreement.min() > 0.9
    assert ((result.inverse - TRUTH).abs() < 0.5 * REACH).all()


def test_textures_that_contradict_each_other_do_not_agree() -> None:
    texture = torch.rand(4, 3, CAMERA.height, CAMERA.width, generator=torch.manual_seed(0))
    assert refined(TRUTH, images=texture).agreement[3:-3, 10:-10].median() < 0.4


def test_pixels_outside_all_sources_are_not_refined() -> None:
    turned = POSES[0] @ pose_from(exp_so3(np.array([0, 0.6, 0])), np.zeros(3))
    result = refined(TRUTH + 0.3 * REACH, [POSES[0], turned, turned, turned])
    unseen = (slice(None), slice(0, 8))
    np.testing.assert_array_equal(result.inverse[unseen], (TRUTH + 0.3 * REACH)[unseen])
    assert (result.agreement[unseen] == 1).all()


@pytest.mark.parametrize("sources", [[1], [3, 1, 2]])
def test_the_order_of_the_sources_does_not_matter(sources: list[int]) -> None:
    rows = [0, *sources]
    images = torch.from_numpy(np.stack([VIEWS[row].frame.image for row in rows])).permute(0, 3, 1, 2).float() / 255
    start = TRUTH + 0.4 * REACH
    result = refined(start, [POSES[row] for row in rows], images)
    again = refined(start, [POSES[row] for row in (0, *sorted(sources))], images[[0, *(1 + np.argsort(sources))]])
    np.testing.assert_allclose(result.inverse, again.inverse, rtol=1e-4)
