"""A test of training that holds on any machine: the loss falls along its gradient by what the gradient predicts.

After a few steps of an optimiser a loss is where rounding has led it; a single small step is not.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

import torch
from torch import Tensor, nn

SHARES = [0.1 / 4**quarterings for quarterings in range(12)]  # of the loss that the step should take away


def assert_descends(parameters: Iterable[nn.Parameter], loss: Callable[[], Tensor]) -> None:
    """Some step along the negative gradient lowers the loss by what the gradient predicts, to a third.

    ``loss`` is to be the same function each time, so it sets the seed of what it draws. One that is only smooth in
    pieces, such as one with nearest neighbours, needs float64 for steps that are small enough.
    """
    parameters = [parameter for parameter in parameters if parameter.requires_grad]
    before = loss()
    gradients = torch.autograd.grad(before, parameters, allow_unused=True)
    squared = sum(float(gradient.square().sum()) for gradient in gradients if gradient is not None)
    assert squared > 0
    ratios = []
    for share in SHARES:
        predicted = share * abs(float(before.detach()))
        after = _loss_after(parameters, gradients, predicted / squared, loss)
        ratios.append((float(before.detach()) - after) / predicted)
        if 2 / 3 < ratios[-1] < 4 / 3:
            return
    raise AssertionError(f"the loss does not follow its gradient: decrease by predicted decrease {ratios}")


def _loss_after(
    parameters: list[nn.Parameter], gradients: tuple[Tensor | None, ...], length: float, loss: Callable[[], Tensor]
) -> float:
    starts = [parameter.detach().clone() for parameter in parameters]
    with torch.no_grad():
        for parameter, gradient in zip(parameters, gradients, strict=True):
            if gradient is not None:
                parameter -= length * gradient
        after = float(loss())
        for parameter, start in zip(parameters, starts, strict=True):
            parameter.copy_(start)
    return after
