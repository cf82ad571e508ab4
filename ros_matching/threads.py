"""How many threads the linear algebra takes."""

from __future__ import annotations

import os


def keep_blas_single_threaded() -> None:
    """Let OpenBLAS, which NumPy and SciPy use, start no threads, unless the environment says otherwise.

    The matrices of the tracker are small: with threads its bundle adjustment is no faster on idle cores and two to five
    times slower beside other busy processes, which is how a robot runs it. To be called by executables, before NumPy is
    imported; a library leaves such things to the program.
    """
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
