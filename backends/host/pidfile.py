"""Processes that outlive this service: finding them again, and ending them for good."""

import contextlib
import os
import signal
import sys
from dataclasses import dataclass
from pathlib import Path

from backends.errors import HostError
from backends.host import tcp
from backends.host.waiting import wait_until

_END_SECONDS = 5.0


@dataclass(frozen=True)
class Daemon:
    """A process that wrote its pid to a file. A pid is used again after a while, so a process
    counts only if its command line names `mark`, something only this one was given."""

    pid_file: Path
    program: str
    mark: str

    def pid(self) -> int | None:
        """The live process; None when it has ended (a zombie has). A file that is gone, cannot be
        read or names another process proves nothing: then it is looked for among all."""
        with contextlib.suppress(OSError, ValueError):
            if self._is(written := int(self.pid_file.read_text())):
                return written
        numbers = (int(entry) for entry in os.listdir("/proc") if entry.isdigit())
        return next((number for number in numbers if self._is(number)), None)

    def _is(self, pid: int) -> bool:
        try:
            words = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
        except OSError:
            return False
        return words[0] == self.program.encode() and os.fsencode(self.mark) in words

    def alive(self) -> bool:
        """Whether it runs, or is stopped by a signal."""
        return self.pid() is not None

    def silence(self) -> "Silenced":
        """Stop it, so that it sends nothing any more. Ended: `Silenced.kill` does nothing."""
        pid = self.pid()
        if pid is None:
            return Silenced(self, None)
        sys.audit("kedge.daemon.silence", pid)
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGSTOP)
        return Silenced(self, pid)


@dataclass(frozen=True)
class Silenced:
    """A stopped process."""

    daemon: Daemon
    pid: int | None

    def kill(self) -> None:
        """End it, and its TCP connections with it: what the kernel still holds to be sent is
        thrown away. HostError, with the process ended, when the kernel refuses that."""
        if self.pid is None:
            return
        refused = ""
        try:
            tcp.destroy_all(self.pid)
        except OSError as error:
            refused = error.strerror or str(error)
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.pid, signal.SIGKILL)
        if not wait_until(lambda: not self.daemon.alive(), _END_SECONDS):
            raise HostError(f"process {self.pid} ({self.daemon.mark}) does not end")
        if refused:
            raise HostError(
                f"process {self.pid} was killed, but its connections could not be reset "
                f"({refused}): bytes that wait in this machine's kernel may still be sent; the "
                "service needs CAP_NET_ADMIN and a kernel with INET_DIAG_DESTROY"
            )
