"""Properties of PoSFeat's networks, full and lite, that hold whatever was learned."""

from __future__ import annotations

import pytest
import torch
from golden import fill
from torch import Tensor
from torch.nn import functional

from ros_matching.errors import CheckpointError, MatchingError
from ros_matching.networks.imagenet import IMAGENET_DEVIATION, IMAGENET_MEAN
from ros_matching.networks.posfeat.efficientnet_lite import EfficientNetLite0, from_imagenet
from ros_matching.networks.posfeat.lite import PoSFeatLite
from ros_matching.networks.posfeat.network import PoSFeat, instance_norm
from ros_matching.networks.posfeat.official import from_official

NETWORKS = pytest.mark.parametrize("network_class", [PoSFeat, PoSFeatLite])
Network = PoSFeat | PoSFeatLite


@NETWORKS
def test_shapes_and_range(network_class: type[Network]) -> None:
    network = network_class().eval()
    with torch.inference_mode():
        score, descriptors = network(torch.randn(2, 3, 48, 80))
    assert score.shape == (2, 1, 48, 80)
    assert score.min() > 0
    assert descriptors.shape == (2, 128, 12, 20)


@NETWORKS
def test_logits_have_zero_mean_and_unit_variance_in_every_image(network_class: type[Network]) -> None:
    with torch.inference_mode():
        score = network_class().eval()(torch.randn(2, 3, 64, 64)).score.double()
    logits = score + torch.log(-torch.expm1(-score))  # the inverse of softplus
    torch.testing.assert_close(logits.mean(dim=(1, 2, 3)), torch.zeros(2, dtype=torch.float64), rtol=0, atol=1e-4)
    torch.testing.assert_close(logits.square().mean(dim=(1, 2, 3)), torch.ones(2).double(), rtol=0, atol=1e-2)


@NETWORKS
def test_detection_sends_no_gradient_into_description(network_class: type[Network]) -> None:
    """Decoupled training is the paper's point."""
    network = network_class().eval()
    network(torch.randn(1, 3, 32, 32)).score.square().sum().backward()
    assert all(p.grad is None for p in network.description.parameters())
    assert all(p.grad is not None for p in network.detection.parameters())


@NETWORKS
def test_description_learns_in_every_weight(network_class: type[Network]) -> None:
    description = network_class().train().description
    on_demand = {"with_coarse": True} if network_class is PoSFeat else {}
    maps = description(torch.randn(2, 3, 64, 64), **on_demand)
    sum(m.square().mean() for m in (maps.local, maps.coarse) if m is not None).backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in description.parameters())


@NETWORKS
def test_other_sizes_are_refused(network_class: type[Network]) -> None:
    with pytest.raises(MatchingError, match="multiples of 16, got 88x96"):
        network_class()(torch.zeros(1, 3, 96, 88))


@NETWORKS
def test_the_graph_does_not_break(network_class: type[Network]) -> None:
    network, image = network_class().eval(), torch.randn(1, 3, 32, 48)
    with torch.no_grad():
        compiled = torch.compile(network, backend="eager", fullgraph=True)(image)
        torch.testing.assert_close(compiled.score, network(image).score)


def test_autocast_keeps_the_normalisations_in_full_precision() -> None:
    torch.manual_seed(0)
    network, image = PoSFeatLite().eval(), torch.randn(1, 3, 64, 64)
    with torch.inference_mode():
        full = network(image).score
        with torch.autocast("cpu", dtype=torch.bfloat16):
            score, descriptors = network(image)
    assert score.dtype == torch.float32
    assert descriptors.dtype == torch.bfloat16
    assert (score - full).abs().mean() < 0.05


def test_lite_descriptors_move_with_the_image() -> None:
    """By 16 pixels, four cells of the map: exactly, away from the borders."""
    torch.manual_seed(0)
    network = PoSFeatLite().double().eval()
    image = torch.randn(1, 3, 320, 336, dtype=torch.float64)
    with torch.inference_mode():
        still = network.description(image[..., 16:]).local
        moved = network.description(image[..., :-16]).local
    inside = slice(36, -36)
    torch.testing.assert_close(
        moved[..., inside, 40:-32], still[..., inside, 36:-36], rtol=0, atol=1e-6 * still.abs().max().item()
    )


def test_instance_norm_is_torchs() -> None:
    x = 3 + 2 * torch.randn(2, 5, 30, 40, dtype=torch.float64)
    torch.testing.assert_close(instance_norm(x), functional.instance_norm(x))
    far = 1000 + torch.randn(1, 1, 480, 640)
    assert instance_norm(far.half()).dtype == torch.float32
    torch.testing.assert_close(instance_norm(far), instance_norm(far.double()).float(), rtol=0, atol=1e-3)


def test_lite_is_small() -> None:
    network = PoSFeatLite()
    assert sum(p.numel() for p in network.description.encoder.parameters()) == 700_768
    assert sum(p.numel() for p in network.parameters()) < 900_000


def imagenet_checkpoint() -> dict[str, Tensor]:
    """A classifier's state dict as the package efficientnet-lite-pytorch has it, filled by the golden rule."""

    def norm(name: str, channels: int) -> dict[str, tuple[int, ...]]:
        shapes = {f"{name}.{part}": (channels,) for part in ("weight", "bias", "running_mean", "running_var")}
        return shapes | {f"{name}.num_batches_tracked": ()}

    def conv_norm(conv: str, norm_name: str, shape: tuple[int, ...]) -> dict[str, tuple[int, ...]]:
        return {f"{conv}.weight": shape} | norm(norm_name, shape[0])

    shapes = conv_norm("_conv_stem", "_bn0", (32, 3, 3, 3))
    kernels = [3, 3, 3, 5, 5, 3, 3, 3, 5, 5, 5, 5, 5, 5, 5, 3]
    widths = [16, 24, 24, 40, 40, 80, 80, 80, 112, 112, 112, 192, 192, 192, 192, 320]
    channels = 32
    for index, (kernel, out) in enumerate(zip(kernels, widths, strict=True)):
        name, hidden = f"_blocks.{index}", channels * (6 if index else 1)
        if index:
            shapes |= conv_norm(f"{name}._expand_conv", f"{name}._bn0", (hidden, channels, 1, 1))
        shapes |= conv_norm(f"{name}._depthwise_conv", f"{name}._bn1", (hidden, 1, kernel, kernel))
        shapes |= conv_norm(f"{name}._project_conv", f"{name}._bn2", (out, hidden, 1, 1))
        channels = out
    shapes |= conv_norm("_conv_head", "_bn1", (1280, 320, 1, 1)) | {"_fc.weight": (1000, 1280), "_fc.bias": (1000,)}
    return {key: torch.as_tensor(fill(key, shape)) for key, shape in shapes.items()}


def test_imagenet_weights_load() -> None:
    state = imagenet_checkpoint()
    encoder = EfficientNetLite0()
    encoder.load_state_dict(from_imagenet(state))
    assert torch.equal(encoder.blocks[10].project.bn.running_var, state["_blocks.10._bn2.running_var"])
    assert torch.equal(encoder.blocks[0].depthwise.conv.weight, state["_blocks.0._depthwise_conv.weight"])
    with torch.inference_mode():
        maps = encoder.eval()(torch.randn(1, 3, 64, 96))
    assert [tuple(m.shape[1:]) for m in maps] == [(24, 16, 24), (40, 8, 12), (112, 4, 6)]


def test_imagenet_weights_get_normalised_input() -> None:
    """The first normalised map, away from the padding, of the classifier's own input and of ours."""
    state = imagenet_checkpoint()
    level = torch.randint(256, (1, 3, 32, 32), generator=torch.Generator().manual_seed(0)).float()
    theirs = functional.conv2d((level - 127) / 128, state["_conv_stem.weight"], stride=2, padding=1)
    statistics = (state["_bn0.running_mean"], state["_bn0.running_var"], state["_bn0.weight"], state["_bn0.bias"])
    theirs = functional.batch_norm(theirs, *statistics, eps=1e-3)
    encoder = EfficientNetLite0().eval()
    encoder.load_state_dict(from_imagenet(state))
    mean, deviation = (torch.tensor(v).view(3, 1, 1) for v in (IMAGENET_MEAN, IMAGENET_DEVIATION))
    with torch.inference_mode():
        ours = encoder.stem((level / 255 - mean) / deviation)
    torch.testing.assert_close(ours[..., 1:, 1:], theirs[..., 1:, 1:], rtol=0, atol=1e-5)


def test_other_checkpoints_are_refused(published: dict[str, Tensor]) -> None:
    without = {key: value for key, value in published.items() if key != "convimg.weight"}
    with pytest.raises(CheckpointError, match=r"detection\.image_conv\.weight"):
        from_official(without)
    with pytest.raises(CheckpointError, match=r"layer4\.0\.conv1\.weight"):
        from_official(published | {"layer4.0.conv1.weight": torch.zeros(1)})
    with pytest.raises(CheckpointError, match="64x3x3x3"):
        from_official(published | {"convimg.weight": torch.zeros(64, 1, 3, 3)})
    with pytest.raises(CheckpointError, match="EfficientNet-Lite0"):
        from_imagenet(published)


def test_a_checkpoint_of_several_gpus_loads(published: dict[str, Tensor]) -> None:
    prefixed = from_official({f"module.{key}": value for key, value in published.items()})
    assert prefixed.keys() == from_official(published).keys()
