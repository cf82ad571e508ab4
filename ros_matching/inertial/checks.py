"""Checks of the samples of an IMU by themselves: stamps, rate, range and units.

Each finding is a sentence with the values, and what to do. ``rotation_check`` compares an IMU with images.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass

import numpy as np

from ros_matching.datatypes import ImuSamples
from ros_matching.inertial.config import ImuConfig

_STANDARD_GRAVITY = 9.80665
_G_RANGE = 0.7, 1.4  # median specific force, in m/s2, of values in g
_NO_GRAVITY = 0.6  # fraction of gravity below which it was removed
_LARGEST_RATE = 60.0  # rad/s, beyond the range of any usual gyroscope (2000 degrees a second are 35)
_SATURATED_RATE, _SATURATED_FORCE = 1.5, 15.0  # no saturation below
_SLOWEST_HZ = 50.0


class ImuFault(enum.Enum):
    """Kinds of faults."""

    NO_SAMPLES = "no samples"
    GAP = "gap"
    REPEATED = "repeated stamps"
    UNORDERED = "unordered stamps"
    SLOW = "low rate"
    SATURATION = "saturation"
    UNIT_G = "acceleration in g"
    NO_GRAVITY = "no gravity"
    DEGREES = "rates in degrees"
    AXES = "wrong axes"
    TIME_OFFSET = "wrong time offset"


@dataclass(frozen=True)
class ImuFinding:
    """A fault with its sentence."""

    fault: ImuFault
    message: str


def check_samples(samples: ImuSamples, config: ImuConfig) -> list[ImuFinding]:
    """Find faults of samples by themselves: stamps, rate, range and units."""
    if len(samples) < 2:
        return [ImuFinding(ImuFault.NO_SAMPLES, f"the IMU has {len(samples)} samples; check its topic or file")]
    return [
        finding
        for finding in (
            *_stamp_findings(samples, config),
            _saturation(samples.gyroscope, _SATURATED_RATE, "gyroscope", "rad/s"),
            _saturation(samples.accelerometer, _SATURATED_FORCE, "accelerometer", "m/s2"),
            _force_unit(samples, config),
            _rate_unit(samples),
        )
        if finding is not None
    ]


def _stamp_findings(samples: ImuSamples, config: ImuConfig) -> list[ImuFinding]:
    steps_s = np.diff(samples.stamps_ns) * 1e-9
    found = []
    repeated, earlier = np.count_nonzero(steps_s == 0), np.count_nonzero(steps_s < 0)
    found += dropped_findings(repeated, earlier, len(samples) - repeated - earlier)
    positive = steps_s[steps_s > 0]
    gaps = positive[positive > config.max_gap_s]
    if len(gaps):
        found.append(
            ImuFinding(
                ImuFault.GAP,
                f"the samples of the IMU have {len(gaps)} gap(s), the longest of {gaps.max():.3f} s; over more than "
                f"{config.max_gap_s:g} s nothing is integrated: check the driver and the load of the network",
            )
        )
    if len(positive) and np.median(positive) > 1 / _SLOWEST_HZ:
        found.append(
            ImuFinding(
                ImuFault.SLOW,
                f"the IMU has {1 / np.median(positive):.0f} samples a second; at least {_SLOWEST_HZ:.0f} are needed "
                "and 200 are usual: raise the rate of its driver",
            )
        )
    return found


def dropped_findings(repeated: int, earlier: int, count: int) -> list[ImuFinding]:
    """Return the findings for samples that were dropped for their stamps, beside ``count`` others."""
    found = []
    if repeated:
        found.append(
            ImuFinding(
                ImuFault.REPEATED,
                f"{repeated} of {count + repeated} samples of the IMU have the stamp of the one before and are "
                "dropped; stamp each sample when it is measured",
            )
        )
    if earlier:
        found.append(
            ImuFinding(
                ImuFault.UNORDERED,
                f"{earlier} of {count + earlier} samples of the IMU have a stamp before the last one and are dropped; "
                "publish them in the order of time, from one driver",
            )
        )
    return found


def _saturation(values: np.ndarray, least: float, sensor: str, unit: str) -> ImuFinding | None:
    """Find an axis with its largest value three times in a row."""
    largest = np.abs(values).max(axis=0)
    at_end = np.abs(values) >= largest * (1 - 1e-9)
    counts = np.count_nonzero(at_end, axis=0)
    axis = int(np.argmax(counts * (largest > least)))
    in_a_row = at_end[2:, axis] & at_end[1:-1, axis] & at_end[:-2, axis]
    if not largest[axis] > least or not in_a_row.any():
        return None
    return ImuFinding(
        ImuFault.SATURATION,
        f"the {sensor} is saturated along {'xyz'[axis]}: {counts[axis]} samples are {largest[axis]:.1f} {unit}, the "
        "end of its range; choose a larger range in the driver, or mount it where it shakes less",
    )


def _force_unit(samples: ImuSamples, config: ImuConfig) -> ImuFinding | None:
    force = float(np.median(np.linalg.norm(samples.accelerometer, axis=1)))
    if _G_RANGE[0] < force < _G_RANGE[1]:
        return ImuFinding(
            ImuFault.UNIT_G,
            f"the accelerometer measures {force:.2f} at rest, which is gravity in g; it must be in m/s2: multiply it "
            f"by {_STANDARD_GRAVITY}",
        )
    if force < _NO_GRAVITY * config.gravity_m_s2:
        return ImuFinding(
            ImuFault.NO_GRAVITY,
            f"the accelerometer measures {force:.2f} m/s2 in the median, less than gravity "
            f"({config.gravity_m_s2:g} m/s2); take the raw acceleration, from which the driver has not removed gravity",
        )
    return None


def _rate_unit(samples: ImuSamples) -> ImuFinding | None:
    rate = float(np.quantile(np.linalg.norm(samples.gyroscope, axis=1), 0.99))
    if rate < _LARGEST_RATE:
        return None
    return ImuFinding(
        ImuFault.DEGREES,
        f"the gyroscope measures {rate:.0f}, which is more than any range in rad/s; it must be in rad/s: multiply it "
        "by pi / 180",
    )
