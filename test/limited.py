"""Python code in a process whose memory is limited, as a machine's is, and a file that claims more."""

from __future__ import annotations

import struct
import subprocess
import sys
import zlib
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


def huge_png(side: int) -> bytes:
    """A valid PNG of side x side black pixels, in a few kilobytes."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    packer = zlib.compressobj(9)
    rows = b"".join(packer.compress(bytes(1 + side // 8)) for _ in range(side)) + packer.flush()
    header = struct.pack(">IIBBBBB", side, side, 1, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", rows) + chunk(b"IEND", b"")
