"""Robust losses for iteratively reweighted least squares: the weight and the cost of a residual's length."""

from __future__ import annotations

import numpy as np

_PRIOR_COUNT = 5.0  # coordinates that a prior of the noise counts as
_MIN_SLOPE = 0.2  # limits the variance where errors are spread evenly over the loss


def huber_weight(error: np.ndarray, scale: float) -> np.ndarray:
    """1 up to ``scale``, then ``scale / error``: outliers pull with constant force, the cost stays convex."""
    return scale / np.maximum(error, scale)


def huber_cost(error: np.ndarray, scale: float) -> np.ndarray:
    """``error^2 / 2`` up to ``scale``, linear beyond."""
    return np.where(error <= scale, 0.5 * error**2, scale * (error - 0.5 * scale))


def cauchy_weight(error: np.ndarray, scale: float) -> np.ndarray:
    """``1 / (1 + (error / scale)^2)``: outliers pull ever less."""
    return 1.0 / (1.0 + (error / scale) ** 2)


def cauchy_cost(error: np.ndarray, scale: float) -> np.ndarray:
    """``scale^2 / 2 * log(1 + (error / scale)^2)``."""
    return 0.5 * scale**2 * np.log1p((error / scale) ** 2)


def tukey_weight(error: np.ndarray, scale: float) -> np.ndarray:
    """``(1 - (error / scale)^2)^2`` up to ``scale``, then 0: outliers do not pull at all."""
    return np.maximum(1.0 - (error / scale) ** 2, 0.0) ** 2


def tukey_cost(error: np.ndarray, scale: float) -> np.ndarray:
    """``scale^2 / 6 * (1 - (1 - (error / scale)^2)^3)`` up to ``scale``, then constant."""
    return scale**2 / 6.0 * (1.0 - np.maximum(1.0 - (error / scale) ** 2, 0.0) ** 3)


def tukey_variance(
    error: np.ndarray, scale: float, weights: np.ndarray, dimensions: int, parameters: int, prior_std: float
) -> float:
    """The variance that, taken as that of every coordinate, gives least squares the covariance of Tukey's estimate.

    ``E[psi^2] / E[psi']^2`` (Huber, "Robust Statistics", 1981, section 6.3), over the errors (N,), lengths of residuals
    of ``dimensions``, that are within ``scale``; it compensates for the truncation of the loss. ``weights`` (N,) are
    relative inverse variances; ``parameters`` were fitted. ``prior_std`` has the weight of a few errors, so that few
    points that fit well by chance do not give a covariance near zero.
    """
    near = error < scale
    weights = weights[near] * (np.count_nonzero(near) / max(weights[near].sum(), 1e-300))
    squared_ratio = (error[near] / scale) ** 2
    power = weights @ ((1.0 - squared_ratio) ** 4 * error[near] ** 2)
    freedom = max(dimensions * len(squared_ratio) - parameters, 0)
    squared = (power + _PRIOR_COUNT * prior_std**2) / (freedom + _PRIOR_COUNT)
    return float(squared / tukey_slope(error, scale, dimensions) ** 2)


def tukey_slope(error: np.ndarray, scale: float, dimensions: int) -> float:
    """The mean derivative of ``psi = error * tukey_weight`` of the errors (N,) within ``scale``, in all dimensions."""
    squared_ratio = (error[error < scale] / scale) ** 2
    slope = (
        np.mean((1.0 - squared_ratio) * (1.0 - (1.0 + 4.0 / dimensions) * squared_ratio)) if len(squared_ratio) else 1.0
    )
    return max(float(slope), _MIN_SLOPE)
