"""Records in a directory of a real pool, through several clients at once."""

import itertools
import os
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from backends.errors import Conflict, Unavailable
from backends.gluster import GlusterBackend
from backends.gluster.client import Export
from backends.gluster.control import Control
from backends.gluster.options import Servers
from backends.records import Records
from backends.records.directory import DirectoryRecords
from backends.testing.claims import ClaimsContract
from backends.testing.records import RecordsContract
from tests.gluster.conftest import VOLUME, Open
from tests.lab.gluster import Pool
from tests.unit.storm import a_pipe, storm

pytestmark = pytest.mark.lab
NUMBERS = itertools.count()


class TestRecordsOnGluster(RecordsContract):
    @pytest.fixture
    def records(self, open_node: Open) -> Records:
        self.nodes = [open_node("a"), open_node("b")]
        self.opened = 0
        return self.nodes[0].records

    def reopen(self, records: Records) -> Records:
        self.opened += 1
        return self.nodes[self.opened % 2].records


class TestClaimsOnGluster(ClaimsContract):
    """Claims and leases, each node through a client of its own."""

    @pytest.fixture(scope="class")
    @classmethod
    def roots(cls, pool: Pool, tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[Path]]:
        """What three nodes see of one directory, as their services do."""
        place = tmp_path_factory.mktemp("claims")
        export = Export(Servers(",".join(pool.addresses)), VOLUME)
        nodes = [Control(export, "claims", place / f"state-{n}/control", 10.0) for n in range(3)]
        try:
            for node in nodes:
                node.ensure()
            nodes[0].root.mkdir()
            yield [node.root for node in nodes]
        finally:
            for node in nodes:
                node.client.stop()

    @pytest.fixture
    def records(self, roots: list[Path]) -> Records:
        name = f"test-{next(NUMBERS)}"
        self.places = [root / name for root in roots]
        self.places[0].mkdir()
        self.opened = 0
        return DirectoryRecords(self.places[0])

    def reopen(self, records: Records) -> Records:
        self.opened += 1
        return DirectoryRecords(self.places[self.opened % 3])


def _roots(open_node: Open) -> list[Path]:
    """The records of one profile as two nodes see them, each through its own client."""
    nodes: list[GlusterBackend] = [open_node("a"), open_node("b")]
    for node in nodes:
        node.check()
    return [node.store.records for node in nodes]


def test_a_list_gets_every_acknowledged_entry_once(open_node: Open) -> None:
    roots = _roots(open_node)
    DirectoryRecords(roots[0]).put("volumes/n", b"0", expected=None)
    with a_pipe() as (said, tell):

        def act(generation: int, index: int) -> None:
            records, step = DirectoryRecords(roots[index % 2]), 0
            while True:
                try:
                    present = records.get("volumes/n")
                    assert present is not None
                    tag = b"%d.%d.%d" % (generation, index, step)
                    if tag not in present.value.split():
                        value = present.value + b" " + tag
                        records.put("volumes/n", value, expected=present.version)
                except (Conflict, Unavailable):
                    continue
                os.write(tell, tag + b"\n")
                step += 1

        text, kills = storm(act, said, seconds=6.0, pause=0.4)
    for root in roots:
        final = DirectoryRecords(root).get("volumes/n")
        assert final is not None
        entries = Counter(final.value.split())
        assert set(entries.values()) == {1}, "an entry was added twice"
        assert set(text.split()) <= set(entries), "an acknowledged entry was lost"
    assert kills > 10
    assert text.split(), "nothing was acknowledged"


def test_what_one_node_writes_the_other_reads_at_once(open_node: Open) -> None:
    """Linearisable: no cache of a client answers."""
    a, b = (DirectoryRecords(root) for root in _roots(open_node))
    version = a.put("nodes/x", b"0", expected=None).version
    for number in range(1, 40):
        writer, reader = (a, b) if number % 2 else (b, a)
        version = writer.put("nodes/x", b"%d" % number, expected=version).version
        seen = reader.get("nodes/x")
        assert seen is not None
        assert seen.value == b"%d" % number
        assert reader.stamps("nodes") == writer.stamps("nodes")
    b.delete("nodes/x", expected=version)
    assert a.get("nodes/x") is None
