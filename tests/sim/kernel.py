"""A discrete-event kernel: virtual time, and actors that run ordinary blocking code.

Every actor is a thread, but exactly one thing runs at any moment, in an order that follows from
virtual time alone. So one seed is one schedule, on any machine.
"""

import heapq
import itertools
from collections.abc import Callable

from greenlet import getcurrent, greenlet


class Killed(BaseException):
    """The actor's process is gone. Not an Exception: nothing may catch it and go on."""


class Kernel:
    """Virtual time and what is due."""

    def __init__(self) -> None:
        self.now = 0.0
        self.current: Actor | None = None
        self.actors: list[Actor] = []
        self.frame = getcurrent()
        self._queue: list[tuple[float, int, Callable[[], None]]] = []
        self._order = itertools.count()

    def at(self, time: float, act: Callable[[], None]) -> None:
        """Do `act` at `time`; what is due at the same time goes in the order it was asked for."""
        heapq.heappush(self._queue, (max(time, self.now), next(self._order), act))

    def run(self, until: float) -> None:
        """Let everything happen that is due by `until`; raise what any actor raised."""
        while self._queue and self._queue[0][0] <= until:
            self.now, _, act = heapq.heappop(self._queue)
            act()
        self.now = until

    def stop(self) -> None:
        """Kill all actors; their threads are gone when this returns."""
        for actor in self.actors:
            actor.kill()

    def sleep(self, seconds: float) -> None:
        """Called by an actor: let time pass."""
        assert self.current is not None
        self.current.sleep(seconds)


class Actor:
    """Runs `body`. `held_until`: while this is in the future the actor is stopped (SIGSTOP)."""

    def __init__(
        self, kernel: Kernel, body: Callable[[], None], held_until: Callable[[], float]
    ) -> None:
        self._kernel = kernel
        self._body = body
        self._held_until = held_until
        self._alarm = 0
        self._frame = greenlet(self._run, kernel.frame)
        self.done = False
        kernel.actors.append(self)
        self.wake_at(kernel.now)

    def wake_at(self, time: float) -> None:
        """Go on at `time`, unless woken earlier."""
        self._alarm += 1
        alarm = self._alarm
        self._kernel.at(time, lambda: self._ring(alarm))

    def sleep(self, seconds: float) -> None:
        """Called by the actor itself."""
        self.wake_at(self._kernel.now + seconds)
        self.park()

    def park(self) -> None:
        """Called by the actor itself: wait for `wake_at`."""
        self._kernel.frame.switch()

    def kill(self) -> None:
        """End the actor where it waits. Called by the kernel only."""
        if not self.done:
            self.done = True
            if self._frame:
                self._frame.throw(Killed)

    def _ring(self, alarm: int) -> None:
        if self.done or alarm != self._alarm:
            return
        if self._held_until() > self._kernel.now:
            self._kernel.at(self._held_until(), lambda: self._ring(alarm))
            return
        self._kernel.current = self
        self._frame.switch()
        self._kernel.current = None

    def _run(self) -> None:
        try:
            self._body()
        except Killed:
            pass
        finally:
            self.done = True


class KernelLock:
    """A lock between actors that lets virtual time pass while it is waited for."""

    def __init__(self, kernel: Kernel) -> None:
        self._kernel = kernel
        self._holder: Actor | None = None
        self._waiting: list[Actor] = []

    def __enter__(self) -> None:
        actor = self._kernel.current
        assert actor is not None
        while self._holder is not None and not self._holder.done:
            self._waiting.append(actor)
            actor.park()
        self._holder = actor

    def __exit__(self, *exc: object) -> None:
        self._holder = None
        if self._waiting:
            self._waiting.pop(0).wake_at(self._kernel.now)
