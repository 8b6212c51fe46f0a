"""Looking over and carrying away the volumes of an s3 profile: from the bucket, and what a fenced
node has kept."""

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Executor, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from backends.base import Finding, Volume
from backends.disk.core.coding import Coder
from backends.disk.core.head import Head, State
from backends.disk.inspection import exporting
from backends.disk.inspection.checking import Inspector
from backends.disk.inspection.peeking import peek
from backends.disk.inspection.salvaging import Unreadable, salvage
from backends.disk.log.locallog import LocalLog, binding_of
from backends.disk.log.logfiles import LogFiles
from backends.disk.log.orphaned import Branch, Unchanged, branch, branch_name, orphan_name
from backends.disk.unlocking import coder_of
from backends.errors import Damaged, InUse, NotFound, Unavailable
from backends.host.failures import explained
from backends.inspection import Exported, Orphan, Progress, Sink
from backends.s3.disks import Disks, allocated
from backends.s3.options import S3Options

_THREADS = 6
_PATIENCE = 3


@dataclass(frozen=True)
class Inspection:
    """Only reads."""

    disks: Disks

    def fsck(self, volume: Volume[S3Options], progress: Progress) -> Sequence[Finding]:
        """See Checkable."""
        uuid = volume.uuid
        with _threads() as pool:
            coder = self._coder(self.disks.heads.read(uuid))
            read: Callable[[], Head] = lambda: self.disks.heads.read(uuid)  # noqa: E731
            return Inspector(self.disks.store, read, coder, _wait, pool).check(progress)

    def export(
        self, volume: Volume[S3Options], snapshot: str | None, to: Sink, progress: Progress
    ) -> Exported:
        """See Exportable. InUse: it was not closed, so its last writes may be on a node only."""
        head = self.disks.heads.read(volume.uuid)
        if snapshot is None and head.state is State.ATTACHED:
            raise InUse(
                f"volume {volume.name} was not closed by node {head.node}: mount and unmount it "
                "first, or export a snapshot"
            )
        view = peek(self.disks.store, head, self._coder(head), _wait, snapshot=snapshot)
        with _threads() as pool:
            size = exporting.export(self.disks.store, view, to, progress, wait=_wait, pool=pool)
        return Exported("disk", size)

    def export_damaged(
        self, volume: Volume[S3Options], snapshot: str | None, to: Sink, progress: Progress
    ) -> Exported:
        """See Salvageable. Also of a volume that was not closed: it cannot be, without its log."""
        store, head = self.disks.store, self.disks.heads.read(volume.uuid)
        coder, unreadable = self._coder(head), Unreadable()
        if snapshot is None:
            salvaged = salvage(store, head, coder, _wait)
            view, lost = salvaged.view, [*_unclosed(head), *salvaged.lost()]
        else:
            view, lost = peek(store, head, coder, _wait, snapshot=snapshot), []
        with _threads() as pool:
            size = exporting.export(
                *(store, view, to, progress), wait=_wait, pool=pool, unreadable=unreadable
            )
        return Exported("disk", size, (*lost, *unreadable.lost()))

    def orphans(self, volume: Volume[S3Options]) -> Sequence[Orphan]:
        """See Orphans."""
        with explained(f"look for orphans of {volume.name}"):
            kept = [_orphan(name, path) for name, path in self._kept(volume.uuid).items()]
            return sorted(kept, key=lambda one: (one.kept, one.name))

    def export_orphan(
        self, volume: Volume[S3Options], name: str, to: Sink, progress: Progress
    ) -> Exported:
        """See Orphans."""
        path = self._kept(volume.uuid).get(name)
        if path is None:
            raise NotFound(f"this node has no orphan {name} of {volume.name}; see kedge orphans")
        files = LogFiles(path)
        try:
            found = self._branch(volume.uuid, path, files)
            with _threads() as pool:
                size = exporting.export(
                    *(self.disks.store, found.view, to, progress),
                    wait=_wait,
                    pool=pool,
                    over=found.over,
                    unsent=lambda dirty: found.log.read(dirty.position, 4096),
                )
        finally:
            files.close()
        return Exported("disk" if found.whole else "blocks", size)

    def _branch(self, uuid: str, path: Path, files: LogFiles) -> Branch:
        head, binding = self.disks.heads.read(uuid), binding_of(files, uuid)
        if binding is None:
            raise Damaged(f"the orphan in {path} does not say whose it is")
        coder = self._coder(head)
        return branch(self.disks.store, head, coder, _wait, files=files, binding=binding)

    def _coder(self, head: Head) -> Coder:
        return coder_of(head, self.disks.keys)

    def _kept(self, uuid: str) -> dict[str, Path]:
        """Where the orphans of a volume are, by name."""
        directory = self.disks.directory(uuid)
        found = {
            path.name.removeprefix(orphan_name("")): path
            for path in directory.glob(orphan_name("*"))
        }
        try:
            name = self._passed_by(uuid, directory / "log")
        except (Damaged, Unavailable):
            if not found:
                raise
            return found  # those that have a place of their own are none the worse for it
        return {**found, name: directory / "log"} if name else found

    def _passed_by(self, uuid: str, log: Path) -> str:
        """The name that this node's local log will get when the disk is opened here next, because
        another node has taken it since; empty when it will not be an orphan."""
        if not log.is_dir():
            return ""
        files = LogFiles(log)
        try:
            binding = binding_of(files, uuid)
            if binding is None:
                return ""
            head = self.disks.heads.read(uuid)
            if head.session == binding.session or head.node == self.disks.context.node:
                return ""
            kept = LocalLog(Unchanged(files), binding, 1).holds_unsent()
        finally:
            files.close()
        return branch_name(binding) if kept else ""


def _unclosed(head: Head) -> list[str]:
    if head.state is not State.ATTACHED:
        return []
    return [
        f"node {head.node} did not close the volume: what it had not sent is not in it; "
        "`kedge orphans` there lists it once another node has had the volume"
    ]


def _orphan(name: str, path: Path) -> Orphan:
    kept = datetime.fromtimestamp(path.stat().st_mtime, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    return Orphan(name, kept, allocated(path))


@contextmanager
def _threads() -> Iterator[Executor]:
    pool = ThreadPoolExecutor(_THREADS, thread_name_prefix="inspect")
    try:
        yield pool
    finally:
        pool.shutdown(cancel_futures=True)


def _wait(count: int) -> None:
    """The store has been asked several times already for each of these."""
    if count >= _PATIENCE:
        raise Unavailable("the store does not answer; try again")
