"""Write test/slow_tests.txt, the tests that ``make test-fast`` leaves out, from measured durations.

python -m pytest --durations=0 --durations-min=0.05 test > durations.log
python resource/slow_tests.py durations.log
"""

from __future__ import annotations

import re
import sys
from collections import Counter
from pathlib import Path

LIST = Path(__file__).resolve().parent.parent / "test" / "slow_tests.txt"
LIMIT_S = 0.35
"""Tests are slow if they take longer, with all their parameters and their setup."""
_LINE = re.compile(r"^(\d+\.\d+)s (?:call|setup|teardown) +(\S+?\.py)(?:::\w+)*?::(\w+)(?=\[|\s*$)", re.MULTILINE)


def seconds_by_test(log: str) -> Counter[str]:
    """Return the seconds of each test function in a log of pytest, as ``FILE.py::FUNCTION``."""
    seconds: Counter[str] = Counter()
    for duration, file, function in _LINE.findall(log):
        seconds[f"{Path(file).name}::{function}"] += float(duration)
    return seconds


def main(logs: list[str]) -> None:
    """Write the list, and print how much time the others take."""
    seconds: Counter[str] = Counter()
    for log in logs:
        seconds += seconds_by_test(Path(log).read_text())
    slow = sorted(name for name, duration in seconds.items() if duration > LIMIT_S)
    head = f"# Tests of more than {LIMIT_S} s, by resource/slow_tests.py; make test-fast leaves them out."
    LIST.write_text("\n".join([head, *slow]) + "\n")
    total, left = sum(seconds.values()), sum(duration for name, duration in seconds.items() if name not in set(slow))
    print(f"{len(slow)} slow tests; {left:.0f} s of {total:.0f} s are left to the others")


if __name__ == "__main__":
    main(sys.argv[1:])
