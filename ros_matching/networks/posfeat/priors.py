"""Hand-made priors on where keypoints are, by which the detection network may weigh its scores."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor

Prior = Callable[[Tensor, Tensor, Tensor], Tensor]


def identity_prior(score: Tensor, image: Tensor, features: Tensor) -> Tensor:
    """No prior, as in the published networks."""
    return score
