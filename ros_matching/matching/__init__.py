"""Two-view matching: extract, match, estimate the relative pose."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ros_matching.errors import MatchingError

if TYPE_CHECKING:
    from ros_matching.matching.two_view import TwoViewMatcher

BACKENDS = ("default", "sift", "orb")


def load_matcher(name: str = "default", device: str = "auto") -> TwoViewMatcher:
    """The front end of that name: ``default`` (now SIFT), ``sift`` or ``orb``.

    ``device`` is ``auto``, ``cpu`` or ``cuda``; the classical front ends run on the CPU and refuse ``cuda``.
    """
    if name not in BACKENDS:
        raise MatchingError(f"no front end is called {name!r}; there are: {', '.join(BACKENDS)}")
    if device not in ("auto", "cpu"):
        raise MatchingError(f"front end {name!r} runs on the CPU only, got device {device!r}; use 'auto' or 'cpu'")
    from ros_matching.matching.classical import OrbMatcher, SiftMatcher

    return OrbMatcher() if name == "orb" else SiftMatcher()
