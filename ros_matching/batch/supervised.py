"""``python -m ros_matching.batch.supervised MODULE ARGUMENTS...``: run a module that ends with its starter.

Its standard input is a pipe from there. The system closes that pipe however the other process ends, also by a kill, and
nobody would take the result of a job whose worker is gone.
"""

from __future__ import annotations

import os
import runpy
import sys
import threading

ABANDONED = 75  # exit code of a process whose starter is gone (EX_TEMPFAIL)


def _end_with_starter() -> None:
    while os.read(0, 4096):
        pass
    os._exit(ABANDONED)


def main() -> None:
    """Run the module of the command line as a program."""
    threading.Thread(target=_end_with_starter, daemon=True).start()
    del sys.argv[0]
    runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main()
