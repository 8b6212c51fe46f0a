"""Waiting for the kernel, which announces nothing. The clock of this package."""

import time
from collections.abc import Callable


def wait_until(done: Callable[[], bool], seconds: float) -> bool:
    """Ask `done` until it says yes (True) or `seconds` have passed (False); often at first."""
    end = time.monotonic() + seconds
    pause = 0.001
    while not done():
        left = end - time.monotonic()
        if left <= 0:
            return False
        time.sleep(min(pause, left))
        pause = min(pause * 1.5, 0.1)
    return True


def moment() -> int:
    """A number of 32 bits that no earlier call of this boot has returned, if a millisecond and
    less than 49 days lie between them."""
    return time.monotonic_ns() // 1_000_000 & 0xFFFFFFFF
