"""Memory that this process has freed, and its allocator kept for later."""

import ctypes

_libc = ctypes.CDLL(None)


def give_back() -> None:
    """Give it to the host. Takes milliseconds, in which other threads go on. Where the C library
    cannot: does nothing."""
    trim = getattr(_libc, "malloc_trim", None)
    if trim is not None:
        trim(0)
