"""Names and shapes of the authors' checkpoints, written down from what the layers are."""

from __future__ import annotations

from collections.abc import Iterator

Shapes = dict[str, tuple[int, ...]]

LENGTHS = {"affine": 6, "homography": 8, "homography_matrix": 9, "tps": 18}
VGG_LAYERS = {0: (64, 3), 2: (64, 64), 5: (128, 64), 7: (128, 128), 10: (256, 128), 12: (256, 256), 14: (256, 256)}
VGG_LAYERS |= {17: (512, 256), 19: (512, 512), 21: (512, 512)}
RESNET_LAYERS = {4: (64, 64, 3), 5: (256, 128, 4), 6: (512, 256, 23)}  # channels in, width, blocks


def state_shapes(trunk: str, model: str) -> Shapes:
    return trunk_shapes(trunk) | head_shapes(model)


def trunk_shapes(trunk: str) -> Shapes:
    return vgg_shapes() if trunk == "vgg16" else resnet_shapes()


def head_shapes(model: str) -> Shapes:
    prefix = "FeatureRegression"
    return {
        **_convolution(f"{prefix}.conv.0", (128, 225, 7, 7)),
        **_norm(f"{prefix}.conv.1", 128),
        **_convolution(f"{prefix}.conv.3", (64, 128, 5, 5)),
        **_norm(f"{prefix}.conv.4", 64),
        f"{prefix}.linear.weight": (LENGTHS[model], 1600),
        f"{prefix}.linear.bias": (LENGTHS[model],),
    }


def vgg_shapes() -> Shapes:
    shapes: Shapes = {}
    for index, (outputs, inputs) in VGG_LAYERS.items():
        shapes |= _convolution(f"FeatureExtraction.model.{index}", (outputs, inputs, 3, 3))
    return shapes


def resnet_shapes() -> Shapes:
    prefix = "FeatureExtraction.model"
    shapes = {f"{prefix}.0.weight": (64, 3, 7, 7), **_norm(f"{prefix}.1", 64)}
    for layer, (channels, width, blocks) in RESNET_LAYERS.items():
        for block in range(blocks):
            shapes |= dict(
                _bottleneck(f"{prefix}.{layer}.{block}", channels if block == 0 else 4 * width, width, block)
            )
    return shapes


def _bottleneck(prefix: str, channels: int, width: int, block: int) -> Iterator[tuple[str, tuple[int, ...]]]:
    kernels = [(width, channels, 1, 1), (width, width, 3, 3), (4 * width, width, 1, 1)]
    for number, kernel in enumerate(kernels, start=1):
        yield f"{prefix}.conv{number}.weight", kernel
        yield from _norm(f"{prefix}.bn{number}", kernel[0]).items()
    if block == 0:
        yield f"{prefix}.downsample.0.weight", (4 * width, channels, 1, 1)
        yield from _norm(f"{prefix}.downsample.1", 4 * width).items()


def _convolution(prefix: str, kernel: tuple[int, ...]) -> Shapes:
    return {f"{prefix}.weight": kernel, f"{prefix}.bias": kernel[:1]}


def _norm(prefix: str, channels: int) -> Shapes:
    names = ("weight", "bias", "running_mean", "running_var")
    return {**{f"{prefix}.{name}": (channels,) for name in names}, f"{prefix}.num_batches_tracked": ()}
