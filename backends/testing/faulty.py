"""Dying on purpose: a process, or a simulated one, that stops between any two effects."""

import os
import signal
import sys
import traceback
from collections.abc import Callable
from typing import Any

EFFECTS = frozenset(
    f"os.{name}"
    for name in ("mkdir", "rmdir", "rename", "link", "symlink", "remove", "chmod", "chown")
) | {"os.truncate", "fcntl.ioctl", "fcntl.flock", "subprocess.Popen"}
"""Audit events of CPython that change something; opening for writing counts, too, and so does
every event of our own (`kedge.*`)."""
_WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC
_FINISHED, _FAILED = 0, 1


class SimulatedCrash(BaseException):
    """Not an Exception: nothing that a verb does about errors may catch it."""


class CrashPoint:
    """Call it before every effect: effect number `at` (from 0) and all later ones raise."""

    def __init__(self, at: int) -> None:
        self._left = at

    def __call__(self, what: str) -> None:
        self._left -= 1
        if self._left < 0:
            raise SimulatedCrash(what)


def dies_at(effect: int, work: Callable[[], object]) -> bool:
    """Run `work` in a copy of this process that is killed just before its effect number `effect`
    (from 0). True: it was. False: it finished, having no more than `effect` effects.
    AssertionError with its traceback when it raised."""
    return _dies(_killer(effect), work)


def dies_when(fatal: Callable[[str, tuple[Any, ...]], bool], work: Callable[[], object]) -> bool:
    """As `dies_at`, just before the first audit event that is `fatal`."""

    def hook(event: str, arguments: tuple[Any, ...]) -> None:
        if fatal(event, arguments):
            os.kill(os.getpid(), signal.SIGKILL)

    return _dies(hook, work)


def _dies(hook: Callable[[str, tuple[Any, ...]], None], work: Callable[[], object]) -> bool:
    readable, writable = os.pipe()
    pid = os.fork()
    if pid == 0:
        _be_killed_by(hook, work, writable)
    os.close(writable)
    with os.fdopen(readable) as pipe:
        words = pipe.read()
    _, status = os.waitpid(pid, 0)
    if os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL:
        return True
    assert os.waitstatus_to_exitcode(status) == _FINISHED, words
    return False


def _be_killed_by(
    hook: Callable[[str, tuple[Any, ...]], None], work: Callable[[], object], writable: int
) -> None:
    code = _FAILED
    try:
        sys.addaudithook(hook)
        work()
        code = _FINISHED
    except BaseException:
        os.write(writable, traceback.format_exc().encode())
    finally:
        os._exit(code)


def _killer(effect: int) -> Callable[[str, tuple[Any, ...]], None]:
    left = effect

    def hook(event: str, arguments: tuple[Any, ...]) -> None:
        nonlocal left
        if is_effect(event, arguments):
            left -= 1
            if left < 0:
                os.kill(os.getpid(), signal.SIGKILL)

    return hook


def is_effect(event: str, arguments: tuple[Any, ...]) -> bool:
    """Whether an audit event announces a change."""
    if event == "open":
        return isinstance(arguments[2], int) and bool(arguments[2] & _WRITING)
    return event in EFFECTS or event.startswith("kedge.")
