"""A slow reply is not waited for alone, and requests are counted."""

import threading
from concurrent.futures import ThreadPoolExecutor
from itertools import count

import pytest

from backends.errors import NotFound, Unavailable
from backends.stores.counting import Counting
from backends.stores.hedging import Hedging
from backends.stores.memory import MemoryStore


class Slow(MemoryStore):
    """Some of its replies never come, until they may."""

    def __init__(self, slow: set[int], lost: set[int] = frozenset()) -> None:  # type: ignore[assignment]
        super().__init__()
        self.objects["a"] = b"body"
        self.calls = count()
        self.slow, self.lost = slow, lost
        self.gate = threading.Event()

    def get_range(self, key: str, start: int, length: int) -> bytes:
        number = next(self.calls)
        if number in self.slow:
            assert self.gate.wait(60)
        if number in self.lost:
            raise Unavailable("reset")
        return super().get_range(key, start, length)


@pytest.fixture
def pool() -> object:
    with ThreadPoolExecutor(8) as made:
        yield made


def hedging(store: Slow, pool: ThreadPoolExecutor) -> Hedging:
    return Hedging(store, pool, clock=lambda: 0.0)


def test_a_slow_reply_is_overtaken(pool: ThreadPoolExecutor) -> None:
    store = Slow({0})
    asked = hedging(store, pool)
    assert asked.get_range("a", 0, 4) == b"body"
    assert (asked.doubled, next(store.calls)) == (1, 2)
    store.gate.set()


def test_quick_replies_are_not_doubled(pool: ThreadPoolExecutor) -> None:
    asked = hedging(Slow(set()), pool)
    for _ in range(50):
        assert asked.get_range("a", 0, 4) == b"body"
    assert asked.doubled == 0


def test_the_second_may_fail_too(pool: ThreadPoolExecutor) -> None:
    store = Slow({0}, lost={1})
    asked = hedging(store, pool)
    threading.Timer(0.3, store.gate.set).start()
    assert asked.get_range("a", 0, 4) == b"body"
    both = Slow({0, 1}, lost={0, 1})
    both.gate.set()
    with pytest.raises(Unavailable, match="reset"):
        hedging(both, pool).get_range("a", 0, 4)
    with pytest.raises(NotFound):
        hedging(Slow(set()), pool).get_range("b", 0, 4)


def test_a_store_that_is_slow_as_a_whole_is_not_asked_twice_for_all(
    pool: ThreadPoolExecutor,
) -> None:
    asked = hedging(Slow(set()), pool)
    assert sum(asked._may_double() for _ in range(100)) == 10
    asked.asked = 1000
    assert sum(asked._may_double() for _ in range(100)) == 50


def test_requests_are_counted_by_verb_and_minute() -> None:
    now = [100.0]
    store = Counting(MemoryStore(), lambda: now[0])
    store.put("a", b"x")
    for _ in range(5):
        store.get("a")
        store.get_range("a", 0, 1)
    store.head("a")
    assert dict(store.total) == {"put": 1, "get": 10, "head": 1}
    now[0] += 60
    assert store.per_minute() == 12
    now[0] += 60
    assert store.per_minute() == 0
    store.list("")
    store.delete("a")
    store.put_if_absent("a", b"y")
    assert store.per_minute() == 3
