"""How the threads of libraries behave; set by executables before NumPy and PyTorch are imported.

A library leaves such things to the program.
"""

from __future__ import annotations

import os

_DEFAULTS = {
    # The matrices of the tracker are small: with threads of OpenBLAS its bundle adjustment is no faster on idle cores,
    # and two to five times slower beside other busy processes, which is how a robot runs it.
    "OPENBLAS_NUM_THREADS": "1",
    # OpenMP's threads, which run PyTorch, wait for each other in a loop, by default for milliseconds. Beside other busy
    # processes a thread waits for one that is not running, and a frame takes ten times as long; a short loop costs
    # nothing on idle cores.
    "GOMP_SPINCOUNT": "1000",
}


def set_thread_defaults() -> None:
    """Set the environment variables of OpenBLAS and OpenMP that are not set yet."""
    for name, value in _DEFAULTS.items():
        os.environ.setdefault(name, value)
