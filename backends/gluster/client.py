"""One FUSE client: a process of glusterfs(8), and the one mount it serves.

The process is started by us but is nobody's child: it lives until its file system is unmounted
everywhere, so containers keep their files while this service restarts. `mount -t glusterfs` is a
shell script around the same program that refuses to mount where a dead client still is, and
answers 0 when nothing was mounted; so the program is called directly, and what it did is read from
the kernel.
"""

import contextlib
import errno
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from backends.errors import HostError, KedgeError, Unavailable
from backends.gluster import answering
from backends.gluster.in_time import in_time
from backends.gluster.options import Servers
from backends.host import files, fusectl, immutable, mountinfo, mounts, programs, targets
from backends.host.pidfile import Daemon
from backends.host.waiting import wait_until

TYPE = "fuse.glusterfs"
_PROGRAM = "glusterfs"
_WORDS = 400
_UNHEARD = 10.0
"""How long a client waits for a brick of which it hears nothing, not even a refusal, before it
begins without it. Gluster's own number."""


@dataclass(frozen=True)
class Export:
    """A Gluster volume, as clients ask for it. Always the whole of it: a client of a subdirectory
    ends itself, with everything that is mounted from it, when a brick comes back that was away
    while the subdirectory was made."""

    servers: Servers
    volume: str

    def shown_by(self, mount: mountinfo.Mount) -> bool:
        """Whether a mount comes from this Gluster volume, through whatever server."""
        return mount.type == TYPE and mount.source.partition(":")[2] == f"/{self.volume}"

    def __str__(self) -> str:
        return f"GlusterFS {self.servers}:/{self.volume}"


@dataclass(frozen=True)
class Client:
    """Where one client is mounted, and what it leaves beside that: `<point>.pid`, `<point>.log`.
    `point` is ours alone; containers see a bind of what lies below."""

    export: Export
    point: Path
    options: Sequence[str] = ()
    seconds: float = 10.0

    @property
    def daemon(self) -> Daemon:
        """The process."""
        return Daemon(self._beside("pid"), _PROGRAM, self._where)

    def mount(self, table: Sequence[mountinfo.Mount] | None = None) -> mountinfo.Mount | None:
        """What is mounted at `point`, of whatever make; now, unless a table is given."""
        return mountinfo.top(mountinfo.read() if table is None else table, self._where)

    def usable(self, table: Sequence[mountinfo.Mount] | None = None) -> bool:
        """Whether it is mounted and its process lives. Asks nothing of the pool."""
        mount = self.mount(table)
        return mount is not None and self.export.shown_by(mount) and self.daemon.alive()

    def start(self) -> None:
        """Mount it; usable already: does nothing. A dead one is cut off for good before.

        Unavailable when the pool does not let us in in time; then nothing is mounted.
        """
        if self.usable():
            return
        self.cut_off()
        self._take_off()
        files.make_directory(self.point.parent, 0o700)
        targets.make(self.point)
        immutable.protect(self.point)
        try:
            self._run()
            self._prove()
        except BaseException:
            with contextlib.suppress(KedgeError, OSError):
                self.stop()
            raise

    def stop(self) -> None:
        """Unmount it here. The process ends with the last mount of it anywhere. Not mounted: does
        nothing."""
        mounted = self.mount() is not None
        self._take_off()
        if not mounted or wait_until(lambda: not self.daemon.alive(), 2.0):
            for end in ("pid", "log"):
                self._beside(end).unlink(missing_ok=True)

    def cut_off(self) -> None:
        """Make sure that nothing is written through it any more, by anybody on this machine, at
        once and without asking the pool. What it had not sent is lost. Dead: does nothing."""
        silenced = self.daemon.silence()
        mount = self.mount()
        if mount is not None and mount.type == TYPE:
            fusectl.abort(mount.device)
        silenced.kill()

    def _run(self) -> None:
        found = answering.first(self.export.servers, self._port())
        servers = [f"--volfile-server={server}" for server in found]
        command = [_PROGRAM, *servers, f"--volfile-id=/{self.export.volume}"]
        command += [f"--pid-file={self._beside('pid')}", f"--log-file={self._beside('log')}"]
        if not any(option.startswith("--log-level=") for option in self.options):
            command.append("--log-level=WARNING")
        command += ["--process-name=fuse", *self.options, self._where]
        self._beside("log").unlink(missing_ok=True)
        try:
            programs.run(command, seconds=self.seconds + _UNHEARD)
        except HostError as error:
            if "not installed" in error.message:
                raise
            self.cut_off()
            raise self._refused() from error

    def _port(self) -> int:
        """Where servers are asked: another one than the usual may be among the options."""
        options = dict(option.partition("=")[::2] for option in self.options)
        return int(options.get("--volfile-server-port", answering.PORT))

    def _prove(self) -> None:
        """A client that is refused mounts, and unmounts itself a moment later; the first answer
        of the pool comes after that decision. It may be the first to wait for a silent brick."""
        limit = self.seconds + _UNHEARD
        try:
            in_time(str(self.export), limit, lambda: os.stat(self.point).st_ino)
        except OSError as error:
            raise self._refused() from error
        if not self.usable():
            raise self._refused()

    def _refused(self) -> Unavailable:
        """Why not, in the client's own words."""
        try:
            lines = self._beside("log").read_text(errors="replace").splitlines()
        except OSError:
            lines = []
        said = [line.partition("] ")[2] for line in lines if "] E [" in line]
        words = f": {said[-1][-_WORDS:]}" if said else ""
        return Unavailable(f"{self.export} cannot be mounted{words}")

    def _take_off(self) -> None:
        """Unmount everything from `point`, and remove it."""
        if not self.point.parent.is_dir():
            return
        while self.mount() is not None:
            try:
                mounts.unmount(self.point, lazily=True)
            except OSError as error:
                if error.errno != errno.EINVAL:  # it went by itself
                    raise
        immutable.release(self.point)
        targets.clear(self.point)

    @property
    def _where(self) -> str:
        """`point` as the kernel spells it, without a look at what is mounted there."""
        return os.path.join(os.path.realpath(self.point.parent), self.point.name)

    def _beside(self, end: str) -> Path:
        return self.point.with_name(f"{self.point.name}.{end}")
