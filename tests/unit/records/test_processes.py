"""DirectoryRecords on real files: many processes, killed with SIGKILL at random moments."""

import os
from collections import Counter
from pathlib import Path

from backends.errors import Conflict, Unavailable
from backends.records.directory import DirectoryRecords
from tests.unit.storm import WRITERS, a_pipe, storm


def test_a_list_gets_every_acknowledged_entry_once(tmp_path: Path) -> None:
    DirectoryRecords(tmp_path).put("volumes/n", b"0", expected=None)
    with a_pipe() as (said, tell):

        def act(generation: int, index: int) -> None:
            records, step = DirectoryRecords(tmp_path), 0
            while True:
                present = records.get("volumes/n")
                assert present is not None
                tag = b"%d.%d.%d" % (generation, index, step)
                if tag not in present.value.split():
                    kept = present.value if len(present.value) < 60_000 else b"0"
                    try:
                        records.put("volumes/n", kept + b" " + tag, expected=present.version)
                    except (Conflict, Unavailable):
                        continue
                os.write(tell, tag + b"\n")
                step += 1

        text, kills = storm(act, said)
    records = DirectoryRecords(tmp_path)
    final = records.get("volumes/n")
    assert final is not None
    entries = Counter(final.value.split())
    acknowledged = text.split()
    assert len(final.value) < 60_000, "the list was started anew: shorten SECONDS"
    assert set(entries.values()) == {1}, "an entry was added twice"
    assert set(acknowledged) <= set(entries), "an acknowledged entry was lost"
    assert kills > 10
    assert len(acknowledged) > 50
    records.put("volumes/n", b"quiet", expected=final.version)
    records.sweep(grace=0)
    assert len(os.listdir(tmp_path / "volumes" / "n")) == 2


def test_makers_and_removers_never_share_a_key(tmp_path: Path) -> None:
    """Whoever made or changed the key owns that version: nobody else ever removes it too."""
    with a_pipe() as (said, tell):

        def act(generation: int, index: int) -> None:
            records, step = DirectoryRecords(tmp_path), 0
            while True:
                step += 1
                tag = b"%d.%d.%d" % (generation, index, step)
                try:
                    if present := records.get("volumes/k"):
                        records.delete("volumes/k", expected=present.version)
                        os.write(tell, b"removed %s\n" % present.value)
                    else:
                        records.put("volumes/k", tag, expected=None)
                        os.write(tell, b"made %s\n" % tag)
                except (Conflict, Unavailable):
                    continue

        text, kills = storm(act, said)
    said_of = {"made": Counter[bytes](), "removed": Counter[bytes]()}
    for line in text.splitlines():
        verb, _, tag = line.partition(b" ")
        said_of[verb.decode()][tag] += 1
    assert max(said_of["made"].values()) == 1
    assert max(said_of["removed"].values()) == 1
    unsaid = len(said_of["made"] - said_of["removed"])
    assert unsaid <= kills + WRITERS + 1, "more keys vanished than removers were killed"
    assert len(said_of["made"]) > 50
    records = DirectoryRecords(tmp_path)
    if present := records.get("volumes/k"):
        records.delete("volumes/k", expected=present.version)
    records.sweep(grace=0)
    assert os.listdir(tmp_path / "volumes") == []
