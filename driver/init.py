"""The first process of the managed plugin: keeps the sockets, keeps the service alive.

    python -m driver.init [--pid-file FILE] SOCKET... -- PROGRAM ARGUMENT...
       bind + listen -> fork PROGRAM with the sockets as LISTEN_FDS -> wait, reap, restart

Docker connects within half a second of the start and treats the end of this process as a crash of
the plugin: it restarts it once, then disables it, and kills every helper with it. So the sockets
are listening before anything else is done and stay open while the service is away (callers wait
instead of failing), and no end of the service ends this process. It imports little, because it
stays as long as the plugin does.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import fcntl
import os
import select
import signal
import socket
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

STOP_SECONDS = 8.0  # Docker sends SIGKILL 10 s after SIGTERM
KILL_SECONDS = 1.0
DELAYS = (0.0, 0.2, 0.5, 1.0, 2.0, 5.0)  # seconds before the n-th restart in a row
STEADY_SECONDS = 5.0  # a service that lived this long starts the row again
FIRST_FD = 3  # where socket activation puts the first socket
BACKLOG = 16_384  # an engine that starts asks for every volume at once; the kernel's limit caps it

STOPPING = frozenset({signal.SIGTERM, signal.SIGINT})
WATCHED = STOPPING | {signal.SIGCHLD, signal.SIGHUP}
PR_SET_CHILD_SUBREAPER = 36
PR_SET_PDEATHSIG = 1


def main(arguments: Sequence[str]) -> int:
    """What the command line says, for `sys.exit`. 2 if it cannot be understood."""
    words, pid_file = list(arguments), None
    if words[:1] == ["--pid-file"]:
        pid_file = Path(words[1]) if words[1:] else None
        del words[:2]
    if "--" not in words or words[-1] == "--":
        _say("usage: python -m driver.init [--pid-file FILE] SOCKET... -- PROGRAM ARGUMENT...")
        return 2
    at = words.index("--")
    return run([Path(word) for word in words[:at]], words[at + 1 :], pid_file)


def run(sockets: Sequence[Path], argv: Sequence[str], pid_file: Path | None) -> int:
    """Serve until SIGTERM or SIGINT, then 0; 1 if a socket or the pid file cannot be made.

    `argv` is started with the sockets as open files 3, 4, ... in the order given, announced by
    LISTEN_FDS and LISTEN_PID. It is started again whenever it ends, at once and then with a
    growing delay, for ever. At the end it gets the signal, then STOP_SECONDS, then SIGKILL.
    """
    signal.pthread_sigmask(signal.SIG_BLOCK, WATCHED)
    ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)  # with the host's pids it is not 1
    try:
        listening = [_listen(path) for path in sockets]
        if pid_file is not None:
            _write_pid(pid_file)
    except OSError as error:
        _say(f"cannot start: {error}")
        return 1
    _Keeper(argv, listening).run()
    for path in (*sockets, *([pid_file] if pid_file is not None else [])):
        path.unlink(missing_ok=True)
    return 0


class _Keeper:
    """Runs one program over and over. Times are monotonic seconds."""

    def __init__(self, argv: Sequence[str], listening: Sequence[socket.socket]) -> None:
        self._argv = argv
        self._listening = listening
        self._service = 0  # its process id, 0 while there is none
        self._started = 0.0
        self._row = 0  # restarts in a row
        self._due = time.monotonic()

    def run(self) -> None:
        while True:
            if not self._service and time.monotonic() >= self._due:
                self._start()
            wait = 3600.0 if self._service else max(0.0, self._due - time.monotonic())
            got = signal.sigtimedwait(WATCHED, wait)
            number = got.si_signo if got else 0
            self._reap()
            if number in STOPPING:
                return self._stop(number)
            if number == signal.SIGHUP and self._service:
                os.kill(self._service, signal.SIGHUP)

    def _start(self) -> None:
        self._started = time.monotonic()
        try:
            self._service = os.fork()
        except OSError as error:  # no memory, no process id: these pass
            self._again(f"could not be started ({error})")
            return
        if not self._service:
            _become(self._argv, self._listening)

    def _reap(self) -> None:
        """Collect every ended child, the service's and its orphans'; plan the service's return."""
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if not pid:
                return
            if pid == self._service:
                self._service = 0
                self._again(_describe(status))

    def _again(self, why: str) -> None:
        lived = time.monotonic() - self._started
        if lived >= STEADY_SECONDS:
            self._row = 0
        delay = DELAYS[min(self._row, len(DELAYS) - 1)]
        self._row += 1
        self._due = time.monotonic() + delay
        when = f"in {delay:g} s" if delay else "at once"
        _say(f"the service {why} after {lived:.1f} s; starting it again {when}")

    def _stop(self, number: int) -> None:
        if not self._service:
            return
        os.kill(self._service, number)
        if self._ended_within(STOP_SECONDS):
            return
        _say(f"the service did not end within {STOP_SECONDS:g} s; killing it")
        os.kill(self._service, signal.SIGKILL)
        self._ended_within(KILL_SECONDS)  # a process stuck in a dead mount may take longer

    def _ended_within(self, seconds: float) -> bool:
        deadline = time.monotonic() + seconds
        while True:
            pid, _status = os.waitpid(-1, os.WNOHANG)
            if pid == self._service:
                return True
            left = max(0.0, deadline - time.monotonic())
            if not pid and signal.sigtimedwait(WATCHED, left) is None:
                return False


def _become(argv: Sequence[str], listening: Sequence[socket.socket]) -> NoReturn:
    """In the forked child: turn into the service. Never returns into the parent's code."""
    try:
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM, 0, 0, 0)
        for offset, sock in enumerate(listening):
            os.dup2(sock.fileno(), FIRST_FD + offset)
        env = os.environ | {"LISTEN_FDS": str(len(listening)), "LISTEN_PID": str(os.getpid())}
        signal.pthread_sigmask(signal.SIG_UNBLOCK, WATCHED)
        os.execvpe(argv[0], list(argv), env)  # noqa: S606
    except OSError as error:
        _say(f"cannot run {argv[0]}: {error.strerror}")
    finally:
        os._exit(127)


def _listen(path: Path) -> socket.socket:
    """A listening socket of mode 0600 in place of a stale one; OSError if one is being served."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.is_socket():
        with socket.socket(socket.AF_UNIX) as probe:
            if probe.connect_ex(str(path)) == 0:
                raise OSError(errno.EADDRINUSE, "another process is serving the socket", str(path))
        path.unlink()
    sock = socket.socket(socket.AF_UNIX)
    mask = os.umask(0o177)  # never, not even for an instant, open to others
    try:
        sock.bind(str(path))
    finally:
        os.umask(mask)
    sock.listen(BACKLOG)
    return _clear_of_activation(sock)


def _clear_of_activation(sock: socket.socket) -> socket.socket:
    """The socket under a number that dup2 to 3, 4, ... cannot close."""
    high = fcntl.fcntl(sock, fcntl.F_DUPFD_CLOEXEC, 64)
    sock.close()
    return socket.socket(fileno=high)


def _write_pid(path: Path) -> None:
    """Whole or not at all: a reader enters the process that it names."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{path.name}.part")
    part.write_text(f"{os.getpid()}\n")
    part.replace(path)


def _describe(status: int) -> str:
    if os.WIFSIGNALED(status):
        return f"was killed by {signal.Signals(os.WTERMSIG(status)).name}"
    return f"ended with status {os.waitstatus_to_exitcode(status)}"


def _say(text: str) -> None:
    """To stderr if that can be done now: a reader that is stuck or gone must not stop init."""
    with contextlib.suppress(OSError):
        poll = select.poll()
        poll.register(2, select.POLLOUT)
        if poll.poll(0):
            os.write(2, f"init: {text}\n".encode())


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
