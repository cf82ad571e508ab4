"""Loading in the background keeps order, errors and the end in place."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest

from ros_matching.io.source import read_ahead


def test_results_come_in_order_and_from_another_thread() -> None:
    threads = set()

    def load(item: int) -> int:
        threads.add(threading.get_ident())
        return item * item

    assert list(read_ahead(load, range(50), ahead=3)) == [item * item for item in range(50)]
    assert len(threads) == 1
    assert threading.get_ident() not in threads
    assert list(read_ahead(load, [])) == []


def test_no_more_than_the_limit_is_loaded_ahead() -> None:
    loaded = []
    results = read_ahead(lambda item: loaded.append(item) or item, range(100), ahead=2)
    assert next(results) == 0
    results.close()
    assert len(loaded) <= 3


def test_an_error_is_raised_at_its_item() -> None:
    def load(item: int) -> float:
        return 1 / (item - 2)

    results = read_ahead(load, range(5))
    assert [next(results), next(results)] == [-0.5, -1.0]
    with pytest.raises(ZeroDivisionError):
        next(results)


def test_an_error_of_the_items_comes_too() -> None:
    def items() -> Iterator[int]:
        yield 1
        raise ValueError("cut off")

    with pytest.raises(ValueError, match="cut off"):
        list(read_ahead(str, items()))
