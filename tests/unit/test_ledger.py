"""The ledger: what it keeps, what it refuses to believe, and what it does without a disk."""

import shutil
import sqlite3
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from backends.errors import HostError, NoSpace
from driver import ledger_file
from driver.ledger import Ledger, Promise
from driver.lifecycle import Entry, Illegal, State

ROWS_AT_REST = (State.ABSENT, State.DETACHED)
IDS = st.text(min_size=1, max_size=80)
PROMISES = st.builds(
    Promise,
    name=st.from_regex(r"[a-zA-Z0-9][a-zA-Z0-9_.-]{0,20}", fullmatch=True),
    profile=st.sampled_from(["local", "prod-s3"]),
    uuid=st.uuids().map(str),
    entry=st.builds(
        Entry,
        st.sampled_from([state for state in State if state not in ROWS_AT_REST]),
        st.dictionaries(IDS, st.integers(1, 9), max_size=3).map(MappingProxyType),
    ),
    device=st.sampled_from(["", "7:1"]),
    root=st.sampled_from(["", "/data"]),
)


def row(name: str, **holders: int) -> Promise:
    return Promise(
        name, "local", "u-1", Entry(State.ATTACHED, MappingProxyType(holders)), "7:0", "/"
    )


def put(ledger: Ledger, promise: Promise) -> None:
    ledger.change(promise.name, lambda _: promise)


def filled(path: Path, *promises: Promise) -> Ledger:
    ledger = Ledger(path)
    for promise in promises:
        put(ledger, promise)
    return ledger


def crashed(path: Path, to: Path) -> Path:
    """The files as a killed service leaves them."""
    to.mkdir()
    for file in path.parent.glob(path.name + "*"):
        if not file.name.endswith("-shm"):
            shutil.copy(file, to / file.name)
    return to / path.name


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "state" / "ledger.db"


@settings(max_examples=30, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(PROMISES, max_size=8))
def test_what_was_written_is_read_after_a_restart(
    tmp_path_factory: pytest.TempPathFactory, promises: list[Promise]
) -> None:
    path = tmp_path_factory.mktemp("ledger") / "ledger.db"
    ledger = filled(path, *promises)
    expected = {promise.name: promise for promise in promises}
    assert ledger.promises() == expected
    assert Ledger(crashed(path, path.parent / "killed")).promises() == expected
    ledger.close()
    assert Ledger(path).promises() == expected


@pytest.mark.parametrize("state", ROWS_AT_REST)
def test_a_volume_at_rest_has_no_row(path: Path, state: State) -> None:
    ledger = filled(path, row("db", a=1), row("web"))
    put(ledger, Promise("db", "local", "u-1", Entry(state)))
    assert ledger.get("db") is None
    ledger.close()
    assert list(Ledger(path).promises()) == ["web"]


def test_a_step_that_raises_changes_nothing(path: Path) -> None:
    ledger = filled(path, row("db", a=1))

    def illegal(_: Promise | None) -> Promise:
        raise Illegal

    with pytest.raises(Illegal):
        ledger.change("db", illegal)
    put(ledger, row("web"))
    ledger.close()
    assert Ledger(path).promises() == {"db": row("db", a=1), "web": row("web")}


def test_what_came_to_rest_is_not_amended_back(path: Path) -> None:
    ledger = filled(path, row("db", a=1))
    old = ledger.get("db")
    assert old is not None
    put(ledger, Promise("db", "local", "u-1", Entry(State.DETACHED)))
    assert ledger.amend(old, lambda promise: promise) is None
    assert ledger.promises() == {}
    put(ledger, replace(old, uuid="u-2"))
    assert ledger.amend(old, lambda promise: promise.holding(Entry(State.FENCED))) is None
    amended = ledger.amend(replace(old, uuid="u-2"), lambda p: p.holding(p.entry.abandon()))
    assert amended == replace(old, uuid="u-2", entry=Entry(State.ATTACHED))
    assert Ledger(crashed(path, path.parent / "killed")).get("db") == amended


def test_concurrent_steps_are_not_lost(path: Path) -> None:
    ledger = filled(path, row("db"))
    start = threading.Barrier(4)

    def hold(current: Promise | None) -> Promise:
        assert current is not None
        return current.holding(current.entry.hold("id"))

    def work() -> None:
        start.wait()
        for _ in range(25):
            ledger.change("db", hold)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    ledger.close()
    assert Ledger(path).promises() == {"db": row("db", id=100)}


# -- a file that cannot be trusted ---------------------------------------------------------


def truncated(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def emptied(path: Path) -> None:
    path.write_bytes(b"")


def no_database(path: Path) -> None:
    path.write_bytes(b"# holders\ndb: 1\n" * 400)


def sql(*statements: str) -> Callable[[Path], None]:
    def damage(path: Path) -> None:
        db = sqlite3.connect(path)
        for statement in statements:
            db.execute(statement)
        db.commit()
        db.close()

    return damage


def without_log(path: Path) -> None:
    """As if the write-ahead log of a service that was killed had been lost."""
    ledger = filled(path, row("late"))
    killed = crashed(path, path.parent / "killed")
    ledger.close()
    shutil.copy(killed, path)
    path.with_name("ledger.db-wal").unlink(missing_ok=True)


def only_log(path: Path) -> None:
    ledger = filled(path, row("late"))
    killed = crashed(path, path.parent / "killed")
    ledger.close()
    path.unlink()
    shutil.copy(killed.with_name("ledger.db-wal"), path.with_name("ledger.db-wal"))


DAMAGE: dict[str, Callable[[Path], None]] = {
    "truncated": truncated,
    "zero length": emptied,
    "not a database": no_database,
    "write-ahead log lost": without_log,
    "only the write-ahead log left": only_log,
    "a newer version": sql("PRAGMA user_version = 2"),
    "another database": sql("DROP TABLE promises"),
    "a changed holder": sql("""UPDATE promises SET holders = '{"b": 1}' WHERE name = 'db'"""),
    "a changed checksum": sql("UPDATE promises SET checksum = checksum + 1 WHERE name = 'db'"),
    "a row gone": sql("DELETE FROM promises WHERE name = 'db'"),
    "a row more": sql(
        "INSERT INTO promises SELECT 'x', profile, uuid, state, holders, device, root, claim,"
        " checksum FROM promises WHERE name = 'db'"
    ),
    "a number for text": sql("UPDATE promises SET device = x'00ff' WHERE name = 'db'"),
    "no sum of the whole": sql("DELETE FROM whole"),
}


@pytest.mark.parametrize("damage", DAMAGE.values(), ids=DAMAGE.keys())
def test_a_damaged_ledger_is_refused_and_kept_aside(
    path: Path, damage: Callable[[Path], None]
) -> None:
    filled(path, row("db", a=1), row("web")).close()
    damage(path)
    before = path.read_bytes() if path.exists() else None

    ledger = Ledger(path)

    assert ledger.promises() == {}
    assert ledger.set_aside is not None
    if before is not None:
        assert ledger.set_aside.read_bytes() == before
    put(ledger, row("new"))
    ledger.close()
    again = Ledger(path)
    assert again.promises() == {"new": row("new")}
    assert again.set_aside is None


def test_every_earlier_one_is_kept(path: Path) -> None:
    for number in (1, 2, 3):
        filled(path, row("db", a=number)).close()
        emptied(path)
        path.write_bytes(b"%d" % number)
        aside = Ledger(path).set_aside
        assert aside == path.with_name(f"ledger.db.untrusted-{number}")
    for number in (1, 2, 3):
        kept = path.with_name(f"ledger.db.untrusted-{number}")
        assert kept.read_bytes() == b"%d" % number


def test_a_row_that_no_version_wrote_is_refused(path: Path) -> None:
    """Its checksums are right, its meaning is not."""
    filled(path).close()
    file = ledger_file.LedgerFile(path)
    file.put({"db": ("db", "local", "u", "melting", "{}", "", "", "")})
    file.close()
    ledger = Ledger(path)
    assert ledger.promises() == {}
    assert ledger.set_aside is not None


HISTORY = [row("a", x=1), row("b", x=1), row("a", x=1, y=2), row("c"), row("b")]


@pytest.fixture(scope="module")
def killed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A ledger with a history, half of it in the write-ahead log."""
    home = tmp_path_factory.mktemp("history")
    filled(home / "ledger.db", *HISTORY[:2]).close()
    ledger = filled(home / "ledger.db", *HISTORY[2:])
    copy = crashed(home / "ledger.db", home / "killed")
    ledger.close()
    return copy


def states_it_had() -> list[dict[str, Promise]]:
    states: list[dict[str, Promise]] = [{}]
    for promise in HISTORY:
        states.append({**states[-1], promise.name: promise})
    return states


@settings(max_examples=60)
@given(data=st.data(), flip=st.integers(1, 255), which=st.sampled_from(["", "-wal"]))
def test_flipped_bytes_never_make_up_a_promise(
    killed: Path,
    tmp_path_factory: pytest.TempPathFactory,
    data: st.DataObject,
    flip: int,
    which: str,
) -> None:
    """Refused, or read as something that the ledger once said: SQLite drops the end of a damaged
    write-ahead log in silence, which is why no row is believed without the kernel."""
    home = tmp_path_factory.mktemp("flip")
    for file in killed.parent.iterdir():
        shutil.copy(file, home / file.name)
    victim = home / f"ledger.db{which}"
    content = bytearray(victim.read_bytes())
    content[data.draw(st.integers(0, len(content) - 1))] ^= flip
    victim.write_bytes(content)

    ledger = Ledger(home / "ledger.db")

    if ledger.set_aside is None:
        assert ledger.promises() in states_it_had()
        if not which:
            assert ledger.promises() == states_it_had()[-1]
    else:
        assert ledger.promises() == {}
        assert ledger.set_aside.exists()
    put(ledger, row("new"))
    ledger.close()
    shutil.rmtree(home)


@settings(max_examples=60)
@given(data=st.data(), which=st.sampled_from(["", "-wal"]))
def test_a_file_cut_short_never_makes_up_a_promise(
    killed: Path, tmp_path_factory: pytest.TempPathFactory, data: st.DataObject, which: str
) -> None:
    home = tmp_path_factory.mktemp("cut")
    for file in killed.parent.iterdir():
        shutil.copy(file, home / file.name)
    victim = home / f"ledger.db{which}"
    content = victim.read_bytes()
    victim.write_bytes(content[: data.draw(st.integers(0, len(content) - 1))])
    ledger = Ledger(home / "ledger.db")
    assert ledger.promises() in [{}, *states_it_had()]
    assert ledger.promises() or ledger.set_aside
    ledger.close()
    shutil.rmtree(home)


# -- a disk that refuses -------------------------------------------------------------------


class Disk:
    """Stands in for a failing disk: SQLite's own errors, raised at the COMMIT."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.error: sqlite3.Error | None = None
        self.real = ledger_file.LedgerFile.put
        monkeypatch.setattr(ledger_file.LedgerFile, "put", self._put_of())

    def full(self) -> None:
        self.error = failure("SQLITE_FULL", "database or disk is full")

    def broken(self) -> None:
        self.error = failure("SQLITE_IOERR_WRITE", "disk I/O error")

    def well(self) -> None:
        self.error = None

    def _put_of(self) -> Callable[..., None]:
        def put(file: ledger_file.LedgerFile, rows: object) -> None:
            if self.error is not None:
                with ledger_file._translated(file._path):
                    raise self.error
            self.real(file, rows)  # type: ignore[arg-type]

        return put


def failure(name: str, message: str) -> sqlite3.OperationalError:
    error = sqlite3.OperationalError(message)
    error.sqlite_errorname = name
    return error


@pytest.fixture
def disk(monkeypatch: pytest.MonkeyPatch) -> Disk:
    return Disk(monkeypatch)


def test_a_full_disk_refuses_a_promise_with_a_sentence(path: Path, disk: Disk) -> None:
    ledger = filled(path, row("db", a=1))
    disk.full()
    with pytest.raises(NoSpace, match=r"ledger .*ledger\.db cannot be written: its disk is full"):
        put(ledger, row("web"))
    assert ledger.promises() == {"db": row("db", a=1)}
    assert "full" in ledger.trouble
    disk.broken()
    with pytest.raises(HostError, match="disk I/O error"):
        put(ledger, row("web"))


def test_the_end_of_a_promise_is_kept_in_memory_and_written_later(path: Path, disk: Disk) -> None:
    ledger = filled(path, row("db", a=1), row("web"))
    disk.full()
    ledger.note("db", lambda _: row("db"))
    ledger.catch_up()
    assert ledger.get("db") == row("db")
    assert Ledger(crashed(path, path.parent / "early")).get("db") == row("db", a=1)
    disk.well()
    ledger.catch_up()
    assert ledger.trouble == ""
    assert Ledger(crashed(path, path.parent / "late")).get("db") == row("db")


def test_a_refused_write_that_reached_the_disk_is_overwritten(path: Path) -> None:
    """After a failed COMMIT nobody knows what the disk has; the next write says it again."""
    ledger = filled(path, row("db", a=1))
    real, file = ledger_file.LedgerFile.put, ledger._file
    assert file is not None

    def written_but_refused(rows: object) -> None:
        real(file, rows)  # type: ignore[arg-type]
        raise HostError("disk I/O error")

    file.put = written_but_refused  # type: ignore[method-assign]
    with pytest.raises(HostError):
        put(ledger, row("db", b=7))
    del file.put
    put(ledger, row("web"))
    killed = Ledger(crashed(path, path.parent / "killed"))
    assert killed.promises() == ledger.promises() == {"db": row("db", a=1), "web": row("web")}


def test_a_real_full_disk_does_not_jam_the_ledger(path: Path) -> None:
    """SQLite's own limit stands in for the disk's; a failed COMMIT must not stay open."""
    ledger = filled(path, row("db"))
    assert ledger._file is not None
    db = ledger._file._db
    (pages,) = db.execute("PRAGMA page_count").fetchone()
    db.execute(f"PRAGMA max_page_count = {pages}")
    big = row("web", **{f"{n:0>64}": 1 for n in range(400)})
    with pytest.raises(NoSpace):
        put(ledger, big)
    ledger.note("db", lambda _: Promise("db", "local", "u-1", Entry(State.DETACHED)))
    assert ledger.get("db") is None
    db.execute(f"PRAGMA max_page_count = {pages + 100}")
    put(ledger, big)
    ledger.close()
    assert Ledger(path).promises() == {"web": big}


def test_a_ledger_that_goes_bad_while_open_is_replaced_from_memory(path: Path) -> None:
    ledger = filled(path, row("db", a=1), row("web"))
    assert ledger._file is not None
    ledger._file._db.execute("DROP TABLE promises")
    put(ledger, row("new"))
    assert ledger.set_aside is not None
    everything = {"db": row("db", a=1), "web": row("web"), "new": row("new")}
    assert ledger.promises() == everything
    ledger.close()
    assert Ledger(path).promises() == everything


def test_without_a_place_to_write_it_begins_empty_and_refuses_promises(tmp_path: Path) -> None:
    (tmp_path / "state").write_text("a file where the directory should be")
    path = tmp_path / "state" / "ledger.db"
    ledger = Ledger(path)
    assert ledger.trouble
    with pytest.raises(HostError):
        put(ledger, row("db"))
    ledger.note("web", lambda _: row("web"))
    (tmp_path / "state").unlink()
    ledger.catch_up()
    assert ledger.trouble == ""
    ledger.close()
    assert Ledger(path).promises() == {"web": row("web")}


def test_a_good_ledger_is_not_set_aside_because_it_cannot_be_opened(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    filled(path, row("db", a=1)).close()
    real = ledger_file._connect

    def refused(_: Path) -> object:
        raise failure("SQLITE_CANTOPEN", "unable to open database file")

    monkeypatch.setattr(ledger_file, "_connect", refused)
    ledger = Ledger(path)
    assert ledger.set_aside is None
    assert ledger.promises() == {}
    monkeypatch.setattr(ledger_file, "_connect", real)
    put(ledger, row("web"))  # what recovery found meanwhile replaces the old rows
    ledger.close()
    assert Ledger(path).promises() == {"web": row("web")}


def test_readers_do_not_wait_for_a_hanging_disk(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ledger = filled(path, row("db"))
    hanging, release = threading.Event(), threading.Event()

    def hang(*_: object) -> None:
        hanging.set()
        release.wait(10)

    monkeypatch.setattr(ledger_file.LedgerFile, "put", hang)
    writer = threading.Thread(target=put, args=(ledger, row("web")))
    writer.start()
    assert hanging.wait(10)
    assert ledger.get("db") == row("db")
    assert list(ledger.promises()) == ["db"]
    release.set()
    writer.join()
