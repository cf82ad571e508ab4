"""Two maps in one: the keyframes, landmarks and constraints of both, as parts that nothing connects yet."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from ros_matching.atlas.keyframes import NO_LANDMARK
from ros_matching.atlas.map_storage import require_same_camera
from ros_matching.atlas.slam_map import SlamMap
from ros_matching.atlas.stored_keyframes import CulledKeyframe
from ros_matching.datatypes import ScaleState
from ros_matching.errors import MapError

_ID_BITS = 32  # ids of landmarks start at a keyframe id, shifted by so many bits


def united(first: SlamMap, second: SlamMap) -> tuple[SlamMap, frozenset[int]]:
    """Return both maps in one, and the new ids of the second's keyframes, which follow those of the first.

    Raises ``MapError`` for maps of other cameras, features or units: only one of them is in metres.
    """
    _require_compatible(first, second)
    newest_landmark = int(first.landmarks.ids[-1]) if len(first.landmarks) else 0
    shift = max(first.next_keyframe_id, (newest_landmark >> _ID_BITS) + 1)
    numbers = first.next_map_number
    both = first.snapshot()
    table = second.landmarks
    both.landmarks.extend(table.ids + (shift << _ID_BITS), table.positions, table.anchors + shift)
    for keyframe in second.keyframes:
        observes = keyframe.landmark_ids != NO_LANDMARK
        both.put_keyframe(
            replace(
                keyframe,
                id=keyframe.id + shift,
                map_number=keyframe.map_number + numbers,
                landmark_ids=np.where(observes, keyframe.landmark_ids + (shift << _ID_BITS), NO_LANDMARK),
            )
        )
    for edge in second.edges:
        both.put_edge(replace(edge, first=edge.first + shift, second=edge.second + shift))
    pairs = [(a + shift, b + shift, shared) for a, b, shared in second.covisibility()]
    both.set_covisibility([*first.covisibility(), *pairs])
    for id, culled in second.culled.items():
        both.put_culled(id + shift, CulledKeyframe(culled.parent + shift, culled.parent_from_camera, culled.scale))
    return both, frozenset(id + shift for id in second.ids)


def _require_compatible(first: SlamMap, second: SlamMap) -> None:
    require_same_camera(first, second.camera)
    if (first.extractor, first.fingerprint) != (second.extractor, second.fingerprint):
        raise MapError(
            f"the maps have other features: {first.extractor!r} (weights {first.fingerprint[:12]}) and "
            f"{second.extractor!r} (weights {second.fingerprint[:12]})"
        )
    units = {unit is ScaleState.UP_TO_SCALE for unit in (first.unit, second.unit)}
    if len(units) > 1:
        raise MapError(
            f"the maps have other units: {first.unit.value} and {second.unit.value}; both must be in metres, or neither"
        )
