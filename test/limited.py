"""Python code in a process whose memory is limited, as a machine's is."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

_LIMIT = """
def limit_memory(mebibytes):
    import resource
    with open("/proc/self/statm") as statm:
        used = int(statm.read().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (used + mebibytes * 2**20,) * 2)
"""


def run_limited(code: str, *paths: Path, timeout_s: float = 240.0) -> str:
    """Run code that calls ``limit_memory(mebibytes)`` once its imports are done; returns what it prints.

    The limit is of address space beyond what the process has then. ``paths`` are folders to import from.
    """
    setup = f"import sys; sys.path[:0] = {[str(path) for path in paths]!r}\n"
    command = [sys.executable, "-c", setup + _LIMIT + code]
    done = subprocess.run(command, capture_output=True, text=True, timeout=timeout_s)
    assert done.returncode == 0, f"exit code {done.returncode}\n{done.stdout[-3000:]}\n{done.stderr[-6000:]}"
    return done.stdout
