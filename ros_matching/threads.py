"""Thread settings of BLAS, OpenMP and PyTorch, for executables; a library does not change them by itself.

Those of BLAS and OpenMP must be set before NumPy and PyTorch are imported.
"""

from __future__ import annotations

import os

_DEFAULTS = {
    # The tracker's matrices are small: OpenBLAS threads do not speed up bundle adjustment on idle cores, and slow it
    # down two to five times next to other busy processes, as on a robot.
    "OPENBLAS_NUM_THREADS": "1",
    # OpenMP threads, used by PyTorch, busy-wait for each other, by default for milliseconds. Next to other busy
    # processes they wait for a thread that is not running, and a frame takes ten times longer. A short busy-wait costs
    # nothing on idle cores.
    "GOMP_SPINCOUNT": "1000",
}


def set_thread_defaults() -> None:
    """Set the environment variables of OpenBLAS and OpenMP that are not set yet."""
    for name, value in _DEFAULTS.items():
        os.environ.setdefault(name, value)


def share_cores_with_mapping() -> None:
    """Limit the networks to half of the cores: frames are tracked in one thread and keyframes mapped in another.

    With all cores for each, their OpenMP threads wait for one another. A lower limit (OMP_NUM_THREADS) stays. Call it
    before the matcher is loaded: engines keep the number of threads with which they are made.
    """
    import torch

    torch.set_num_threads(min(torch.get_num_threads(), max(1, len(os.sched_getaffinity(0)) // 2)))
