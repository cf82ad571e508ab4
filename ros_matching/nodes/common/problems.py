"""Current problems of a node: logged once each, and in the diagnostics while they last."""

from __future__ import annotations

import enum
import re
import threading
from collections.abc import Callable

from ros_matching.errors import NodeError

_MOST_REMEMBERED = 1000
_LONGEST_TEXT = 1000


class Problem(enum.Enum):
    """Kind of a problem; at most one problem of each kind is present."""

    CAMERA = "camera"
    CAMERA_INFO = "camera info"
    CAMERA_INFO_AGE = "camera info age"
    INPUT = "input"
    PUBLISHERS = "publishers"
    LOSS = "images lost on the way"
    IMAGE = "image"
    STAMP = "stamp"
    EXTRINSICS = "extrinsics"
    TF = "static transforms"
    SCALE = "scale"
    IMU = "imu"
    QOS = "quality of service"
    PARAMETERS = "parameters"
    FILE = "file"
    CALLBACK = "callback"
    TRACKER = "tracker"
    KEYFRAME = "keyframe"
    INITIAL_POSE = "initial pose"
    MAPPER = "mapper"
    GRID = "occupancy grid"
    MASK = "mask"
    OUTPUT = "output"


ERRORS = frozenset(
    {
        Problem.CAMERA,
        Problem.CAMERA_INFO,
        Problem.IMAGE,
        Problem.STAMP,
        Problem.TRACKER,
        Problem.MAPPER,
        Problem.OUTPUT,
        Problem.CALLBACK,
    }
)
"""What keeps poses from coming, or is a fault of ours; the other problems are warnings."""

_NUMBER = re.compile(r"[-+]?\d+(\.\d+)?(e[-+]?\d+)?|[-+]?\b(inf|nan)\b")


def shortened(text: str) -> str:
    """Return a long text without its middle: names and encodings in messages may have any length."""
    half = _LONGEST_TEXT // 2
    return text if len(text) <= _LONGEST_TEXT else f"{text[:half]} … {text[-half:]}"


class RefusedImageError(NodeError):
    """An image cannot be tracked; the message contains the reason and the remedy."""

    def __init__(self, problem: Problem, message: str) -> None:
        super().__init__(shortened(message))
        self.problem = problem


class ProblemLog:
    """Thread-safe set of the present problems. A text is logged once, whatever numbers it contains."""

    def __init__(self, log_error: Callable[[str], object], log_warning: Callable[[str], object]) -> None:
        self._log_error = log_error
        self._log_warning = log_warning
        self._lock = threading.Lock()
        self._present: dict[Problem, str] = {}
        self._logged: set[str] = set()

    def report(self, problem: Problem, text: str, detail: str = "") -> None:
        """Add a problem with its remedy; repeating it is cheap and silent. ``detail`` goes to the log only."""
        text = shortened(text)
        with self._lock:
            self._present[problem] = text
            kind = _NUMBER.sub("#", text)
            is_new = kind not in self._logged
            if is_new:
                if len(self._logged) >= _MOST_REMEMBERED:
                    self._logged.clear()
                self._logged.add(kind)
        if is_new:
            log = self._log_error if problem in ERRORS else self._log_warning
            log(f"{text}\n{detail}" if detail else text)

    def clear(self, *problems: Problem) -> None:
        """Remove problems that are over."""
        with self._lock:
            for problem in problems:
                self._present.pop(problem, None)

    def clear_all(self) -> None:
        """Remove all problems, and log each one again if it returns: for a new run."""
        with self._lock:
            self._present.clear()
            self._logged.clear()

    def present(self) -> dict[Problem, str]:
        """Return the present problems."""
        with self._lock:
            return dict(self._present)
