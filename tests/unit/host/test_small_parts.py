"""Mount points, programs, waiting, and what the kernel's refusals mean."""

import errno
import os
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from backends.errors import Busy, HostError, KedgeError, NoSpace, Unavailable
from backends.host import copying, files, programs, targets
from backends.host.failures import explain, explained
from backends.host.locks import locked
from backends.host.programs import run
from backends.host.waiting import wait_until
from backends.progress import heard_by


@pytest.mark.parametrize(
    ("number", "kind"),
    [
        (errno.ENOSPC, NoSpace),
        (errno.EDQUOT, NoSpace),
        (errno.ESTALE, Unavailable),
        (errno.ENOTCONN, Unavailable),
        (errno.ETIMEDOUT, Unavailable),
        (errno.EIO, HostError),
        (errno.EROFS, HostError),
        (errno.EPERM, HostError),
        (errno.ENODEV, HostError),
        (errno.EBUSY, HostError),
    ],
)
def test_what_a_refusal_means(number: int, kind: type[KedgeError]) -> None:
    error = OSError(number, os.strerror(number), "/some/place")
    told = explain("create volume db", error)
    assert type(told) is kind
    assert "create volume db" in str(told)
    assert "/some/place" in str(told)


def test_other_errors_pass_unchanged() -> None:
    with pytest.raises(KeyError), explained("anything"):
        raise KeyError("x")
    with pytest.raises(Busy, match="mine"), explained("anything"):
        raise Busy("mine")


def test_a_program_that_is_missing_is_named_with_its_package() -> None:
    with pytest.raises(HostError, match="is not installed; install the package nosuchprogram"):
        run(["nosuchprogram"], seconds=1)


def test_a_program_that_fails_speaks_for_itself() -> None:
    with pytest.raises(HostError, match=r"ls failed with code 2: .*/no/such/place"):
        run(["ls", "/no/such/place"], seconds=5)


def test_a_program_that_finds_no_room_says_so() -> None:
    with pytest.raises(NoSpace):
        run(["sh", "-c", "echo x: No space left on device >&2; exit 1"], seconds=5)


def test_a_program_that_hangs_is_ended() -> None:
    with pytest.raises(HostError, match="did not finish within 0 seconds"):
        run(["sleep", "60"], seconds=0.1)


def test_a_program_is_watched(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(programs, "_WATCH_SECONDS", 0.02)
    watched: list[int] = []
    assert programs.run(["sh", "-c", "sleep 0.2; echo $$"], seconds=20, watch=watched.append)
    assert len(watched) > 1
    assert len(set(watched)) == 1


def test_who_watches_a_program_can_end_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(programs, "_WATCH_SECONDS", 0.02)
    watched: list[int] = []

    def enough(pid: int) -> None:
        watched.append(pid)
        raise LookupError

    with pytest.raises(LookupError):
        programs.run(["sleep", "60"], seconds=70, watch=enough)
    assert not Path(f"/proc/{watched[0]}").exists()


def test_a_copy_tells_how_far_it_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(copying, "_shared", lambda *files: False)
    told: list[tuple[int, int]] = []
    with (tmp_path / "from").open("wb") as file:
        file.write(b"x" * 2**21)
        file.seek(2**24)
        file.write(b"x" * 2**20)
    with heard_by(lambda done, total: told.append((done, total))):
        copying.copy_file(tmp_path / "from", tmp_path / "to")
    total = (tmp_path / "from").stat().st_blocks * 512
    assert told == [(2**20, total), (2**21, total), (3 * 2**20, total)]
    assert (tmp_path / "to").read_bytes() == (tmp_path / "from").read_bytes()


def test_a_copy_of_a_tree_tells_how_far_it_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(copying, "_shared", lambda *files: False)
    told: list[tuple[int, int]] = []

    def watched(*arguments: Any, watch: Callable[[int], None], **limits: Any) -> Any:
        watch(os.getpid())
        return run(*arguments, watch=watch, **limits)

    monkeypatch.setattr(copying, "run", watched)
    (tmp_path / "from").mkdir()
    (tmp_path / "from/f").write_bytes(b"x" * 2**16)
    with heard_by(lambda done, total: told.append((done, total))):
        copying.copy_tree(tmp_path / "from", tmp_path / "to")
    assert told[0][1] == copying.used(tmp_path / "from")
    assert 0 < told[0][0] <= told[0][1]
    assert (tmp_path / "to/f").read_bytes() == b"x" * 2**16


def test_a_program_knows_nothing_of_our_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KEDGE_SECRET", "x")
    assert "KEDGE_SECRET" not in run(["env"], seconds=5).stdout


def test_waiting_ends() -> None:
    assert wait_until(lambda: True, 0)
    assert not wait_until(lambda: False, 0.02)
    answers = iter([False, False, True])
    assert wait_until(lambda: next(answers), 5)


def test_a_lock_is_held_by_one(tmp_path: Path) -> None:
    with locked(tmp_path / "lock", 1), pytest.raises(Busy), locked(tmp_path / "lock", 0.01):
        pass
    with locked(tmp_path / "lock", 0):
        pass


def test_a_lock_that_does_not_last_leaves_no_file_and_lets_nobody_in(tmp_path: Path) -> None:
    """Whoever waits for it while its file is taken away must not hold what nobody sees."""
    lock, inside, most = tmp_path / "lock", [0], [0]

    def work() -> None:
        for _ in range(20):
            with locked(lock, 60, lasting=False):
                inside[0] += 1
                most[0] = max(most[0], inside[0])
                time.sleep(0.0002)
                inside[0] -= 1

    workers = [threading.Thread(target=work) for _ in range(4)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert most == [1]
    assert not lock.exists()


def test_a_lock_whose_file_was_taken_away_is_no_lock(tmp_path: Path) -> None:
    """The one who waited opens the file anew, and holds that one."""
    lock = tmp_path / "lock"
    entered = threading.Event()

    def wait() -> None:
        with locked(lock, 60):
            entered.set()
            assert lock.exists()

    with locked(lock, 1, lasting=False):
        waiting = threading.Thread(target=wait)
        waiting.start()
    waiting.join()
    assert entered.is_set()
    with locked(lock, 1), pytest.raises(Busy), locked(lock, 0.01):
        pass


def test_a_mount_point_comes_and_goes(tmp_path: Path) -> None:
    target = tmp_path / "mounts" / "db"
    targets.make(target)
    assert target.stat().st_mode & 0o7777 == 0
    targets.make(target)
    targets.clear(target)
    assert not target.exists()
    targets.clear(target)


def test_an_empty_directory_becomes_a_mount_point(tmp_path: Path) -> None:
    target = tmp_path / "db"
    target.mkdir(0o755)
    targets.make(target)
    assert target.stat().st_mode & 0o7777 == 0


def test_what_lies_at_a_mount_point_is_never_deleted(tmp_path: Path) -> None:
    target = tmp_path / "db"
    target.mkdir()
    (target / "stray").write_text("precious")
    with pytest.raises(HostError, match=r"not empty.*stray"):
        targets.make(target)
    targets.clear(target)
    assert (target / "stray").read_text() == "precious"


@pytest.mark.parametrize("kind", ["file", "link"])
def test_only_a_directory_is_a_mount_point(tmp_path: Path, kind: str) -> None:
    target = tmp_path / "db"
    (tmp_path / "elsewhere").mkdir()
    if kind == "file":
        target.write_text("precious")
    else:
        target.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(HostError, match="not a directory"):
        targets.make(target)
    targets.clear(target)
    assert os.path.lexists(target)


def test_a_failed_mount_leaves_no_mount_point(tmp_path: Path) -> None:
    target = tmp_path / "db"
    with pytest.raises(ZeroDivisionError), targets.prepared(target):
        raise ZeroDivisionError
    assert not target.exists()


def test_a_file_is_written_once(tmp_path: Path) -> None:
    path = tmp_path / "marker"
    assert files.write_once(path, b"first", temporary=".a")
    assert not files.write_once(path, b"second", temporary=".b")
    assert path.read_bytes() == b"first"
    assert list(tmp_path.iterdir()) == [path]


def test_a_directory_appears_with_its_owner_and_mode(tmp_path: Path) -> None:
    uid, gid = os.getuid(), os.getgid()
    path = tmp_path / "data"
    (tmp_path / ".new-data").mkdir(0o777)  # left by an earlier attempt
    files.make_owned_directory(path, uid=uid, gid=gid, mode=0o1750)
    assert path.stat().st_mode & 0o7777 == 0o1750
    files.make_owned_directory(path, uid=uid, gid=gid, mode=0o700)
    assert path.stat().st_mode & 0o7777 == 0o1750
    assert list(tmp_path.iterdir()) == [path]


def test_missing_parents_are_made(tmp_path: Path) -> None:
    files.make_directory(tmp_path / "a" / "b" / "c", 0o700)
    files.make_directory(tmp_path / "a" / "b" / "c", 0o755)
    assert (tmp_path / "a" / "b" / "c").stat().st_mode & 0o777 == 0o700
    (tmp_path / "file").touch()
    with pytest.raises(FileExistsError):
        files.make_directory(tmp_path / "file")
