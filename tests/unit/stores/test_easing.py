"""A store that refuses what is too much gets fewer requests at once, and gets them all done."""

import heapq
import random
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import count
from typing import Any
from unittest.mock import patch

import pytest

from backends.errors import NotFound, Unavailable
from backends.stores import window as window_module
from backends.stores.base import Throttled
from backends.stores.bucket import Bucket, bucket_store
from backends.stores.easing import Easing, Gate
from backends.stores.memory import MemoryStore
from backends.stores.retrying import Patience, Retrying
from backends.stores.s3 import Endpoint, S3Store, connect
from backends.stores.window import CALM, LONGEST, Window


class Simulated:
    """Workers without end to their work, and a store that carries out `rate` requests a second and
    refuses the others; who was refused pauses as `Retrying` does. No real time passes."""

    def __init__(self, rate: float, latency: float, workers: int, window: Window | None) -> None:
        self.now, self.done, self.refused = 0.0, 0, 0
        self.rate, self.window = rate, window
        self._latency, self._chance = latency, random.Random(1)
        self._patience = Patience(time.sleep, self._chance.random)
        self._tokens, self._filled = 1.0, 0.0
        self._numbers = count()
        self._events: list[tuple[float, int, Callable[..., None], tuple[Any, ...]]] = []
        self._waiting: list[int] = []
        for _ in range(workers):
            self._at(0.0, self._want, 0)

    def run(self, until: float) -> None:
        while self._events[0][0] <= until:
            self.now, _, act, arguments = heapq.heappop(self._events)
            act(*arguments)

    def _at(self, when: float, act: Callable[..., None], *arguments: Any) -> None:
        heapq.heappush(self._events, (when, next(self._numbers), act, arguments))

    def _want(self, tries: int) -> None:
        self._waiting.append(tries)
        self._go_on()

    def _go_on(self) -> None:
        while self._waiting:
            seconds = self.window.wait(self.now) if self.window else 0.0
            if seconds is None:
                return
            if seconds:
                self._at(self.now + seconds, self._go_on)
                return
            tries = self._waiting.pop(0)
            sent = self.window.sent(self.now) if self.window else None
            took = self._latency * (0.5 + self._chance.random())
            self._at(self.now + took, self._ended, tries, self._carried_out(), sent)

    def _carried_out(self) -> bool:
        gained = (self.now - self._filled) * self.rate
        self._tokens, self._filled = min(1.0 + self.rate / 10, self._tokens + gained), self.now
        self._tokens -= (right := self._tokens >= 1)
        return right

    def _ended(self, tries: int, right: bool, sent: Any) -> None:
        if right:
            self.done += 1
            self._want(0)
        else:
            self.refused += 1
            self._at(self.now + self._patience.pause(tries), self._want, min(tries + 1, 5))
        if self.window and right:
            self.window.answered(sent, self.now)
        elif self.window:
            self.window.refused(sent, self.now)
        self._go_on()


RATES = (2.0, 10.0, 20.0, 50.0, 100.0)


@pytest.mark.parametrize("workers", [4, 12])
@pytest.mark.parametrize("rate", RATES)
def test_fewer_are_refused_and_as_many_are_carried_out(rate: float, workers: int) -> None:
    fixed, eased = (Simulated(rate, 0.02, workers, one) for one in (None, Window()))
    for one in (fixed, eased):
        one.run(40.0)
    assert eased.refused <= fixed.refused / 4
    assert eased.done >= 0.85 * fixed.done


def test_without_cuts_as_many_are_refused() -> None:
    fixed, eased = Simulated(20.0, 0.02, 4, None), Simulated(20.0, 0.02, 4, Window())
    fixed.run(40.0)
    with patch.multiple(window_module, CUT=1.0, DEEP=1.0):
        eased.run(40.0)
    assert eased.refused > fixed.refused / 4


def test_what_the_store_allows_again_is_used_soon() -> None:
    window = Window()
    store = Simulated(10.0, 0.02, 4, window)
    store.run(60.0)
    store.rate = 1000.0
    store.run(70.0)
    before = store.done
    store.run(80.0)
    assert store.done - before >= 0.9 * 10 * 4 / 0.02
    store.run(61.0 + CALM)
    store.run(80.0 + CALM)
    assert window.limit is None


def test_a_store_that_was_away_is_used_as_before_when_it_is_back() -> None:
    """An hour of nothing but 503 must not leave a bound behind that grows for minutes."""
    window = Window()
    store = Simulated(1000.0, 0.02, 4, window)
    store.run(10.0)
    store.rate = 0.0
    store.run(600.0)
    store.rate = 1000.0
    before = store.done
    store.run(620.0)
    assert store.done - before >= 10 * 4 / 0.02, "no more than the pauses of those who ask"


@pytest.mark.parametrize("seed", range(20))
def test_it_never_gives_up(seed: int) -> None:
    """Whatever is answered, the next request may be sent after LONGEST, or once one has ended."""
    chance, window, now = random.Random(seed), Window(), 0.0
    flying: list[Any] = []
    for _ in range(2000):
        now += chance.random() * 0.1
        seconds = window.wait(now)
        assert (seconds is None and flying) or 0 <= (seconds or 0) <= LONGEST
        if seconds == 0 and chance.random() < 0.5:
            flying.append(window.sent(now))
        elif flying:
            sent = flying.pop(chance.randrange(len(flying)))
            how = chance.random()
            if how < 0.6:
                window.refused(sent, now)
            elif how < 0.9:
                window.answered(sent, now)
            else:
                window.ended()
    assert window.flying == len(flying)


class Held(MemoryStore):
    """Notes what it is asked, in which order; each request waits until it is let go."""

    def __init__(self) -> None:
        super().__init__()
        self.asked: list[str] = []
        self.go = threading.Semaphore(0)
        self.refuse = 0

    def get(self, key: str) -> bytes:
        self._note(f"get {key}")
        return super().get(key)

    def put(self, key: str, body: bytes) -> None:
        self._note(f"put {key}")
        super().put(key, body)

    def delete(self, key: str) -> None:
        self._note(f"delete {key}")
        super().delete(key)

    def _note(self, what: str) -> None:
        self.asked.append(what)
        assert self.go.acquire(timeout=60)
        if self.refuse:
            self.refuse -= 1
            raise Throttled("503 SlowDown")


def until(true: Callable[[], bool]) -> None:
    end = time.monotonic() + 60
    while not true():
        assert time.monotonic() < end
        time.sleep(0.002)


@pytest.fixture
def pool() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(8) as made:
        yield made


@pytest.fixture
def _slow_machine() -> Iterator[None]:
    """However long a test takes, neither of these has passed."""
    with (
        patch("backends.stores.easing.PATIENCE", 3600.0),
        patch.object(window_module, "CALM", 3600.0),
    ):
        yield


@pytest.mark.usefixtures("_slow_machine")
def test_reads_go_first_then_writes_and_last_what_nobody_waits_for(
    pool: ThreadPoolExecutor,
) -> None:
    store, gate = Held(), Gate(time.monotonic)
    store.objects["a"] = b""
    eased, last = Easing(store, gate), Easing(store, gate, last=True)
    store.refuse = 1
    store.go.release()
    with pytest.raises(Throttled):
        eased.get("a")
    assert gate.strained()
    first = pool.submit(eased.get, "a")
    until(lambda: len(store.asked) == 2)
    others: list[Future[object]] = []
    calls: list[Callable[[], object]] = [
        lambda: last.get("a"),
        lambda: eased.delete("d"),
        lambda: eased.put("p", b""),
        lambda: eased.get("a"),
    ]
    for call in calls:
        before = len(gate._row)
        others.append(pool.submit(call))
        until(lambda before=before: len(gate._row) > before)  # type: ignore[misc]
    for _ in range(5):
        store.go.release()
    for one in others:
        one.result(timeout=60)
    assert first.done()
    assert store.asked[2:] == ["get a", "put p", "get a", "delete d"]


@pytest.mark.usefixtures("_slow_machine")
def test_who_has_waited_long_goes_before_all(pool: ThreadPoolExecutor) -> None:
    store, gate = Held(), Gate(time.monotonic)
    store.objects["a"] = b""
    eased = Easing(store, gate)
    gate.window.limit = 1.0
    gate.window._refused_at = time.monotonic()
    with patch("backends.stores.easing.PATIENCE", 0.0):
        first = pool.submit(eased.get, "a")
        until(lambda: len(store.asked) == 1)
        others: list[Future[object]] = [pool.submit(lambda: eased.delete("d"))]
        until(lambda: len(gate._row) == 1)
        others.append(pool.submit(lambda: eased.get("a")))
        until(lambda: len(gate._row) == 2)
        for _ in range(3):
            store.go.release()
        for one in others:
            one.result(timeout=60)
        assert first.done()
    assert store.asked == ["get a", "delete d", "get a"]


def test_nobody_waits_for_ever_and_nothing_is_left_behind(pool: ThreadPoolExecutor) -> None:
    """Sixteen calls at a time, and all ways in which one ends."""
    chance = random.Random(5)

    class Moody(MemoryStore):
        def get(self, key: str) -> bytes:
            if (fate := chance.random()) < 0.2:
                raise Throttled("503 SlowDown")
            if fate < 0.3:
                raise Unavailable("reset")
            return super().get(key)

    gate = Gate(time.monotonic)
    store = Retrying(Easing(Moody(), gate), Patience(lambda seconds: None, lambda: 0.0, attempts=9))

    def ask(number: int) -> None:
        with pytest.raises((NotFound, Unavailable)):
            store.get(str(number))

    with patch.object(window_module, "LONGEST", 0.002):
        list(pool.map(ask, range(300)))
    assert gate.window.flying == 0
    assert not gate._row


def test_as_long_as_nothing_is_refused_nobody_waits(pool: ThreadPoolExecutor) -> None:
    store, gate = Held(), Gate(time.monotonic)
    eased = Easing(store, gate)
    tasks = [pool.submit(eased.put, str(number), b"") for number in range(8)]
    until(lambda: len(store.asked) == 8)
    assert not gate.strained()
    assert not gate._row
    for _ in tasks:
        store.go.release()
    for task in tasks:
        task.result(timeout=60)


@pytest.mark.parametrize(
    ("status", "code", "refused"),
    [(503, "SlowDown", True), (429, "", True), (400, "SlowDown", True), (500, "Internal", False)],
)
def test_what_the_store_refuses_is_told_from_what_fails(
    status: int, code: str, refused: bool
) -> None:
    import botocore.exceptions  # type: ignore[import-untyped]

    store = S3Store(lambda: connect(Endpoint(region="us-east-1")), "bucket")
    answer = {"Error": {"Code": code}, "ResponseMetadata": {"HTTPStatusCode": status}}
    found = store._translated(botocore.exceptions.ClientError(answer, "PutObject"), "write", "a")
    assert isinstance(found, Throttled) is refused
    assert isinstance(found, Unavailable)


def test_the_service_whose_leases_must_not_wait_has_no_gate() -> None:
    """A disk's server has one for its own requests; leases are renewed by the service."""
    assert isinstance(bucket_store(Bucket("b"))._inner, S3Store)
