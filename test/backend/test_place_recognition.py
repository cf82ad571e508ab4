"""Search of similar keyframes by their place descriptors."""

from __future__ import annotations

import numpy as np

from ros_matching.backend.place_recognition import PlaceIndex


def unit_vectors(count: int, dimensions: int = 64) -> np.ndarray:
    vectors = np.random.default_rng(0).normal(size=(count, dimensions)).astype(np.float32)
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def test_the_most_similar_keyframes_come_first_without_excluded_ones():
    vectors = unit_vectors(300)
    index = PlaceIndex()
    for id, vector in enumerate(vectors):
        index.add(10 * id, vector)
    similarity = vectors @ vectors[7]
    expected = (10 * np.argsort(-similarity)).tolist()
    assert [id for id, _ in index.search(vectors[7], 5)] == expected[:5]
    assert [id for id, _ in index.search(vectors[7], 5, excluded={70, expected[2]})] == [expected[1], *expected[3:7]]
    least = float(similarity[np.argsort(-similarity)[3]])
    assert len(index.search(vectors[7], 50, min_similarity=least)) == 4


def test_removed_keyframes_are_not_found_and_others_still_are():
    vectors = unit_vectors(50)
    index = PlaceIndex()
    for id, vector in enumerate(vectors):
        index.add(id, vector)
    for id in range(0, 50, 2):
        index.remove(id)
    assert len(index) == 25
    for id in range(50):
        best, _ = index.search(vectors[id], 1)[0]
        assert (best == id) == (id % 2 == 1)


def test_an_empty_index_finds_nothing():
    assert PlaceIndex().search(np.ones(4), 3) == []
