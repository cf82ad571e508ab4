"""Prior of a bundle adjustment: the direction of gravity in cameras holds their roll and pitch."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from ros_matching.errors import GeometryError
from ros_matching.geometry.normal_equations import Linearisation
from ros_matching.geometry.se3 import skew


@dataclass(frozen=True)
class GravityPrior:
    """Directions ``in_cameras`` (C, 3) that are ``down`` (3,) in the world, with ``weights`` (C,).

    A weight is in square pixels: the variance of an observation over that of the direction in radians; zero where the
    direction is unknown.
    """

    down: np.ndarray
    in_cameras: np.ndarray
    weights: np.ndarray

    def __post_init__(self) -> None:
        count = len(self.weights)
        if self.down.shape != (3,) or self.in_cameras.shape != (count, 3) or not (self.weights >= 0).all():
            raise GeometryError(
                f"a GravityPrior needs down (3,), in_cameras (C, 3) and weights (C,) that are not negative, got "
                f"{self.down.shape}, {self.in_cameras.shape} and {self.weights.shape}"
            )

    def cost(self, poses: np.ndarray) -> float:
        """Return half of the weighted squared errors at poses camera_from_world (C, 4, 4), in square pixels."""
        return 0.5 * float(self.weights @ np.sum(self._errors(poses) ** 2, axis=1))

    def added_to(self, linear: Linearisation, poses: np.ndarray) -> Linearisation:
        """Return normal equations with the prior at poses (C, 4, 4), for steps ``X -> Exp(w) X + v`` of the cameras."""
        free = linear.observations.free_cameras
        errors, weights = self._errors(poses)[free], self.weights[free]
        # Exp(w) d = d + w x d: the derivative by w is -[d]x
        turned = skew(poses[free, :3, :3] @ self.down)
        blocks, gradient = linear.camera_blocks.copy(), linear.camera_gradient.copy()
        blocks[:, 3:, 3:] += weights[:, None, None] * (np.swapaxes(turned, 1, 2) @ turned)
        gradient[:, 3:] += weights[:, None] * np.einsum("nij,nj->ni", turned, errors)
        return replace(linear, camera_blocks=blocks, camera_gradient=gradient)

    def _errors(self, poses: np.ndarray) -> np.ndarray:
        return poses[:, :3, :3] @ self.down - self.in_cameras
