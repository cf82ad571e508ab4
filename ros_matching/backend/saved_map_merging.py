"""Merging of a saved map into another: common places are recognised, and give it its place."""

from __future__ import annotations

from dataclasses import replace

from ros_matching.atlas.map_union import united
from ros_matching.atlas.slam_map import SlamMap
from ros_matching.backend.loop_closing import Loop, LoopDetector, fused_landmarks, loop_edge
from ros_matching.backend.loop_verification import PlaceVerifier
from ros_matching.backend.map_correction import correct_by_loops
from ros_matching.backend.place_recognition import PlaceIndex
from ros_matching.backend.slam_config import SlamConfig
from ros_matching.matching.pipeline import MatchingPipeline

_MOST_TRIED = 200  # keyframes of the saved map whose places are searched
_ENOUGH = 5  # common places
_COVISIBLE_FUSED = 30  # keyframes around a common place whose observations are fused


def merge_saved_map(slam_map: SlamMap, saved: SlamMap, matcher: MatchingPipeline, config: SlamConfig) -> SlamMap | None:
    """Return both maps in one, in the frame of ``slam_map``; ``None`` if no common place is recognised.

    Neither map is changed. Raises ``MapError`` for maps of other cameras, features or units.
    """
    both, added = united(slam_map, saved)
    _describe(both, matcher)
    index = PlaceIndex()
    index.synchronize(both)
    for id in added:
        index.remove(id)
    detector = LoopDetector(index, PlaceVerifier(matcher), config)
    ids = sorted(added)
    found = 0
    for id in ids[:: -(-len(ids) // _MOST_TRIED) or 1]:
        # candidates are keyframes of the other map, as those of the saved one count as local
        loop = detector.detect(both, id, added)
        if loop is not None and _close(both, loop):
            found += 1
            if found == _ENOUGH:
                break
    both.landmarks.remove_unobserved()
    return both if found else None


def _describe(slam_map: SlamMap, matcher: MatchingPipeline) -> None:
    """Compute the place descriptors that are missing."""
    for keyframe in slam_map.keyframes:
        if not len(keyframe.place_descriptor):
            vector = matcher.place_describer.describe(keyframe.descriptors)
            slam_map.put_keyframe(replace(keyframe, place_descriptor=vector))


def _close(both: SlamMap, loop: Loop) -> bool:
    """Correct the map by a common place, and fuse the landmarks there; False if the map contradicts it."""
    correction = correct_by_loops(both, [loop_edge(both, place) for place in loop.places])
    if correction is None:
        return False
    for edge in correction.loops:
        both.put_edge(edge)
    both.correct(correction.poses)
    for place in loop.places:
        kept, replaced = fused_landmarks(both, place)
        if len(kept):
            around = [place.keyframe, *(id for id, _ in both.covisible(place.keyframe, _COVISIBLE_FUSED))]
            both.merge_landmarks(kept, replaced, around)
            beyond = [place.place, *(id for id, _ in both.covisible(place.place, _COVISIBLE_FUSED))]
            for id in around:
                both.count_covisibility(id, beyond)
    return True
