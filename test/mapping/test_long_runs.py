"""Memory and work per keyframe are constant, however long the run.

``PYTHONPATH=test python test/mapping/test_long_runs.py 2000`` shows it for as many keyframes.
"""

import sys
from collections import deque

import numpy as np
from call_count import count_calls
from wall_world import KnownDepth, pose, view

from ros_matching.mapping import DenseMapper, MappingConfig, MappingStatus

CONFIG = MappingConfig(views=4, voxel_size=0.05, max_points=6_000)


class Forgetful(KnownDepth):
    """Does not remember its calls."""

    def __init__(self) -> None:
        super().__init__()
        self.calls = deque(maxlen=1)


def long_run(keyframes: int, every: int) -> list[tuple[int, float, int, int]]:
    """Keyframes so far, calls for one (median), points, bytes; the camera walks along the wall and never back."""
    mapper, rows, calls = DenseMapper(Forgetful(), CONFIG), [], []
    for number in range(keyframes):
        keyframe = view(number, pose(0.2 * number, 0.1 * (number % 2)))
        result, count = count_calls(mapper.add, keyframe)
        calls.append(count)
        assert number < 4 or result.status is MappingStatus.MAPPED, result.reason
        if (number + 1) % every == 0:
            rows.append((number + 1, float(np.median(calls)), len(mapper.cloud()), mapper.nbytes))
            calls = []
    return rows


def test_a_long_run_takes_no_more_memory_or_work():
    rows = long_run(90, 30)
    _, middle, last = rows
    assert last[2] <= CONFIG.max_points
    assert last[3] <= 1.15 * middle[3]
    assert last[1] < 1.2 * middle[1]


if __name__ == "__main__":
    import resource

    for done, calls, points, size in long_run(int(sys.argv[1]), 100):
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        print(
            f"{done} keyframes, {calls:.0f} calls, {points} points, {size / 1e6:.2f} MB, peak {peak:.0f} MB",
            flush=True,
        )
