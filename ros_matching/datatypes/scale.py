"""Units of length."""

from __future__ import annotations

import enum


class ScaleState(enum.Enum):
    """What the unit of a length is; ``tracking.scale`` says when which holds."""

    UP_TO_SCALE = "up_to_scale"  # arbitrary and drifting
    ANCHORED = "anchored"  # set by an anchor and held since, but too uncertain to be called metres
    METRIC = "metric"  # metres

    def shares_unit(self, later: ScaleState) -> bool:
        """Whether lengths in this state can be compared with later ones of the same run."""
        return self is later or ScaleState.UP_TO_SCALE not in (self, later)
