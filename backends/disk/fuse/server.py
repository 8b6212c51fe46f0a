"""Answers the kernel's requests from several threads, of which one is fast.

One thread, the *leader*, reads a request, works on it and answers: two system calls and no thread
switch, which is what makes it fast. A request that outlasts the watch interval makes the watcher
name another leader, so slow ones (a read from the object store, a flush) hold nothing up; while
requests of a kind are slow, the leader hands over *before* it works on one of them. As many
requests are in work at once as the ring has slots; the rest wait in the kernel.
"""

import errno
import os
import struct
import threading
from collections import Counter
from collections.abc import Callable
from enum import Enum

from backends.disk.device import BlockDevice
from backends.disk.fuse import wire
from backends.disk.fuse.answers import Answers
from backends.disk.fuse.ring import Ring

_FREE = bytes(4)
_START = struct.Struct("<IIQ")
"""The part of a request's header that every request needs: length, opcode, unique."""
_AGAIN = frozenset({errno.EINTR, errno.EAGAIN, errno.ENOENT})
_LOOKS = 2
"""Repeated looks that find the same request in work; one may be a thread that got no processor."""
_PATIENCE = 10
"""Quiet samples after which the watcher sleeps until the next request."""
_MEMORY = 100
"""Samples for which a kind of request stays known as slow."""


class End(Enum):
    """Why serving ended."""

    UNMOUNTED = "unmounted"
    ABORTED = "aborted"
    STOPPED = "stopped"


class Worker:
    """A thread's place: its slot, what it works on (0: nothing), and when it may lead."""

    def __init__(self, number: int, view: memoryview) -> None:
        self.number = number
        self.view = view
        self.working = 0
        self.turn = threading.Semaphore(0)
        self.served: dict[int, int] = {}
        self.thread: threading.Thread | None = None


class Server:
    """Serves one connection; `descriptor` is of /dev/fuse. The device's methods are called from
    several threads. `complain` is told what the device raised (the kernel is told EIO)."""

    def __init__(
        self,
        descriptor: int,
        ring: Ring,
        device: BlockDevice,
        complain: Callable[[str, Exception], None],
    ) -> None:
        self._fd = descriptor
        self._ring = ring
        self._answers = Answers(device, self._agree, complain)
        self._workers: list[Worker] = []
        self._idle: list[Worker] = []
        self._leader: Worker | None = None
        self._vacant = False
        """Nobody could be made the first leader: every slot has a request of a dead server."""
        self._lock = threading.Lock()
        """Guards the four above, where they change together."""
        self._slow: dict[int, int] = {}
        """Opcodes known as slow -> samples left to know it."""
        self._asleep = False
        self._wake = threading.Event()
        self._end: End | None = None

    def replay(self) -> int:
        """Take over what a dead predecessor left in the ring: what the kernel still waits for is
        worked on, each in a thread of its own; the rest was answered. How many of the first kind.
        To be called once, before `serve`."""
        waiting = 0
        for number in self._ring.taken():
            view = self._ring.slot(number)
            request = wire.header(view)
            if request.opcode in wire.UNANSWERED or not self._awaited(request.unique):
                view[:4] = _FREE
                continue
            waiting += 1
            with self._lock:
                worker = self._new(number)
            self._begin(worker)
        return waiting

    def serve(self, interval: float, pause: Callable[[float], None]) -> End:
        """Answer requests until the connection ends or `stop` is called. A request is slow when
        three looks in a row, `interval` seconds apart, find the leader working on it."""
        self._hand_over(None)
        seen, looks, quiet = 0, 0, 0
        while self._end is None:
            leader = self._leader
            working = leader.working if leader else 0
            looks = looks + 1 if working and working == seen else 0
            if leader and looks >= _LOOKS:
                self._slow[wire.header(leader.view).opcode] = _MEMORY
                self._hand_over(leader)
            seen = working
            self._forget()
            quiet = 0 if working or self._slow else quiet + 1
            if quiet > _PATIENCE:
                quiet = 0
                self._doze()
            else:
                pause(interval)
        return self._end

    def stop(self) -> None:
        """Work on no further request: what is taken from now on stays in the ring for the next
        server. What is in work goes on; `settled` tells when it is answered."""
        self._finish(End.STOPPED)

    def settled(self) -> bool:
        """Whether, after the end, no request is in work any more."""
        return not any(worker.working for worker in self._workers)

    def join(self, seconds: float) -> None:
        """Wait, after the end, until no thread uses the descriptor any more; not longer than this
        for each."""
        for worker in list(self._workers):
            if worker.thread is not None:
                worker.thread.join(seconds)

    def resized(self) -> None:
        """The device has grown: make the kernel ask for its size again."""
        os.write(self._fd, wire.forget_size())

    def served(self) -> dict[str, int]:
        """Requests answered so far, by name of the opcode."""
        total: Counter[int] = Counter()
        for worker in list(self._workers):
            total.update(worker.served.copy())
        return {_named(opcode): count for opcode, count in sorted(total.items())}

    def _agree(self, agreed: wire.Negotiated) -> None:
        self._ring.negotiated = agreed

    def _awaited(self, unique: int) -> bool:
        """Whether the kernel still waits for this request's answer."""
        try:
            os.write(self._fd, wire.probe(unique))
        except FileNotFoundError:
            return False
        except OSError as error:
            if error.errno in wire.GONE:
                return False
            raise
        return True

    # The threads. A worker is the leader, or in work, or in `_idle` waiting for its turn.

    def _hand_over(self, leader: Worker | None) -> None:
        """Make another worker the leader, if `leader` is it now and another is to be had."""
        with self._lock:
            if self._leader is not leader or self._end is not None:
                return
            if self._idle:
                self._leader = self._idle.pop()
                self._leader.turn.release()
                return
            used = {worker.number for worker in self._workers}
            free = next((number for number in range(self._ring.slots) if number not in used), None)
            if free is None:
                self._vacant = leader is None
                return
            self._leader = fresh = self._new(free)
        self._begin(fresh)

    def _new(self, number: int) -> Worker:
        worker = Worker(number, self._ring.slot(number))
        self._workers.append(worker)
        return worker

    def _begin(self, worker: Worker) -> None:
        name = f"fuse-{worker.number}"
        worker.thread = threading.Thread(target=self._work, args=(worker,), name=name, daemon=True)
        worker.thread.start()

    def _work(self, worker: Worker) -> None:
        """The life of a worker's thread."""
        try:
            if worker.view[:4] != _FREE:
                self._one(worker)
            while self._end is None:
                if self._leader is worker or self._wait(worker):
                    self._lead(worker)
        except OSError as error:
            worker.working = 0
            if error.errno not in wire.GONE:
                self._finish(End.ABORTED)
                raise
            aborted = error.errno == errno.ECONNABORTED
            self._finish(End.ABORTED if aborted else End.UNMOUNTED)

    def _lead(self, worker: Worker) -> None:
        """Read and answer requests while this worker is the leader."""
        descriptor, buffers = self._fd, [worker.view]
        while self._leader is worker and self._end is None:
            try:
                if not os.readv(descriptor, buffers):
                    raise OSError(errno.ENODEV, "the connection is closed")
            except OSError as error:
                if error.errno in _AGAIN:
                    continue
                raise
            self._one(worker)

    def _one(self, worker: Worker) -> None:
        """Answer the request in the worker's slot. After the end, leave it there."""
        _, opcode, unique = _START.unpack_from(worker.view)
        worker.working = unique or 1
        if self._end is not None:
            worker.working = 0
            return
        if self._asleep:
            self._wake.set()
        if opcode in self._slow:
            self._hand_over(worker)
        reply = self._answers.answer(opcode, unique, worker.view)
        if reply:
            try:
                os.writev(self._fd, reply)
            except OSError as error:
                if error.errno not in _AGAIN:  # ENOENT: nobody waits for it any more
                    raise
        worker.view[:4] = _FREE
        worker.working = 0
        worker.served[opcode] = worker.served.get(opcode, 0) + 1

    def _wait(self, worker: Worker) -> bool:
        """Wait for a turn to lead; it is now, if nobody does. False: there will be none."""
        with self._lock:
            if self._end is not None:
                return False
            if self._vacant:
                self._vacant, self._leader = False, worker
                return True
            self._idle.append(worker)
        worker.turn.acquire()
        return self._end is None

    def _finish(self, end: End) -> None:
        with self._lock:
            self._end = self._end or end
            for worker in self._idle:
                worker.turn.release()
            self._idle.clear()
        self._wake.set()

    # The watcher's.

    def _forget(self) -> None:
        for opcode, left in list(self._slow.items()):
            if left > 1:
                self._slow[opcode] = left - 1
            else:
                del self._slow[opcode]

    def _doze(self) -> None:
        """Sleep until a request comes."""
        self._wake.clear()
        self._asleep = True
        leader = self._leader
        if not (leader and leader.working) and self._end is None:
            self._wake.wait()
        self._asleep = False


def _named(opcode: int) -> str:
    try:
        return wire.Opcode(opcode).name.lower()
    except ValueError:
        return f"opcode {opcode}"
