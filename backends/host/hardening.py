"""What a process in the path of disk writes asks of the kernel, and which of it was granted.

Under memory pressure the kernel frees memory by writing dirty pages, which needs this process,
which may itself be waiting for memory. PR_SET_IO_FLUSHER (Linux 5.6, CAP_SYS_RESOURCE) breaks the
circle; locked pages and a low OOM score make it unlikely to begin.
"""

import ctypes
import os
from pathlib import Path

_PR_SET_IO_FLUSHER = 57
_MCL_CURRENT, _MCL_ONFAULT = 1, 4
_libc = ctypes.CDLL(None, use_errno=True)


def harden() -> dict[str, str]:
    """Ask for all of it; what each request came to, for people: `on`, or why not."""
    return {"io_flusher": _io_flusher(), "mlock": _lock_memory(), "oom_score_adj": _spare()}


def _outcome(result: int) -> str:
    return "on" if result == 0 else os.strerror(ctypes.get_errno())


def _io_flusher() -> str:
    return _outcome(_libc.prctl(_PR_SET_IO_FLUSHER, 1, 0, 0, 0))


def _lock_memory() -> str:
    """Keep what is in memory now there: the interpreter and its libraries. Later mappings (the
    block map) may be larger than memory, and are not locked."""
    return _outcome(_libc.mlockall(_MCL_CURRENT | _MCL_ONFAULT))


def _spare() -> str:
    for value in ("-1000", "-900", "-500", "0"):
        try:
            Path("/proc/self/oom_score_adj").write_text(value)
        except OSError:
            continue
        return value
    return "not allowed"
