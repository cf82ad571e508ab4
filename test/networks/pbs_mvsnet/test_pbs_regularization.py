import pytest
import torch
from torch.nn import functional

from ros_matching.networks.pbs_mvsnet.regularization import (
    AttentionRefinement,
    BiSeNet3d,
    FeatureFusion,
    XceptionBlock,
    upsample,
)


def parameters(module: torch.nn.Module) -> int:
    return sum(p.numel() for p in module.parameters())


@pytest.mark.parametrize("size", [(16, 8, 24), (16, 12, 20), (37, 19, 25), (1, 8, 9)])
def test_upsampling_spreads_each_voxel_over_its_block(size):
    """A volume that is linear in its coordinates, averaged over blocks of eight, comes back between their centres."""
    coarse = [torch.arange(-(-n // 8), dtype=torch.float64) * 8 + 3.5 for n in size]
    volume = sum(a * axis for a, axis in zip((3, -2, 0.5), torch.meshgrid(*coarse, indexing="ij"), strict=True))
    up = upsample(volume[None, None], 8, size)
    assert up.shape == (1, 1, *size)
    held = [torch.arange(n, dtype=torch.float64).clamp(c[0], c[-1]) for n, c in zip(size, coarse, strict=True)]
    expected = sum(a * axis for a, axis in zip((3, -2, 0.5), torch.meshgrid(*held, indexing="ij"), strict=True))
    torch.testing.assert_close(up[0, 0], expected)


def test_one_entry_convolution_is_the_first_of_both_paths():
    net = BiSeNet3d(8, 2).eval()
    volume = torch.randn(1, 8, 9, 10, 11)
    conv, norm, _ = net.entry
    for half, output in enumerate(net.entry(volume).chunk(2, dim=1)):
        rows = slice(4 * half, 4 * half + 4)
        alone = functional.conv3d(volume, conv.weight[rows], stride=2, padding=1)
        alone = torch.relu(alone / torch.sqrt(1 + torch.tensor(norm.eps)))
        torch.testing.assert_close(output, alone)


def test_attention_refinement_gates_each_voxel():
    arm = AttentionRefinement(3, 4).eval()
    conv, norm, _ = arm.gate
    x = torch.randn(1, 3, 3, 4, 5)
    f = arm.conv(x)
    gate = torch.sigmoid(norm(torch.einsum("oc,bcdhw->bodhw", conv.weight.flatten(1), f)))
    torch.testing.assert_close(arm(x), f * gate)
    assert gate.shape == f.shape


def test_feature_fusion_gates_each_channel():
    ffm = FeatureFusion(6, 4).eval()
    context, spatial = torch.randn(2, 3, 3, 4, 5), torch.randn(2, 3, 3, 4, 5)
    fused = ffm.conv(torch.cat([context, spatial], dim=1))
    first, _, second, _ = ffm.gate
    mean = fused.mean(dim=(2, 3, 4))
    hidden = torch.relu(mean @ first.weight.flatten(1).T + first.bias)
    gate = torch.sigmoid(hidden @ second.weight.flatten(1).T + second.bias)
    torch.testing.assert_close(ffm(context, spatial), fused * (1 + gate[:, :, None, None, None]))


def test_sizes_equal_the_design_table():
    net = BiSeNet3d(32, 8)
    assert parameters(net.entry) == 2 * 13_856
    assert parameters(net.entry) // 2 + parameters(net.spatial) == 83_168
    assert [parameters(stage) for stage in (net.stage1, net.stage2, net.stage3)] == [5_488, 34_976, 58_816]
    assert parameters(net.global_context) == 8_256
    assert [parameters(arm) for arm in (net.arm3, net.arm2)] == [225_536, 114_944]
    assert [parameters(refine) for refine in (net.refine3, net.refine2)] == [110_720, 110_720]
    assert [parameters(part) for part in (net.ffm, net.head, net.prob)] == [16_640, 27_680, 16]
    assert parameters(net) == 810_816


def test_a_block_that_keeps_its_size_has_a_bare_shortcut():
    assert isinstance(XceptionBlock(8, 8, 1).shortcut, torch.nn.Identity)
    assert XceptionBlock(4, 8, 2)(torch.randn(2, 4, 5, 7, 9)).shape == (2, 8, 3, 4, 5)


@pytest.mark.parametrize("size", [(37, 19, 25), (8, 8, 8), (65, 17, 9)])
def test_any_size_of_volume(size):
    assert BiSeNet3d(4, 1).eval()(torch.randn(1, 4, *size)).shape == (1, *size)


def test_a_shift_by_the_stride_shifts_the_costs():
    """Far from the borders, and without the global context, the network is equivariant to shifts of 16 voxels."""
    torch.manual_seed(0)
    net = BiSeNet3d(4, 1).double().eval()
    net.global_context = torch.nn.Sequential(torch.nn.Conv3d(16, 8, 1, bias=False)).double()
    torch.nn.init.zeros_(net.global_context[0].weight)
    torch.nn.init.zeros_(net.ffm.gate[2].weight)
    volume = torch.randn(1, 4, 8, 8, 272, dtype=torch.float64)
    shifted = volume.roll(16, dims=-1)
    middle = slice(128, 144)
    moved = slice(144, 160)
    torch.testing.assert_close(net(shifted)[..., moved], net(volume)[..., middle])


def test_one_sample_is_enough_to_train():
    net = BiSeNet3d(4, 1).train()
    net(torch.randn(1, 4, 17, 16, 24)).square().mean().backward()
    assert all(torch.isfinite(p.grad).all() for p in net.parameters())


def test_gradients():
    net = BiSeNet3d(2, 1).double().eval()
    volume = torch.randn(1, 2, 5, 6, 7, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(net, volume, fast_mode=True)


@pytest.mark.parametrize(("detail", "planes_of_a_cost"), [(False, 8), (True, 2)])
def test_costs_have_knots_as_far_apart_as_their_stride(detail, planes_of_a_cost):
    """Between the middles of two blocks the costs are linear in depth: only there can their slope change."""
    torch.manual_seed(0)
    net = BiSeNet3d(4, 2, detail).double().eval()
    cost = net(torch.randn(1, 4, 32, 24, 40, dtype=torch.float64))
    assert cost.shape == (1, 32, 24, 40)
    bends = cost.diff(n=2, dim=1).abs() > 1e-9 * cost.abs().max()
    share = bends.double().mean(dim=(0, 2, 3))
    middle = (planes_of_a_cost - 1) / 2
    # Second difference j is about plane j + 1, and bent by a middle less than a plane away.
    away = torch.remainder(torch.arange(1, 31) - middle, planes_of_a_cost)
    knots = torch.minimum(away, planes_of_a_cost - away) < 1
    assert not (share[~knots] > 0).any()
    assert (share[knots] > 0).double().mean() > 0.8
