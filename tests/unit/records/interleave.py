"""Run several actors as threads, one call at a time, in an order that a seed decides."""

import random
import threading
from collections.abc import Callable

from tests.unit.records.model_files import Killed


class Interleaving:
    """Actors call `step` before every call they make; exactly one runs between two steps."""

    def __init__(self, chance: random.Random, *, deadly: float = 0.0) -> None:
        self.now = 0
        self._chance = chance
        self._deadly = deadly
        self._turns: dict[int, threading.Semaphore] = {}
        self._back = threading.Semaphore(0)
        self._failures: list[BaseException] = []

    def step(self, call: str) -> None:
        """Let others run; Killed when this actor is to die here."""
        if self._chance.random() < self._deadly:
            raise Killed
        self._back.release()
        self._turns[threading.get_ident()].acquire()
        self.now += 1

    def run(self, actors: list[Callable[[], None]]) -> None:
        """Run all to their end or death; raise what any of them raised."""
        threads = [threading.Thread(target=self._act, args=(actor,)) for actor in actors]
        for thread in threads:
            thread.start()
            self._back.acquire()
        alive = list(threads)
        while alive:
            chosen = self._chance.choice(alive)
            assert chosen.ident is not None
            self._turns[chosen.ident].release()
            self._back.acquire()
            alive = [thread for thread in alive if thread.ident in self._turns]
        for thread in threads:
            thread.join()
        if self._failures:
            raise self._failures[0]

    def _act(self, actor: Callable[[], None]) -> None:
        me = threading.get_ident()
        self._turns[me] = threading.Semaphore(0)
        self._back.release()
        self._turns[me].acquire()
        try:
            actor()
        except Killed:
            pass
        except BaseException as error:
            self._failures.append(error)
        finally:
            del self._turns[me]
            self._back.release()
