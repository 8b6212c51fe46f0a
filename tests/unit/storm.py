"""Processes that work on one thing and are killed with SIGKILL at random moments."""

import multiprocessing
import os
import random
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from multiprocessing.context import ForkProcess

SECONDS = 1.5
WRITERS = 4
ENOUGH = 12
PROCESSES = multiprocessing.get_context("fork")


@contextmanager
def a_pipe() -> Iterator[tuple[int, int]]:
    """What a process was told is done; a write this short is atomic, also before SIGKILL."""
    ends = os.pipe2(os.O_NONBLOCK)
    try:
        yield ends
    finally:
        for end in ends:
            os.close(end)


def drain(end: int) -> bytes:
    """All that is in the pipe now."""
    parts = []
    while True:
        try:
            parts.append(os.read(end, 65536))
        except BlockingIOError:
            return b"".join(parts)


def storm(
    act: Callable[[int, int], None], said: int, *, seconds: float = SECONDS, pause: float = 0.04
) -> tuple[bytes, int]:
    """Run WRITERS processes for some time, killing one now and then; what they said, the kills."""
    chance = random.Random(1)
    end, kills = time.monotonic() + seconds, 0
    lines: list[bytes] = []
    running: list[ForkProcess] = []
    while time.monotonic() < end or kills < ENOUGH:
        while len(running) < WRITERS:
            process = PROCESSES.Process(target=act, args=(kills, len(running)), daemon=True)
            process.start()
            running.append(process)
        time.sleep(chance.uniform(0.0, pause))
        victim = running.pop(chance.randrange(len(running)))
        assert victim.pid is not None
        os.kill(victim.pid, signal.SIGKILL)
        victim.join()
        kills += 1
        lines.append(drain(said))
    for process in running:
        process.kill()
        process.join()
    return b"".join([*lines, drain(said)]), kills
