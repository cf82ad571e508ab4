"""Thread settings of BLAS and OpenMP, for executables: set them before NumPy and PyTorch are imported.

A library does not change them by itself.
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
