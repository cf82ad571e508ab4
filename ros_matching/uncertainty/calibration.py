"""What the covariances assume: factors on variances, and the size of systematic errors."""

from __future__ import annotations

from dataclasses import dataclass

from ros_matching.geometry.intrinsics_error import IntrinsicsStds

EXACT = IntrinsicsStds(focal=0.0, center=0.0, radial=0.0)


@dataclass(frozen=True)
class Calibration:
    """Factors on variances: of the landmark noise, the common error of the window, and its contribution to the drift.

    ``systematic_pose`` and ``systematic_drift`` are fractions of the excess noise: systematic errors of a pose, and of
    a keyframe against the one before; ``systematic_rotation`` is a fraction of the rotation between two images.
    ``intrinsics`` are the standard deviations of a camera's calibration. Zero for noise that is known to be white, and
    for exact cameras.
    """

    noise: float = 1.0
    common: float = 1.0
    drift: float = 1.0
    systematic_pose: float = 0.0
    systematic_drift: float = 0.0
    systematic_rotation: float = 0.0
    intrinsics: IntrinsicsStds = EXACT


CALIBRATION = Calibration(
    noise=1.3,
    common=2.0,
    drift=2.0,
    systematic_pose=0.2,
    systematic_drift=0.4,
    systematic_rotation=0.01,
    intrinsics=IntrinsicsStds(focal=0.01, center=0.005, radial=0.005),
)
