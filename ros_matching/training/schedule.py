"""Duration and learning rate of a run, and the moving average of its weights."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor, nn


@dataclass(frozen=True)
class Schedule:
    """A linear rise of the learning rate and a cosine fall, over ``steps`` or, where given, over ``minutes``."""

    steps: int
    minutes: float | None
    warmup: float
    final_rate: float

    @property
    def unit(self) -> str:
        """The unit of ``total``."""
        return "step" if self.minutes is None else "s"

    @property
    def total(self) -> int:
        """The end of the schedule, in its unit."""
        return self.steps if self.minutes is None else round(60 * self.minutes)

    def done(self, step: int, seconds: float) -> int:
        """Of ``total``, how much is done."""
        return min(self.total, step if self.minutes is None else int(seconds))

    def progress(self, step: int, seconds: float) -> float:
        """From 0 at the start to 1 at the end."""
        return step / self.steps if self.minutes is None else seconds / (60 * self.minutes)

    def rate(self, step: int, seconds: float) -> float:
        """The learning rate, relative to its peak."""
        progress = min(self.progress(step, seconds), 1.0)
        if progress < self.warmup:
            # Never zero: the first step would be lost.
            return max(progress / self.warmup, self.final_rate)
        fall = (progress - self.warmup) / (1 - self.warmup)
        return self.final_rate + (1 - self.final_rate) * 0.5 * (1 + math.cos(math.pi * fall))


class MovingAverage:
    """The exponential moving average of a network's weights and statistics.

    The decay grows from that of a plain average over the first steps, so that the initial weights are soon forgotten.
    """

    def __init__(self, network: nn.Module, decay: float) -> None:
        self.decay = decay
        self.state: dict[str, Tensor] = {key: value.detach().clone() for key, value in network.state_dict().items()}
        self.state[_UPDATES] = torch.zeros((), dtype=torch.int64)

    @torch.no_grad()
    def update(self, network: nn.Module) -> None:
        """Take in the network's present state."""
        self.state[_UPDATES] += 1
        updates = int(self.state[_UPDATES])
        weight = 1 - min(self.decay, updates / (updates + 10))
        averaged, present = [], []
        for key, value in network.state_dict().items():
            if value.is_floating_point():
                averaged.append(self.state[key])
                present.append(value.detach())
            else:
                self.state[key].copy_(value)
        torch._foreach_lerp_(averaged, present, weight)

    @contextmanager
    def swapped_into(self, network: nn.Module) -> Iterator[None]:
        """Within the context, the network has the averaged weights."""
        own = {key: value.detach().clone() for key, value in network.state_dict().items()}
        network.load_state_dict({key: value for key, value in self.state.items() if key != _UPDATES})
        try:
            yield
        finally:
            network.load_state_dict(own)


_UPDATES = "__updates__"  # besides the names of the network's tensors
