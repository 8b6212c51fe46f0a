"""Starting, ending, being killed, and what callers notice of it: as little as possible."""

import os
import signal
import socket
import stat
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import pytest

from tests.wire.service import (
    ROOT,
    Answer,
    Dropped,
    Service,
    answered,
    encoded,
    framed,
    received,
    until,
)

pytestmark = pytest.mark.sim  # each test starts a service of its own and waits for it

ID = "a" * 64
Start = Callable[..., Service]


def children_gone(pid: int) -> None:
    until(lambda: not Path(f"/proc/{pid}").exists())


def test_sockets_are_for_root_only(shared: Service) -> None:
    for path in (shared.sock, shared.admin):
        assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_callers_wait_for_a_slow_start(started: Start) -> None:
    service = started()
    service.hook("compose", "1.5")
    service.start()
    began = time.monotonic()
    with ThreadPoolExecutor(20) as pool:
        answers = list(pool.map(lambda _: service.call("List").document, range(20)))
    assert time.monotonic() - began > 1
    assert answers == [{"Volumes": [], "Err": ""}] * 20


def test_callers_wait_for_the_first_recovery(started: Start) -> None:
    """Storage that answers late: no Get is answered before, none is answered wrongly."""
    service = started()
    service.hook("attachments", "block")
    service.start()
    with ThreadPoolExecutor(2) as pool:
        get = pool.submit(service.call, "Get", Name="db")
        time.sleep(1.5)
        assert not get.done()
        assert service.raw("Plugin.Activate", b"").status == 200
        assert service.ok("Capabilities")
        service.unhook()
        assert get.result(20).error == "no such volume: db"


def test_sigterm_ends_it_soon(started: Start) -> None:
    service = started().start()
    service.ok("List")
    assert service.stop() < 4


def test_sigterm_ends_it_in_time_while_calls_hang(started: Start) -> None:
    """Docker sends SIGKILL to everything 10 s after SIGTERM."""
    service = started().start()
    service.ok("Create", Name="db", Opts=None)
    service.hook("attach", "block")
    with service.connect() as caller:
        caller.sendall(framed("VolumeDriver.Mount", encoded(Name="db", ID=ID)))
        until(lambda: service.ok("Get", Name="db")["Volume"]["Status"]["state"] == "attaching")
        worker = service.worker()
        assert service.stop() < 8
        children_gone(worker)


def test_a_killed_worker_is_replaced(started: Start) -> None:
    service = started().start()
    service.ok("List")
    first = service.worker()
    os.kill(first, signal.SIGKILL)
    assert service.ok("List")
    assert service.worker() != first


def test_a_worker_does_not_outlive_its_parent(started: Start) -> None:
    """Else two would serve, each with an idea of its own of the ledger."""
    service = started().start()
    service.ok("List")
    worker = service.worker()
    assert service.process is not None
    service.process.kill()
    service.process.wait()
    children_gone(worker)


class Activated(Service):
    """As systemd and `kedge init` start it: the sockets are there before, and stay."""

    def listen(self) -> None:
        self.listening = []
        for path in (self.sock, self.admin):
            one = socket.socket(socket.AF_UNIX)
            one.bind(str(path))
            one.listen(4096)
            self.listening.append(one)

    def start(self, **pipes: object) -> "Activated":
        files = [one.fileno() for one in self.listening]

        def hand_over() -> None:
            kept = [os.dup(file) for file in files]
            for number, file in enumerate(kept):
                os.dup2(file, 3 + number)
            os.environ["LISTEN_PID"] = str(os.getpid())

        code = (
            "import os, runpy, sys; os.environ['LISTEN_PID'] = str(os.getpid());"
            " sys.argv = ['kedge', 'serve']; runpy.run_module('tests.wire.serve')"
        )
        with (self.home / "err").open("ab") as err:
            self.process = subprocess.Popen(
                [sys.executable, "-c", code],
                cwd=ROOT,
                env=self.environ | {"LISTEN_FDS": "2"},
                preexec_fn=hand_over,
                close_fds=False,
                stdout=err,
                stderr=err,
            )
        return self


@pytest.fixture
def activated(tmp_path: Path) -> Iterator[Activated]:
    service = Activated(tmp_path / "activated")
    service.listen()
    yield service
    if service.process is not None:
        service.stop()
    for one in service.listening:
        one.close()


def test_inherited_sockets_are_served_and_left(activated: Activated) -> None:
    caller = activated.connect()
    caller.sendall(framed("VolumeDriver.Create", encoded(Name="db", Opts=None)))
    activated.start()
    with caller:
        assert answered(received(caller)).error == ""
    assert activated.names() == ["db"]
    with activated.connect(activated.admin) as operator:
        operator.sendall(b"GET /volumes HTTP/1.1\r\n\r\n")
        assert b'"name":"db"' in received(operator)
    activated.stop()
    assert activated.sock.exists()


def test_calls_wait_on_inherited_sockets_while_it_is_killed(activated: Activated) -> None:
    """Killed again and again: whoever connected and was not being served is served."""
    activated.start()
    activated.ok("Create", Name="db", Opts=None)
    for victim in ("worker", "parent", "worker"):
        assert activated.process is not None
        if victim == "worker":
            os.kill(activated.worker(), signal.SIGKILL)
        else:
            activated.process.kill()
            activated.process.wait()
        with ThreadPoolExecutor(50) as pool:
            calls = [
                pool.submit(activated.exchange, framed("VolumeDriver.List", b"{}\n"))
                for _ in range(50)
            ]
            if victim == "parent":
                activated.start()
            answers = [call.result(30) for call in calls]
        served = [answered(raw).document for raw in answers if raw]
        assert len(served) >= 45, "only those that were accepted by the dying may be lost"
        assert all(document["Err"] == "" for document in served)


def test_a_stale_socket_is_replaced_and_a_served_one_is_not(started: Start) -> None:
    service = started()
    with socket.socket(socket.AF_UNIX) as stale:
        stale.bind(str(service.sock))
    service.start()
    service.ok("List")
    second = subprocess.run(
        service.argv, cwd=ROOT, env=service.environ, capture_output=True, text=True, timeout=30
    )
    assert second.returncode == 1
    assert second.stderr == f"kedge: another service answers on {service.sock}; stop it first\n"
    service.ok("List")


def test_two_on_one_state_directory_do_not_work_at_once(started: Start, tmp_path: Path) -> None:
    first = started().start()
    first.ok("Create", Name="db", Opts=None)
    other = started(KEDGE_DATA=first.environ["KEDGE_DATA"])
    other.hook("handover", "0.5")
    other.start()
    pid = first.worker()
    waiting = threading.Thread(target=first.ok, args=("List",))
    waiting.start()
    said = other.call("Mount", Name="db", ID=ID).error
    assert said == f"another kedge (pid {pid}) works on {tmp_path}/s0/data/state; stop it first"
    with pytest.raises(Dropped):
        other.call("Get", Name="db")
    waiting.join()


def test_told_to_read_its_settings_again(started: Start) -> None:
    service = started().start()
    service.ok("List")
    first = service.worker()
    (service.home / "kedge.toml").write_text('[profiles.other]\nbackend = "memory"\n')
    assert service.process is not None
    service.process.send_signal(signal.SIGHUP)
    children_gone(first)
    assert "there are: other" in service.call("Create", Name="x", Opts={"backend": "prod"}).error
    assert "another kedge" not in service.said


# -- settings and surroundings that are wrong ----------------------------------------------


def check_broken(service: Service, words: str) -> None:
    for method in ("Create", "Remove", "Mount", "Unmount", "List", "Path"):
        answer = service.call(method, Name="db", ID=ID)
        assert answer.status == 200
        assert words in answer.error
    for body in (encoded(Name="db"), b""):
        with pytest.raises(Dropped):
            service.raw("VolumeDriver.Get", body)
    assert service.raw("Plugin.Activate", b"").document == {"Implements": ["VolumeDriver"]}
    assert service.ok("Capabilities") == {"Capabilities": {"Scope": "local"}}
    until(lambda: words in service.said)


def test_broken_settings_are_said_to_whoever_asks(started: Start) -> None:
    service = started('log_level = "loud"\n[profiles.x]\nbackend = "nope"\n').start()
    check_broken(service, "log_level='loud' is not one of debug, info, warning, error")


def test_broken_profiles_are_said_to_whoever_asks(started: Start) -> None:
    service = started('[profiles.x]\nbackend = "nope"\n[profiles.y]\nbackend = "memory"\nz = 1\n')
    check_broken(service.start(), "backend 'nope' is unknown; valid: ")
    assert "unknown setting 'z'; valid: world" in service.call("List").error


@pytest.mark.parametrize("variable", ["KEDGE_MOUNTS", "KEDGE_DATA"])
def test_directories_that_cannot_be_made(started: Start, tmp_path: Path, variable: str) -> None:
    (tmp_path / "file").write_text("")
    service = started(**{variable: str(tmp_path / "file" / "x")}).start()
    check_broken(service, "Not a directory")


def test_what_was_wrong_is_tried_again(started: Start) -> None:
    service = started('log_level = "loud"')
    service.hook("again", "0.5")
    service.start()
    assert service.call("List").error
    (service.home / "kedge.toml").write_text('[profiles.prod]\nbackend = "memory"\n')

    def well() -> bool:
        try:
            return service.call("List").error == ""
        except Dropped:
            return False

    until(well)


# -- the log -------------------------------------------------------------------------------


def test_long_lines_are_cut_far_below_what_stops_docker(started: Start) -> None:
    service = started().start()
    service.hook("chatter", str(64 * 1024))
    for number in range(5):
        service.call("Get", Name=f"v{number}")
    until(lambda: "chatter" in service.said)
    service.stop()
    lines = service.said.splitlines()
    assert max(len(line) for line in lines) < 9000
    assert any("characters more)" in line for line in lines)


@pytest.mark.parametrize("closed", [False, True], ids=["never read", "closed"])
def test_a_log_that_nobody_reads_stops_nothing(started: Start, closed: bool) -> None:
    """Engines before 24.0.7 stop reading for good after one long line."""
    service = started()
    service.hook("chatter", str(8000))
    reading, writing = os.pipe()
    service.start(stdout=writing, stderr=writing)
    os.close(writing)
    if closed:
        os.close(reading)
    with ThreadPoolExecutor(8) as pool:
        asked = pool.map(lambda n: service.call("Get", Name=f"v{n}").error, range(400))
        assert all(error.startswith("no such volume") for error in asked)
    service.ok("Create", Name="db", Opts=None)
    service.ok("Mount", Name="db", ID=ID)
    assert service.stop() < 8
    if not closed:
        os.close(reading)


# -- many at once --------------------------------------------------------------------------


def at_once(calls: Sequence[Callable[[], Answer]]) -> list[Answer]:
    with ThreadPoolExecutor(len(calls)) as pool:
        return list(pool.map(lambda call: call(), calls))


def test_two_hundred_calls_at_once(service: Service) -> None:
    names = [f"v{number}" for number in range(40)]

    def everywhere(method: str, times: int, **more: object) -> None:
        calls = [partial(service.call, method, Name=name, **more) for name in names * times]
        assert {answer.error for answer in at_once(calls)} == {""}

    everywhere("Create", 5, Opts=None)
    everywhere("Mount", 1, ID=ID)
    everywhere("Mount", 1, ID="b" * 64)
    everywhere("Unmount", 5, ID=ID)
    shown = service.ok("List")["Volumes"]
    assert [volume["Name"] for volume in shown] == sorted(names)
    assert all(volume["Mountpoint"] for volume in shown)
    everywhere("Unmount", 1, ID="b" * 64)
    assert not any(volume["Mountpoint"] for volume in service.ok("List")["Volumes"])


def test_two_hundred_different_calls_at_once(service: Service) -> None:
    """The same few volumes, every verb: refusals are fine, faults and lost calls are not."""
    kinds = ["Create", "Mount", "Unmount", "Get", "List", "Remove", "Path", "Capabilities"]
    calls = [
        partial(service.call, kinds[n % len(kinds)], Name=f"v{n % 3}", ID=ID, Opts=None)
        for n in range(200)
    ]
    for answer in at_once(calls):
        assert answer.status == 200
        assert "fault" not in answer.error


def test_a_caller_that_does_not_hang_up_holds_up_nobody(service: Service) -> None:
    lazy = [service.connect() for _ in range(20)]
    for caller in lazy:
        caller.sendall(framed("VolumeDriver.List", b"{}\n"))
    began = time.monotonic()
    for _ in range(20):
        service.ok("List")
    assert time.monotonic() - began < 2
    for caller in lazy:
        with caller:
            assert answered(received(caller)).error == ""


def test_five_thousand_gets_while_it_starts(started: Start) -> None:
    """What an engine with 5,000 volumes sends when it starts, all at once."""
    service = started()
    service.hook("compose", "1")
    service.start()
    body = framed("VolumeDriver.Get", encoded(Name="db"))
    callers = []
    for _ in range(5000):
        caller = service.connect()
        caller.sendall(body)
        callers.append(caller)
    errors = set()
    for caller in callers:
        with caller:
            errors.add(answered(received(caller)).error)
    assert errors == {"no such volume: db"}
