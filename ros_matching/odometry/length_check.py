"""A check of the scale: motions whose length is unknown by their own covariance.

After a fast turn few landmarks connect the newest keyframes with the earlier ones. Then poses relative to the new
landmarks are accurate, but their unit of length is not that of the map before: the scale is lost. The covariances of
the motions say so, as they contain that of the window. The slow drift of the scale since the start, which they contain
too, is none of it.
"""

from __future__ import annotations

from collections import deque

import numpy as np

_UNKNOWN = 0.8  # the length of a motion is unknown if its standard deviation is more than this fraction of it
_STANDING = 0.003  # of the typical depth: shorter motions are noise
_MOTIONS, _ENOUGH = 5, 3  # of so many last motions, so many have an unknown length if the scale is lost


class LengthCheck:
    """Collects the motions of the tracked camera."""

    def __init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        """Forget the motions so far: the camera starts anew, or its last motion is unknown."""
        self._deviations: deque[float] = deque(maxlen=_MOTIONS)

    def add(
        self,
        previous_from_current: np.ndarray | None,
        covariance: np.ndarray | None,
        typical_depth: float,
        scale_variance: float,
    ) -> str:
        """Add the next motion (4, 4) with its covariance (6, 6); returns a remark if the scale is lost, else nothing.

        ``None`` for a motion that is not known. The covariance contains ``scale_variance``, the drift of the scale.
        """
        if previous_from_current is None or covariance is None:
            self.reset()
            return ""
        drift = scale_variance * np.outer(previous_from_current[:3, 3], previous_from_current[:3, 3])
        self._deviations.append(_relative_std(previous_from_current[:3, 3], covariance[:3, :3] - drift, typical_depth))
        unknown = [deviation for deviation in self._deviations if deviation > _UNKNOWN]
        if len(unknown) < _ENOUGH:
            return ""
        percent = 100 * np.median(unknown)
        return (
            f"the scale may be lost: the length of the last motions is uncertain by {percent:.0f} %, as few landmarks "
            "connect them with those before; turn more slowly"
        )


def _relative_std(step: np.ndarray, covariance: np.ndarray, typical_depth: float) -> float:
    """Return the standard deviation of the length of a translation (3,) relative to it; zero if it is only noise."""
    length = float(np.linalg.norm(step))
    if not length > _STANDING * typical_depth:
        return 0.0
    variance = float(step @ covariance @ step) / length**2
    # A pose that its landmarks do not determine has a covariance that is not finite
    return float(np.sqrt(max(variance, 0.0))) / length if np.isfinite(variance) else np.inf
