"""Invariants of a disk (docs/s3-failures.md), each broken on purpose, and the row of the failure
matrix that goes red. More of them are in test_world.py and in tests/sim."""

import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pytest

from backends.disk import opening
from backends.disk.collection import deletion
from backends.disk.core import coding, logformat
from backends.disk.core.blockmap import Stored
from backends.disk.core.commit import ObjectName
from backends.disk.core.head import Head, Heads, State
from backends.disk.core.tenure import Tenure
from backends.disk.engine import Disk, Durability
from backends.disk.journal import Journal
from backends.disk.log import locallog
from backends.disk.log.locallog import LocalLog
from backends.disk.reading import reader
from backends.disk.writing import shipping
from backends.disk.writing.shipping import Shipper
from backends.errors import Fenced, HostError, KedgeError, NoSpace
from tests.unit.disk import (
    test_failures,
    test_failures_local,
    test_failures_objects,
    test_failures_owners,
    test_failures_store,
    test_reopening,
)
from tests.unit.disk.site import Site, read, shipped
from tests.unit.disk.test_world import (
    limits_do_not_count,
    strict_reads_do_not_ask,
    what_was_found_is_young,
)
from tests.unit.disk.world import content, small_sizes


def torn_writes_count() -> Any:
    """What a power cut tore is taken for written, and what comes after it is shown without it."""
    real = logformat._decode

    def decode(*where: Any) -> Any:
        found = real(*where)
        return found and (found[0], found[1], True)

    return patch.object(logformat, "_decode", decode)


def holes_are_skipped() -> Any:
    """A record that is missing is taken for the end of the log."""
    return patch.object(Journal, "_beyond", lambda self, seq: False)


def store_flushes_do_not_wait() -> Any:
    """A flush to the store is confirmed when it is on this node."""
    return patch.object(Disk, "_dirty", lambda self: False)


def the_last_fence_follows_a_listing() -> Any:
    """Whoever deletes a disk makes the fence behind the records that are there, though the owner
    has collected later ones."""
    return patch.object(deletion, "max", lambda listed, checkpoint: listed, create=True)


def epochs_stay() -> Any:
    """A new owner writes under the epoch of the one before."""

    def take(self: Heads, uuid: str, *, claim: int, session: bytes, node: str) -> Head:
        def step(head: Head) -> Head:
            fields = {"session": session.hex(), "node": node, "state": State.ATTACHED}
            return replace(head, epoch=1 << 20, **fields)  # type: ignore[arg-type]

        return self._change(uuid, step)

    return patch.object(Heads, "take", take)


def names_repeat() -> Any:
    """Data objects of a session overwrite each other."""

    def name(self: Shipper) -> ObjectName:
        owner = self._journal.owner
        return ObjectName(owner.epoch, owner.session, 1)

    return patch.object(Shipper, "_name", name)


def reads_are_not_compared() -> Any:
    """What comes from the store is what it should be."""

    def block(body: reader.Body | None, stored: Stored) -> bytes | None:
        place = stored.place % coding.FRAME
        return bytes((body or b"")[place * 4096 : place * 4096 + 4096]).ljust(4096, b"\0")

    return patch.multiple(reader, _in=block, _right=lambda part, run: True)


def what_is_sent_is_not_compared() -> Any:
    """What the local log holds is what was written."""

    def blocks(self: Shipper, changes: Any, wanted: Any) -> Iterator[bytes]:
        for number in wanted:
            yield self._log.read(changes.blocks[number].position, 4096)

    return patch.object(shipping.Shipper, "_blocks", blocks)


def orphans_are_dropped() -> Any:
    """A log that the history has passed by is nothing to keep."""
    return patch.object(LocalLog, "holds_unsent", lambda self, upto=0: False)


def bindings_are_not_compared() -> Any:
    """A node that remembers a later epoch believes the bucket."""
    return patch.object(opening, "_check_not_older", lambda head, binding: None)


def _unbroken_by(kind: type[KedgeError]) -> Any:
    real = Disk._check

    def check(self: Disk) -> None:
        if not isinstance(self._broken, kind):
            real(self)

    return patch.object(Disk, "_check", check)


@contextmanager
def failed_syncs_are_forgotten() -> Iterator[None]:
    """The next flush simply tries again."""
    with ExitStack() as stack:
        stack.enter_context(_unbroken_by(HostError))
        stack.enter_context(patch.object(LocalLog, "check", lambda self: None))
        yield


def pages_are_believed() -> Any:
    """What reads right after a failed sync is on the disk."""
    return patch.object(LocalLog, "_write_again", lambda self: None)


def the_fenced_go_on() -> Any:
    """Who was fenced confirms what his own log holds."""
    return _unbroken_by(Fenced)


def a_full_log_is_an_error() -> Any:
    """A write that has no room fails."""

    def wait(self: Disk, length: int) -> None:
        if not self.parts.log.room(length):
            raise NoSpace("the log is full")

    return patch.object(Disk, "_wait_for_room", wait)


def a_full_disk_is_an_error() -> Any:
    """A file system that has no space for another file of the log stops the writer."""
    return patch.object(locallog, "suppress", lambda *errors: nullcontext())


def proofs_count_from_their_answer() -> Any:
    """That a record was accepted is taken for known as of its answer."""
    return patch.object(Tenure, "prove", lambda self, began: _prove(self, self.moment()))


_prove = Tenure.prove


def one_clock_is_enough() -> Any:
    """Only the clock is asked that goes on while the machine sleeps."""
    return patch.object(Tenure, "_since", lambda self, before: self.moment()[0] - before[0])


def everybody_asks() -> Any:
    """Whoever waits for an answer asks as well when it is there."""

    def assure(self: Tenure, ask: Callable[[], object]) -> None:
        ask()

    return patch.object(Tenure, "assure", assure)


def a_limit_is_an_error() -> Any:
    """A flush over what is too old fails."""

    def ship(self: Disk) -> None:
        raise HostError("the limit is reached")

    return patch.object(Disk, "_ship_exposed", ship)


def a_full_log_makes_writers_wait(site: Site) -> None:
    disk = site.open(site.node("one"), 1)
    while disk.parts.log.room(4096):
        site.write(disk, 3, 7)
    failed: list[KedgeError] = []

    def write() -> None:
        try:
            site.write(disk, 4, 8)
        except KedgeError as error:
            failed.append(error)

    writer = threading.Thread(target=write)
    writer.start()
    while writer.is_alive():
        disk.ship()
        writer.join(0.01)
    assert failed == []
    shipped(disk)
    assert read(disk) == site.image == site.dumped()
    assert disk.read(4 * 4096, 4096) == content(8)


def test_a_full_log_makes_writers_wait() -> None:
    with small_sizes():
        a_full_log_makes_writers_wait(Site())


local, objects = test_failures_local, test_failures_objects
Seen = Callable[[Site, Path], None]
PAIRS: list[tuple[Callable[[], Any], Seen]] = [
    (torn_writes_count, lambda s, p: local.test_bit_flip_in_local_cache_of_a_log_record(s)),
    (holes_are_skipped, lambda s, p: objects.test_missing_object_of_the_log(s, 2)),
    (
        store_flushes_do_not_wait,
        lambda s, p: local.test_node_lost_volume_up_elsewhere(s, Durability.STORE),
    ),
    (
        the_last_fence_follows_a_listing,
        lambda s, p: test_failures_owners.test_delete_while_mounted(False),
    ),
    (epochs_stay, lambda s, p: test_failures.test_old_node_returns_after_takeover(s)),
    (names_repeat, lambda s, p: test_failures_store.test_etag_or_sse_change_bucket_migrated(s)),
    (reads_are_not_compared, lambda s, p: objects.test_corrupt_or_short_object(s, "corrupt")),
    (
        what_is_sent_is_not_compared,
        lambda s, p: local.test_bit_flip_in_local_cache_of_what_is_not_sent(s),
    ),
    (orphans_are_dropped, lambda s, p: test_failures.test_old_node_returns_after_takeover(s)),
    (
        bindings_are_not_compared,
        lambda s, p: (
            test_reopening.test_a_bucket_that_was_put_back_is_not_written_by_who_knows_better(
                Disk.flush
            )
        ),
    ),
    (failed_syncs_are_forgotten, lambda s, p: local.test_local_disk_eio_on_log(s, "free")),
    (pages_are_believed, lambda s, p: local.test_local_disk_eio_on_log_is_not_forgotten(s, 0)),
    (the_fenced_go_on, lambda s, p: test_failures.test_old_node_returns_after_takeover(s)),
    (a_full_log_is_an_error, lambda s, p: a_full_log_makes_writers_wait(s)),
    (
        strict_reads_do_not_ask,
        lambda s, p: (
            test_failures.test_process_or_vm_paused_for_an_hour_then_resumed_reads_nothing_stale(s)
        ),
    ),
    (
        proofs_count_from_their_answer,
        lambda s, p: (
            test_failures.test_process_or_vm_paused_for_an_hour_then_resumed_and_a_late_answer_proves_little(
                s
            )
        ),
    ),
    (
        one_clock_is_enough,
        lambda s, p: (
            test_failures.test_process_or_vm_paused_for_an_hour_then_resumed_by_whatever_clock()
        ),
    ),
    (
        everybody_asks,
        lambda s, p: (
            test_failures.test_process_or_vm_paused_for_an_hour_then_resumed_and_one_asks_for_all()
        ),
    ),
    (
        limits_do_not_count,
        lambda s, p: (
            test_failures_store.test_partition_container_still_writing_within_its_rpo_limit(s)
        ),
    ),
    (
        what_was_found_is_young,
        lambda s, p: (
            test_failures_store.test_partition_container_still_writing_and_what_was_found_is_too_old(
                s
            )
        ),
    ),
    (
        a_limit_is_an_error,
        lambda s, p: (
            test_failures_store.test_partition_container_still_writing_within_its_rpo_limit(s)
        ),
    ),
    (a_full_disk_is_an_error, lambda s, p: local.test_local_disk_full(s, p)),
]
MUTANTS = [mutant for mutant, _ in PAIRS]


SLOW = {the_last_fence_follows_a_listing: pytest.mark.sim}


@pytest.mark.parametrize(
    ("mutant", "seen_by"),
    [pytest.param(*pair, marks=SLOW.get(pair[0], ()), id=pair[0].__name__) for pair in PAIRS],
)
def test_every_broken_invariant_is_seen(
    mutant: Callable[[], Any], seen_by: Seen, tmp_path: Path
) -> None:
    """And without the mutant the same says nothing."""
    with small_sizes():
        seen_by(Site(), tmp_path)
        (tmp_path / "again").mkdir()
        failed = (AssertionError, KedgeError, ValueError, pytest.fail.Exception)
        with mutant(), pytest.raises(failed):
            seen_by(Site(), tmp_path / "again")
