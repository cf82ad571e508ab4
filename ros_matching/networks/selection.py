"""Selection of matches that does not leave too few: robust estimators live better with wrong matches than with none."""

from __future__ import annotations

import numpy as np


def with_strongest(selected: np.ndarray, scores: np.ndarray, least: int) -> np.ndarray:
    """Return ``selected`` (N,) bool with the others of highest ``scores`` (N,), first of equals, up to ``least``."""
    missing = least - np.count_nonzero(selected)
    if missing <= 0:
        return selected
    others = np.flatnonzero(~selected)
    added = selected.copy()
    added[others[np.argsort(-scores[others], kind="stable")[:missing]]] = True
    return added
