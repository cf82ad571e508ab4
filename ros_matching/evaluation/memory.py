"""How much memory a process has taken."""

from __future__ import annotations

import os
from pathlib import Path


def peak_memory_mb(pid: int | None = None) -> float:
    """The most memory that a process (this one without ``pid``) has held at a time, in MB; NaN where not known.

    Linux alone tells it of another process, and of this one without what its parent held, as ``getrusage`` counts.
    """
    status = Path(f"/proc/{os.getpid() if pid is None else pid}/status")
    for line in status.read_text().splitlines() if status.exists() else ():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024 / 1e6
    return float("nan")
