"""A box for real daemons: own mounts, own process ids, own host name, own /run.

    box = Namespace("node-a")
    box.run(["mount", ...])              # waits, raises with stderr
    daemon = box.spawn(["dockerd", ...]) # daemon.pid is the machine's pid; daemon.kill(SIGKILL)
    box.close()                          # every process and every mount in it is gone

The first process of the box only reaps, and leaves when this process closes its pipe or dies: the
kernel then kills everything in the box and drops its mounts. Inside, `/` is shared as systemd
makes it on an ordinary machine, but nothing propagates to the machine itself.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import IO

FIRST = """
import os, select, signal, sys
signal.signal(signal.SIGCHLD, lambda *_: None)
woken, wake = os.pipe()
os.set_blocking(wake, False)
signal.set_wakeup_fd(wake)
print("ready", flush=True)
poll = select.poll()
poll.register(0, select.POLLIN)
poll.register(woken, select.POLLIN)
while True:
    ready = [file for file, _ in poll.poll()]
    if woken in ready:
        os.read(woken, 4096)
    try:
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass
    except ChildProcessError:
        pass
    if 0 in ready and not os.read(0, 1):
        sys.exit(0)
"""
SETUP = 'mount --make-rshared / && mount -t tmpfs -o mode=755 tmpfs /run && exec "$@"'


class Failed(RuntimeError):
    """A program ended with an error; `status` and `output` (both streams) say how."""

    def __init__(self, argv: Sequence[str], status: int, output: str) -> None:
        super().__init__(f"{' '.join(argv)}: status {status}: {output.strip()}")
        self.status = status
        self.output = output


def run(argv: Sequence[str], *, seconds: float = 60, data: str | None = None) -> str:
    """What the program printed on stdout; Failed if it ended with an error."""
    done = subprocess.run(argv, input=data, capture_output=True, text=True, timeout=seconds)
    if done.returncode:
        raise Failed(argv, done.returncode, done.stderr + done.stdout)
    return done.stdout


class Daemon:
    """A long-running program in a box. `pid` is the machine's number for it."""

    def __init__(self, entry: subprocess.Popen[bytes]) -> None:
        self._entry = entry
        self.pid = _only_child(entry)

    def kill(self, number: signal.Signals) -> None:
        """Send a signal; a program that has ended already is no error."""
        if self.alive():
            os.kill(self.pid, number)

    def wait(self, seconds: float = 30) -> int:
        """The exit status, negative for a signal's number."""
        status = self._entry.wait(seconds)
        return 128 - status if status > 128 else status

    def alive(self) -> bool:
        return self._entry.poll() is None


class Namespace:
    def __init__(self, hostname: str, network: str = "") -> None:
        """`network`: the name of a network namespace to live in; by default the machine's own."""
        self._network = ["-n"] if network else []
        unshare = [
            "unshare",
            "-m",
            "-p",
            "-u",
            "--fork",
            "--mount-proc",
            "--propagation",
            "private",
        ]
        first = ["sh", "-c", f"hostname {hostname} && {SETUP}", "sh", sys.executable, "-Sc", FIRST]
        self._first = subprocess.Popen(
            [*_inside(network), *unshare, *first], stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )
        assert self._first.stdout is not None
        if self._first.stdout.readline() != b"ready\n":
            raise RuntimeError(f"no namespaces for {hostname}: are you root?")
        self.pid = _only_child(self._first)
        self._entries: list[subprocess.Popen[bytes]] = []

    def _enter(self, argv: Sequence[str]) -> list[str]:
        return ["nsenter", "-t", str(self.pid), "-m", "-p", "-u", *self._network, "--", *argv]

    def run(self, argv: Sequence[str], *, seconds: float = 60, data: str | None = None) -> str:
        return run(self._enter(argv), seconds=seconds, data=data)

    def spawn(
        self, argv: Sequence[str], *, log: IO[bytes], env: dict[str, str] | None = None
    ) -> Daemon:
        """Start a program whose two streams go to `log`; `env` is added to the environment."""
        whole = os.environ | (env or {})
        entry = subprocess.Popen(
            self._enter(argv), stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=whole
        )
        self._entries.append(entry)
        return Daemon(entry)

    def path(self, inside: str) -> Path:
        """How a path of the box is reached from outside."""
        return Path(f"/proc/{self.pid}/root{inside}")

    def processes(self) -> dict[int, str]:
        """The box's processes but the first, by the machine's pid, with their command lines."""
        mine = os.readlink(f"/proc/{self.pid}/ns/pid")
        found = {}
        for entry in Path("/proc").glob("[0-9]*"):
            try:
                if os.readlink(entry / "ns/pid") == mine and int(entry.name) != self.pid:
                    found[int(entry.name)] = (
                        (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode()
                    )
            except OSError:
                continue
        return {pid: line for pid, line in found.items() if line}

    def wake(self) -> None:
        """An nsenter stops when what it has started is stopped, and goes on for itself only; as
        long as it stands still, nobody takes note of a daemon's end, and the box never ends."""
        for entry in self._entries:
            entry.send_signal(signal.SIGCONT)

    def close(self) -> None:
        """End everything in the box. Repeating it is no error."""
        assert self._first.stdin is not None
        assert self._first.stdout is not None
        self.wake()
        self._first.stdin.close()
        try:
            self._first.wait(10)
        except subprocess.TimeoutExpired:
            with suppress(ProcessLookupError):
                os.kill(self.pid, signal.SIGKILL)
            self._await_end()
        self._first.stdout.close()
        for entry in self._entries:
            entry.wait(30)

    def _await_end(self) -> None:
        try:
            self._first.wait(60)
        except subprocess.TimeoutExpired:
            raise TimeoutError(f"the box does not end: {_states(_below(self.pid))}") from None


def _below(first: int) -> list[int]:
    """A process and all its descendants. Also the dead: a thread of theirs may be what hangs, and
    they are in no namespace any more."""
    parents = {}
    for entry in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            parents[int(entry.name)] = int(_stat(entry)[1])
    found = [first]
    for pid in found:
        found += [child for child, parent in parents.items() if parent == pid]
    return found


def _states(pids: Iterable[int]) -> str:
    """What each thread is doing, for people."""
    found = []
    for thread in (thread for pid in pids for thread in Path(f"/proc/{pid}/task").glob("*")):
        with suppress(OSError):
            name, state = (thread / "comm").read_text().strip(), _stat(thread)[0]
            calls = [line.split()[-1] for line in (thread / "stack").read_text().splitlines()]
            found.append(f"{thread.name} {name} {state} {' '.join(calls[:6])}")
    return "; ".join(found)


def _stat(process: Path) -> list[str]:
    """State, parent, and what follows them in its `stat`."""
    return (process / "stat").read_text().rsplit(")", 1)[1].split()


def _inside(network: str) -> list[str]:
    """`ip netns exec` would hide the cgroups from a dockerd."""
    return ["nsenter", f"--net=/run/netns/{network}"] if network else []


def _only_child(parent: subprocess.Popen[bytes]) -> int:
    children = Path(f"/proc/{parent.pid}/task/{parent.pid}/children")
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline:
        if found := children.read_text().split():
            return int(found[0])
        if parent.poll() is not None:
            raise Failed(parent.args, parent.returncode, "ended at once")  # type: ignore[arg-type]
        time.sleep(0.005)
    raise TimeoutError(f"{parent.args!r} has no child process")
