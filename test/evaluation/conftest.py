"""Trajectories with known truth."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from ros_matching.io.trajectory import Trajectory

PERIOD_NS = 33_333_333
START_NS = 1_700_000_000_123_456_789


def figure_eight(count: int, start_ns: int = START_NS, period_ns: int = PERIOD_NS) -> Trajectory:
    """A camera on a figure of eight that also rises, sinks and turns."""
    t = np.linspace(0, 2 * np.pi, count)
    poses = np.tile(np.eye(4), (count, 1, 1))
    poses[:, :3, :3] = Rotation.from_euler("yxz", np.stack([t, 0.2 * np.sin(t), 0.1 * np.cos(t)], axis=1)).as_matrix()
    poses[:, :3, 3] = np.stack([3 * np.sin(t), 0.3 * np.sin(3 * t), 2 * np.sin(2 * t)], axis=1)
    return Trajectory(start_ns + period_ns * np.arange(count, dtype=np.int64), poses)


@pytest.fixture
def make_truth() -> Callable[..., Trajectory]:
    return figure_eight


@pytest.fixture
def truth() -> Trajectory:
    return figure_eight(60)
