"""Executables set how threads of libraries behave, and what the user has set stays."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

CODE = """
import os, sys
import ros_matching.cli.main as cli
assert "torch" not in sys.modules and "numpy" not in sys.modules
try:
    cli.main(["--version"])
except SystemExit:
    pass
print(os.environ["OPENBLAS_NUM_THREADS"], os.environ["GOMP_SPINCOUNT"])
"""

SHARED = """
import os, torch
from ros_matching.threads import share_cores_with_mapping
os.sched_getaffinity = lambda _: set(range(6))
torch.set_num_threads({before})
share_cores_with_mapping()
share_cores_with_mapping()
print(torch.get_num_threads())
"""


def variables(**given: str) -> list[str]:
    names = ("OPENBLAS_NUM_THREADS", "GOMP_SPINCOUNT")
    environment = {name: value for name, value in os.environ.items() if name not in names} | given
    run = subprocess.run([sys.executable, "-c", CODE], env=environment, capture_output=True, text=True, check=True)
    return run.stdout.split()[-2:]


def test_the_command_line_sets_them_before_any_library_is_loaded() -> None:
    assert variables() == ["1", "1000"]


def test_settings_of_the_user_are_kept() -> None:
    assert variables(GOMP_SPINCOUNT="5", OPENBLAS_NUM_THREADS="2") == ["2", "5"]


@pytest.mark.parametrize(("before", "after"), [(6, 3), (2, 2)])
def test_networks_leave_half_of_the_cores_to_the_mapping_thread(before: int, after: int) -> None:
    code = SHARED.format(before=before)
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.split() == [str(after)]
