"""One volume's data path on this node, as the service sees it: start, find again, end.

    DIRECTORY/            0700, named by the volume's uuid, below the profile's state directory
      disk.json           how a server makes its device
      UUID.fuse/          mount point; the file `disk` in it is the disk
      holder.sock .lock   the holder, and that there is one
      server.sock .lock   the server of the moment, and that there is one
      log                 what they complain about

What is true is read from the kernel and the sockets, never from memory: any service process, also
one that has just started, sees the same. There are four cases, and `open` makes the first of all:

    holder and server live, mounted      it works: used as it is
    server lives, holder does not        a new holder is given the descriptors by the server
    neither lives, still mounted         the kernel has cut it off: cleared away, made anew
    holder lives, not mounted            it ends by itself: waited for, then made anew
"""

import os
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from backends.disk.fuse import control, ring, wire
from backends.disk.serve import CONFIG, LOCK, Config
from backends.errors import HostError, InUse, Unavailable
from backends.host import daemons, files, fuse, locks, mounts, targets
from backends.host.bounded import Bounded
from backends.host.daemons import Held
from backends.host.failures import explained
from backends.host.locks import locked
from backends.host.waiting import moment, wait_until

_LOCK_SECONDS = 10.0
_ASK_SECONDS = 5.0
_GIVE_UP = 4
"""Starts in a row that came to nothing, after which a new data path is given up."""
_KEPT = 3
_SERVER = "backends.disk.serve"


@dataclass(frozen=True)
class DataPath:
    """`name` is shown in the mount table. Methods may be called by several processes at once."""

    directory: Path
    name: str
    spare: bool = True
    """Whether a second server stands ready to take over at once; it costs its memory."""

    @property
    def point(self) -> Path:
        """Where the FUSE file system is mounted. Named by the volume, so that the end of the path
        of a loop device's file tells whose it is without asking a server that may hang."""
        return self.directory / f"{self.directory.name}.fuse"

    @property
    def file(self) -> Path:
        """The disk, while the data path is open."""
        return self.point / os.fsdecode(wire.NAME)

    @property
    def _lock(self) -> Path:
        return self.directory / LOCK

    def open(self, config: Config, seconds: float) -> None:
        """Make the data path work: start it, adopt it or leave it. A config that differs from the
        one it runs with takes effect with the next server. HostError, with the server's words,
        when no server comes up; Unavailable when it does not serve within `seconds`."""
        files.make_directory(self.directory, 0o700)
        with locked(self.directory / "open.lock", _LOCK_SECONDS):
            files.replace(self.directory / CONFIG, config.to_json().encode())
            if self._adopted():
                self._await_service(seconds)
                return
            self._require_gone(seconds)
            self.clear(seconds)
            self._start()
            try:
                self._await_service(seconds, _GIVE_UP)
            except HostError:
                self.clear(seconds)
                raise

    def alive(self) -> bool:
        """Whether the connection to the kernel stands: requests are answered, or will be when a
        server that died has been started again. Also False while nothing is mounted."""
        if fuse.connection(self.point) is None:
            return False
        try:
            return self.held() is not None or locks.owner(self._lock) != 0
        except Unavailable:
            return True

    def held(self) -> Held | None:
        """What the holder says; None when there is none. Unavailable when it says nothing."""
        return daemons.held(self.directory)

    def adopt(self) -> bool:
        """Give a server whose holder was killed a new one. False: there is nothing to adopt."""
        with locked(self.directory / "open.lock", _LOCK_SECONDS):
            return self._adopted()

    def call(self, verb: str, arguments: dict[str, Any] | None = None, *, seconds: float) -> Any:
        """Ask the server (see `control`)."""
        return control.call(self.directory, verb, arguments, seconds=seconds)

    def upgrade(self, seconds: float) -> Held:
        """Put a server of this program's version in the place of the running one, without a gap.
        HostError when the new one does not come up: the old one goes on."""
        return daemons.upgrade(self.directory, daemons.python(_SERVER), seconds)

    def resize(self, size: int, seconds: float) -> None:
        """Grow the disk to `size` bytes; the file shows it when this returns."""
        self.call("resize", {"size": size}, seconds=seconds)
        with explained(f"read the size of {self.file}"):
            found = os.stat(self.file).st_size
        if found != size:
            raise HostError(f"{self.file} shows {found} bytes after it was grown to {size}")

    def close(self, seconds: float) -> None:
        """Unmount, and wait until the server has let go of its device. Not open: does nothing.
        InUse while something has the file open; Unavailable when the server needs longer: the
        call may be repeated."""
        if not self.directory.is_dir():
            return
        if fuse.connection(self.point) is not None:
            with fuse.severing(self.point) as sever:
                self._unmount(seconds)
                sever()  # a copy of the mount in another namespace would keep it alive
        if not self._gone(seconds):
            raise Unavailable(
                f"the data path of {self.name} is unmounted and not yet done after "
                f"{seconds:.0f} s; it goes on, try again"
            )
        self.clear(seconds)

    def abort(self) -> None:
        """Cut the connection off at once: whoever uses the files gets errors from now on. Neither
        open nor there: does nothing. The mount stays until `clear` or `close`."""
        with fuse.severing(self.point) as sever:
            sever()

    def clear(self, seconds: float) -> None:
        """Take away everything of a data path, dead or alive, within about `seconds`: what was
        not written is lost to the files above (not to the device). Unavailable when a process
        could not be ended."""
        self.abort()
        while fuse.connection(self.point) is not None:
            mounts.unmount(self.point, lazily=True)
        if not daemons.end(self.directory, seconds) or not locks.kill_owner(self._lock, seconds):
            raise Unavailable(f"the processes of {self.name} do not end; see {self.directory}/log")
        targets.clear(self.point)
        (self.directory / control.SOCKET).unlink(missing_ok=True)

    def _require_gone(self, seconds: float) -> None:
        """A holder without a mount still lets its server finish: that must not be cut short."""
        if fuse.connection(self.point) is None and not self._gone(seconds):
            raise Unavailable(
                f"the last data path of {self.name} is unmounted and not yet done; try again"
            )

    def _adopted(self) -> bool:
        """Whether a working data path stands after this call."""
        if fuse.connection(self.point) is None:
            return False
        if self.held() is not None:
            return True
        if locks.owner(self._lock) == 0:
            return False
        pid, kept = control.descriptors(self.directory, _KEPT, _ASK_SECONDS)
        try:
            if fuse.is_over(kept[0]):
                return False
            daemons.hold(self.directory, kept, daemons.python(_SERVER), spare=self.spare, adopt=pid)
        finally:
            for descriptor in kept:
                os.close(descriptor)
        return True

    def _start(self) -> None:
        """Mount, then start who will serve. A crash in between closes the only descriptor, and
        the kernel cuts the connection off: nothing can hang."""
        with control.listen(self.directory) as listener, targets.prepared(self.point):
            kept = [fuse.open_device(), ring.make(connection=moment()), listener.fileno()]
            try:
                fuse.mount(kept[0], self.point, f"kedge:{self.name}")
                daemons.hold(self.directory, kept, daemons.python(_SERVER), spare=self.spare)
            except BaseException:
                os.close(kept[0])
                kept[0] = -1
                self.clear(_ASK_SECONDS)
                raise
            finally:
                for descriptor in kept[:2]:
                    if descriptor >= 0:
                        os.close(descriptor)

    def _gone(self, seconds: float) -> bool:
        """Wait until neither holder nor server lives, for each so long. A server may outlive its
        holder, and then still works on the device: there must never be a second one."""
        return daemons.wait_gone(self.directory, seconds) and wait_until(
            lambda: locks.owner(self._lock) == 0, seconds
        )

    def _await_service(self, seconds: float, patience: int = sys.maxsize) -> None:
        """Wait until a server serves. HostError after `patience` starts that came to nothing."""

        def serving() -> bool:
            found = self.held()
            if found is None:
                raise HostError(f"the data path of {self.name} ended: {self._words()}")
            if found.failures >= patience:
                raise HostError(
                    f"the data path of {self.name} cannot start ({found.last}): {self._words()}"
                )
            return found.state == "serving"

        if not wait_until(serving, seconds):
            raise Unavailable(
                f"the data path of {self.name} does not serve after {seconds:.0f} s: "
                f"{self._words()}"
            )

    def _words(self) -> str:
        return daemons.tail(self.directory)

    def _unmount(self, seconds: float) -> None:
        try:
            Bounded(lambda: mounts.unmount(self.point)).result(
                seconds, Unavailable(f"{self.point} cannot be unmounted within {seconds:.0f} s")
            )
        except OSError as error:
            raise InUse(f"{self.point} is in use: {error.strerror}") from error
