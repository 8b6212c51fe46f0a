"""Keeps descriptors open, and a program running that works with them.

    holder.py DIRECTORY FD,FD,... PID SPARE PROGRAM ARGUMENT...

Run as a script, by its path, because it imports nothing but the standard library and as little of
that as it can: it must stay small and must not fail, for what it keeps cannot be made again. It
knows nothing of what the descriptors are, save this: when the first one polls as an error, its
work is over and the holder ends.

The program is started as `PROGRAM ARGUMENT... DIRECTORY FD,FD,... GATE`. GATE is a socket: the
program writes `r` when it is ready to begin, begins when it reads `g`, and writes `s` when it
serves. So a successor can be made ready while the predecessor still works: that is an upgrade
(SIGTERM to the old, `g` to the new once it is gone) and, with a spare, a restart that loses no
time to start-up: SPARE is 1 to have one ready at all times, 0 not to. PID, if not 0, is a program
that serves already: its holder was killed.

`DIRECTORY/holder.sock` answers one JSON object per line: {"verb": "status"}, {"verb": "upgrade",
"argv": [...], "root": ...}, {"verb": "end"} (kill the program and end). `DIRECTORY/holder.lock` is
locked while a holder lives, so there is never a second one.
"""

import contextlib
import fcntl
import json
import os
import select
import signal
import socket
import sys
import time
from collections.abc import Sequence
from typing import Any, NoReturn

HANDED_OVER = 75
"""Exit code of a program that stopped because it was asked to."""
_QUICK_SECONDS = 1.0
"""A program that ends itself sooner has failed to start."""
_DELAYS = (0.0, 0.1, 0.3, 1.0, 2.0, 5.0)
"""Seconds before a start, by failures in a row."""
_SPARE_SECONDS = 1.0
"""A program serves this long before its spare is started."""
_ANSWER_SECONDS = 0.5
_STOP_SECONDS = 10.0
_LOG_BYTES = 1 << 20


class Program:
    """A started program."""

    def __init__(self, pid: int, gate: socket.socket | None) -> None:
        self.pid = pid
        self.gate = gate
        self.pidfd = os.pidfd_open(pid)
        self.state = "starting" if gate else "serving"
        self.began = time.monotonic()
        self.asked_to_stop = 0.0
        self.takes_over = False

    def begin(self) -> None:
        """Let it work."""
        if self.gate:
            with contextlib.suppress(OSError):
                self.gate.send(b"g")

    def kill(self, number: int) -> None:
        """Send a signal, if it still lives."""
        with contextlib.suppress(ProcessLookupError):
            signal.pidfd_send_signal(self.pidfd, number)

    def ended(self) -> int:
        """Take note of its end: the exit code, or minus the signal. Not our child: -9."""
        os.close(self.pidfd)
        if self.gate:
            self.gate.close()
        try:
            return os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])
        except ChildProcessError:
            return -signal.SIGKILL


class Holder:
    """The loop. Times are monotonic seconds."""

    def __init__(
        self, directory: str, kept: Sequence[int], argv: Sequence[str], *, spare: bool
    ) -> None:
        self.spare = spare
        self.spare_due = time.monotonic() + _SPARE_SECONDS
        self.directory = directory
        self.kept = list(kept)
        self.argv = list(argv)
        self.root: str | None = None
        self.current: Program | None = None
        self.next: Program | None = None
        self.due = time.monotonic()
        self.starts = 0
        self.failures = 0
        self.last = ""
        self.listener = _listen(directory)

    def run(self, adopted: int) -> None:
        """Until the first descriptor polls as an error, or `end` is asked for."""
        if adopted:
            with contextlib.suppress(ProcessLookupError):
                self.current = Program(adopted, None)
        while True:
            if not self.current and time.monotonic() >= self.due:
                if self.over():
                    return
                self.promote()
            self.keep_spare()
            for ready in self.wait():
                if ready == self.listener.fileno():
                    self.serve_one()
                else:
                    self.notice(ready)
            if self.current and self.current.asked_to_stop:
                self.hasten(self.current)

    def over(self) -> bool:
        """Whether there is nothing left to work on."""
        poll = select.poll()
        poll.register(self.kept[0], 0)
        return bool(poll.poll(0))

    def wait(self) -> list[int]:
        """Descriptors something happened to, or none when it is time to act."""
        poll = select.poll()
        poll.register(self.listener, select.POLLIN)
        for program in (self.current, self.next):
            if program:
                poll.register(program.pidfd, select.POLLIN)
                if program.gate and program.state != "serving":
                    poll.register(program.gate, select.POLLIN)
        return [descriptor for descriptor, _ in poll.poll(self.patience())]

    def patience(self) -> float | None:
        """Milliseconds until there is something to do unasked."""
        now = time.monotonic()
        if not self.current:
            return max(0.0, self.due - now) * 1000
        if self.current.asked_to_stop:
            return 100.0
        if self.spare and not self.next and self.current.state == "serving":
            return max(0.0, self.spare_due - now) * 1000 + 1
        return None

    def keep_spare(self) -> None:
        """Have a successor stand ready, once the program at work has settled."""
        serving = self.current is not None and self.current.state == "serving"
        if self.spare and serving and not self.next and time.monotonic() >= self.spare_due:
            self.spare_due = time.monotonic() + _STOP_SECONDS  # should this one come to nothing
            with contextlib.suppress(OSError):
                self.next = self.start()

    def promote(self) -> None:
        """Make the successor that stands ready the program at work, or start one."""
        program, self.next = self.next, None
        if program is None:
            try:
                program = self.start()
            except OSError as error:
                self.failed(f"cannot start: {error}")
                return
        self.current = program
        program.began = time.monotonic()
        program.begin()

    def start(self) -> Program:
        """A new program that waits at its gate."""
        ours, theirs = socket.socketpair()
        with ours as mine, theirs:
            keep = [*self.kept, theirs.fileno()]
            numbers = ",".join(str(number) for number in self.kept)
            argv = [*self.argv, self.directory, numbers, str(theirs.fileno())]
            environment = dict(os.environ)
            if self.root:
                environment["PYTHONPATH"] = self.root
            log = _log(self.directory)
            try:
                actions = [(os.POSIX_SPAWN_DUP2, log, 1), (os.POSIX_SPAWN_DUP2, log, 2)]
                actions += [(os.POSIX_SPAWN_DUP2, number, number) for number in keep]
                pid = os.posix_spawn(argv[0], argv, environment, file_actions=actions)
            finally:
                os.close(log)
            self.starts += 1
            return Program(pid, socket.socket(fileno=mine.detach()))

    def notice(self, descriptor: int) -> None:
        """Something happened to a program: it said something, or it ended."""
        for program in (self.current, self.next):
            if program is None:
                continue
            if program.gate and descriptor == program.gate.fileno():
                self.heard(program)
                return
            if descriptor == program.pidfd:
                self.gone(program)
                return

    def heard(self, program: Program) -> None:
        """The program said something through its gate, or closed it."""
        said = b""
        with contextlib.suppress(OSError):
            said = program.gate.recv(16) if program.gate else b""
        if said.endswith(b"s"):
            program.state = "serving"
            self.spare_due = time.monotonic() + _SPARE_SECONDS
            if time.monotonic() - program.began < _QUICK_SECONDS * 10:
                self.failures = 0
        elif said:
            program.state = "ready"
            if program is self.next and self.current and program.takes_over:
                self.current.asked_to_stop = time.monotonic()
                self.current.kill(signal.SIGTERM)
        elif program.gate:  # it closed its end, and will end or has forgotten it
            program.gate.close()
            program.gate = None

    def gone(self, program: Program) -> None:
        """The program ended."""
        lived = time.monotonic() - program.began
        served = program.state == "serving"
        code = program.ended()
        if program is self.next:
            self.next = None
            self.last = f"the successor ended with {code} before it began"
            return
        self.current = None
        self.due = time.monotonic()
        if code in (0, HANDED_OVER) or code < 0:
            self.last = f"ended with {code}"
            if not served and lived < _QUICK_SECONDS:
                self.failed(f"ended with {code} before it served")
        else:
            self.failed(f"failed with {code} after {lived:.1f} s")

    def failed(self, why: str) -> None:
        """It did not come to serve; the next start waits longer."""
        self.last = why
        self.failures += 1
        self.due = time.monotonic() + _DELAYS[min(self.failures - 1, len(_DELAYS) - 1)]

    def hasten(self, program: Program) -> None:
        """A program that does not stop when asked is killed: that loses nothing."""
        if time.monotonic() - program.asked_to_stop > _STOP_SECONDS:
            program.kill(signal.SIGKILL)

    def serve_one(self) -> None:
        """Answer one caller, who must be quick."""
        with contextlib.suppress(OSError, ValueError, TypeError):
            connection, _ = self.listener.accept()
            with connection:
                connection.settimeout(_ANSWER_SECONDS)
                request = json.loads(connection.recv(65536))
                answer = self.obey(request)
                connection.send(json.dumps(answer).encode() + b"\n")
                if request.get("verb") == "end":
                    self.end()

    def obey(self, request: dict[str, Any]) -> dict[str, Any]:
        if request["verb"] == "upgrade":
            if self.next:
                self.next.kill(signal.SIGKILL)
                self.next.ended()
                self.next = None
            self.argv = [str(word) for word in request.get("argv") or self.argv]
            self.root = request.get("root") or self.root
            self.next = self.start()
            self.next.takes_over = True
        return {
            "pid": os.getpid(),
            "directory": self.directory,
            "server": self.current.pid if self.current else 0,
            "state": self.current.state if self.current else "none",
            "next": self.next.pid if self.next else 0,
            "starts": self.starts,
            "failures": self.failures,
            "last": self.last,
        }

    def end(self) -> NoReturn:
        """Kill what runs and end: with the last descriptor gone the kernel gives up waiting."""
        for program in (self.next, self.current):
            if program:
                program.kill(signal.SIGKILL)
                program.ended()
        os._exit(0)


def _listen(directory: str) -> socket.socket:
    """A socket in the directory, whatever its path's length."""
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    here = os.open(directory, os.O_PATH | os.O_DIRECTORY)
    try:
        path = f"/proc/self/fd/{here}/holder.sock"
        with contextlib.suppress(FileNotFoundError):
            os.unlink(path)
        listener.bind(path)
    finally:
        os.close(here)
    listener.listen(16)
    return listener


def _log(directory: str) -> int:
    """The file that programs complain into; when it is large, the one before it is dropped."""
    path = os.path.join(directory, "log")
    with contextlib.suppress(OSError):
        if os.path.getsize(path) > _LOG_BYTES:
            os.rename(path, path + ".1")
    return os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)


def _harden() -> None:
    """Be the last to be killed when memory runs out, as far as this process is allowed to."""
    for value in ("-1000", "-900", "-500", "0"):
        try:
            with open("/proc/self/oom_score_adj", "w") as file:
                file.write(value)
            return
        except OSError:
            continue


def main(arguments: Sequence[str]) -> None:
    """Become a daemon, take the lock, hold on."""
    directory, numbers, adopted, spare, *argv = arguments
    os.umask(0o077)
    lock = os.open(os.path.join(directory, "holder.lock"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC)
    fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    kept = [int(number) for number in numbers.split(",")]
    for number in kept:
        os.set_inheritable(number, False)
    holder = Holder(directory, kept, argv, spare=spare == "1")
    if os.fork():
        os._exit(0)
    os.chdir("/")
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGPIPE):
        signal.signal(number, signal.SIG_IGN)
    _harden()
    holder.run(int(adopted))
    os._exit(0)


if __name__ == "__main__":
    main(sys.argv[1:])
