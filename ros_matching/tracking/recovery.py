"""Finding a lost camera again against recent keyframes."""

from __future__ import annotations

from ros_matching.datatypes import Features
from ros_matching.tracking.config import TrackingConfig
from ros_matching.tracking.local_map import LocalMap, MapKeyframe
from ros_matching.tracking.localization import Localization, Localizer

# Keyframes tried per lost frame: the last ones always, the older ones in turn, so that the time per frame is bounded.
_NEWEST_TRIED = 2
_OLDER_TRIED = 2


class Recovery:
    """Tries keyframes one after the other until one places the image in the map."""

    def __init__(self, localizer: Localizer, config: TrackingConfig) -> None:
        self._localizer = localizer
        self._config = config
        self._turn = 0

    def search(self, local_map: LocalMap, features: Features, reference: MapKeyframe) -> Localization | None:
        """The pose of the image, from scratch and with more inliers than tracking asks for; ``None`` if not found."""
        for keyframe in self._candidates(local_map, reference):
            found = self._localizer.localize(
                local_map, features, keyframe, prediction=None, min_inliers=self._config.recovery_min_inliers
            )
            if found is not None:
                return found
        return None

    def _candidates(self, local_map: LocalMap, reference: MapKeyframe) -> list[MapKeyframe]:
        newest = [reference, *[k for k in reversed(local_map.keyframes) if k is not reference]]
        older = newest[_NEWEST_TRIED:]
        first = self._turn % len(older) if older else 0
        self._turn += _OLDER_TRIED
        return newest[:_NEWEST_TRIED] + (older[first:] + older[:first])[:_OLDER_TRIED]
