"""Graph of the keyframes of a map: constraints between their poses, and covisibility."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from ros_matching.atlas.stored_keyframes import Edge, EdgeKind
from ros_matching.geometry.sim3 import (
    compose_similarity_covariance,
    invert_similarity,
    invert_similarity_covariance,
)


class KeyframeEdges:
    """Constraints between keyframes by id, at most one for each pair."""

    def __init__(self) -> None:
        self._edges: dict[tuple[int, int], Edge] = {}
        self._pairs_of: dict[int, set[tuple[int, int]]] = {}

    def copy(self) -> KeyframeEdges:
        """Return an independent copy; the edges are shared, as they are immutable."""
        copy = KeyframeEdges()
        copy._edges = dict(self._edges)
        copy._pairs_of = {id: set(pairs) for id, pairs in self._pairs_of.items()}
        return copy

    def all(self) -> list[Edge]:
        """Return all constraints, in the order in which their pairs were first put."""
        return list(self._edges.values())

    def of(self, id: int) -> list[Edge]:
        """Return the constraints of a keyframe."""
        return [self._edges[pair] for pair in self._pairs_of.get(id, ())]

    def put(self, edge: Edge) -> None:
        """Add a constraint, or replace that between the same keyframes."""
        pair = _pair(edge.first, edge.second)
        self._edges[pair] = edge
        for id in pair:
            self._pairs_of.setdefault(id, set()).add(pair)

    def remove(self, id: int) -> None:
        """Remove the constraints of a keyframe."""
        for pair in self._pairs_of.pop(id, set()):
            del self._edges[pair]
            self._pairs_of[pair[0] if pair[1] == id else pair[1]].discard(pair)

    def connected(self, id: int) -> set[int]:
        """Return the ids of the keyframes that edges connect with one, itself included."""
        part, border = {id}, [id]
        while border:
            near = {other for pair in self._pairs_of.get(border.pop(), ()) for other in pair} - part
            part |= near
            border += near
        return part

    def best(self, id: int) -> Edge:
        """Return the most accurate constraint of a keyframe, which is its ``first``."""
        return min((_from(edge, id) for edge in self.of(id)), key=lambda edge: np.trace(edge.covariance))

    def relink(self, id: int, link: Edge) -> None:
        """Remove a keyframe; its constraints become those of its neighbour over ``link``, where that has none."""
        edges, parent = [_from(edge, id) for edge in self.of(id)], link.second
        back = invert_similarity(link.first_from_second)
        back_covariance = invert_similarity_covariance(link.first_from_second, link.covariance)
        for edge in edges:
            pair = _pair(id, edge.second)
            del self._edges[pair]
            self._pairs_of[edge.second].discard(pair)
            if edge.second == parent or _pair(parent, edge.second) in self._edges:
                continue
            kind = EdgeKind.LOOP if EdgeKind.LOOP in (edge.kind, link.kind) else EdgeKind.COVISIBILITY
            covariance = compose_similarity_covariance(back, back_covariance, edge.first_from_second, edge.covariance)
            self.put(Edge(kind, parent, edge.second, back @ edge.first_from_second, covariance))
        del self._pairs_of[id]


class Covisibility:
    """Numbers of landmarks that pairs of keyframes share, by id."""

    def __init__(self) -> None:
        self._shared: dict[int, dict[int, int]] = {}

    def copy(self) -> Covisibility:
        """Return an independent copy."""
        copy = Covisibility()
        copy._shared = {id: dict(shared) for id, shared in self._shared.items()}
        return copy

    def of(self, id: int) -> dict[int, int]:
        """Return the keyframes that share landmarks with one, and how many; not to be changed."""
        return self._shared.get(id, {})

    def ranked(self, id: int, count: int | None = None) -> list[tuple[int, int]]:
        """Return up to ``count`` keyframes that share landmarks with one: (id, number shared), most first."""
        return sorted(self.of(id).items(), key=lambda item: (-item[1], item[0]))[:count]

    def pairs(self) -> list[tuple[int, int, int]]:
        """Return all pairs: (id, larger id, number shared)."""
        return [(a, b, n) for a, others in sorted(self._shared.items()) for b, n in others.items() if a < b]

    def set_pairs(self, pairs: Iterable[tuple[int, int, int]]) -> None:
        """Replace all pairs."""
        self._shared = {}
        for a, b, shared in pairs:
            self.put(a, b, shared)

    def put(self, first: int, second: int, shared: int) -> None:
        """Set the number of landmarks that two keyframes share; a pair without any is removed."""
        for a, b in ((first, second), (second, first)):
            if shared:
                self._shared.setdefault(a, {})[b] = shared
            else:
                self._shared.get(a, {}).pop(b, None)

    def remove(self, id: int) -> dict[int, int]:
        """Remove a keyframe; returns what it shared with others."""
        others = self._shared.pop(id, {})
        for other in others:
            self._shared[other].pop(id, None)
        return others


def _pair(first: int, second: int) -> tuple[int, int]:
    return min(first, second), max(first, second)


def _from(edge: Edge, id: int) -> Edge:
    """Return the edge with a keyframe of it as ``first``."""
    if edge.first == id:
        return edge
    inverse = invert_similarity(edge.first_from_second)
    covariance = invert_similarity_covariance(edge.first_from_second, edge.covariance)
    return Edge(edge.kind, edge.second, edge.first, inverse, covariance)
