"""Dying between any two steps: every effect on storage, kernel and ledger is a place to die at."""

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from driver.ledger_file import LedgerFile
from driver.lifecycle import State, check
from tests.simulated import Node

ID = "a" * 64
OTHER = "b" * 64
MEMORY = Path("/dev/shm")


class Dead(BaseException):
    """The service was killed. Not an Exception: nothing may catch it and go on."""


class Death:
    """Watches the effects of a node's present service and kills it before the one numbered `at`;
    a dead service has no effects."""

    def __init__(self, node: Node, at: int | None = None) -> None:
        self.effects: list[str] = []
        self.dead = False
        self._at = at
        for world in node.worlds.values():
            world.effect = self.effect
        if node.ledger._file is not None:
            self._watch(node.ledger._file)

    def effect(self, what: str) -> None:
        """Something is about to change."""
        self.dead = self.dead or len(self.effects) == self._at
        if self.dead:
            raise Dead(what)
        self.effects.append(what)

    def _watch(self, file: LedgerFile) -> None:
        real = file.put

        def put(rows: Any) -> None:
            self.effect(f"write {', '.join(rows)} into the ledger")
            real(rows)
            self.effect("go on after the ledger was written")

        file.put = put  # type: ignore[method-assign]


@contextmanager
def place() -> Iterator[Path]:
    """A directory for one history."""
    home = Path(tempfile.mkdtemp(prefix="kedge-", dir=MEMORY if MEMORY.is_dir() else None))
    try:
        yield home
    finally:
        shutil.rmtree(home, ignore_errors=True)


def disagreements(node: Node) -> Iterator[str]:
    """Where ledger and kernel contradict each other, or the ledger itself."""
    rows = node.ledger.promises()
    for target, mount in node.kernel.mounts.items():
        row = rows.get(target.name)
        if row is None:
            yield f"{target.name} is mounted without a record"
        elif row.uuid != mount.uuid:
            yield f"the record of {target.name} is of another volume than its mount"
    for name, row in rows.items():
        yield from (f"{name}: {broken}" for broken in check(row.entry))
        shown = node.kernel.mounts.get(node.paths.mounts / name)
        if row.entry.state is State.ATTACHED and (shown is None or shown.uuid != row.uuid):
            yield f"{name} is said to be attached and is not"
        if row.claim is not None:
            holder = node.volumes.owners[row.profile].claims.holder(row.uuid)
            if holder is None or (holder.epoch, holder.node) != (row.claim.epoch, node.name):
                yield f"{name} is recorded under a claim that this node does not have"


def at_rest(node: Node) -> None:
    """Every process ends, time passes; nothing may stay attached, and another node may have all."""
    node.kernel.occupants.clear()
    node.rounds(330, every=5)
    assert node.kernel.mounts == {}
    assert node.ledger.promises() == {}
    other = Node(node.paths.data / "other", list(node.names), name="other", beside=node)
    for view in other.volumes.list():
        other.volumes.mount(view.name, ID)
        assert other.mounted(view.name)
        other.volumes.unmount(view.name, ID)
