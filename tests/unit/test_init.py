"""`driver.init` with real processes: what Docker and an operator see of it."""

from __future__ import annotations

import os
import signal
import socket
import stat
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
INIT = """
import sys
from driver import init
init.STOP_SECONDS = {stop}
init.DELAYS = {delays}
init.STEADY_SECONDS = 0.5
sys.exit(init.main(sys.argv[1:]))
"""
# answers every caller with its process id and what it was started with
SERVICE = """
import os, socket
own = [socket.socket(fileno=3 + i) for i in range(int(os.environ["LISTEN_FDS"]))]
assert os.environ["LISTEN_PID"] == str(os.getpid())
while True:
    caller, _ = own[0].accept()
    caller.sendall(f"{os.getpid()} {[s.getsockname() for s in own]}".encode())
    caller.close()
"""


LISTENING = 0x10000
"""A flag in /proc/net/unix."""


def until(true: Callable[[], object], seconds: float = 60) -> None:
    deadline = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline, "it did not come about"
        time.sleep(0.01)


def call(path: Path) -> str:
    with socket.socket(socket.AF_UNIX) as caller:
        caller.settimeout(60)
        caller.connect(str(path))
        return caller.recv(1000).decode()


def service_pid(path: Path) -> int:
    """Asked again if the service that took the call was just being killed."""
    while not (answer := call(path)):
        pass
    return int(answer.split()[0])


class Plugin:
    """One init at work in a directory."""

    def __init__(self, home: Path) -> None:
        self.sock, self.admin = home / "run/kedge.sock", home / "admin/admin.sock"
        self.pid_file = home / "run/kedge.pid"
        self.process: subprocess.Popen[str] | None = None

    def start(
        self, service: str, *, stop: float = 8.0, delays: str = "(0.0, 0.1, 0.2)"
    ) -> subprocess.Popen[str]:
        code = INIT.format(stop=stop, delays=delays)
        argv = [*self.argv(code), sys.executable, "-c", service]
        self.process = subprocess.Popen(argv, cwd=ROOT, stderr=subprocess.PIPE, text=True)
        return self.process

    def listens(self) -> bool:
        """Whether the kernel has its first socket as a listening one: before that the file is
        there, and refuses."""
        rows = [row.split() for row in Path("/proc/net/unix").read_text().splitlines()]
        return any(row[-1] == str(self.sock) and int(row[3], 16) & LISTENING for row in rows)

    def argv(self, code: str) -> list[str]:
        options = ["--pid-file", str(self.pid_file), str(self.sock), str(self.admin), "--"]
        return [sys.executable, "-c", code, *options]

    def said_up_to(self, words: str) -> str:
        """Waits for a line with these words."""
        assert self.process is not None
        assert self.process.stderr is not None
        lines: list[str] = []
        while not lines or words not in lines[-1]:
            lines.append(self.process.stderr.readline())
            assert lines[-1], f"it ended without: {words}"
        return "".join(lines)

    def said(self) -> str:
        assert self.process is not None
        assert self.process.stderr is not None
        return self.process.stderr.read()


@pytest.fixture
def plugin(tmp_path: Path) -> Iterator[Plugin]:
    made = Plugin(tmp_path)
    yield made
    if made.process is not None:
        made.process.terminate()
        with suppress(subprocess.TimeoutExpired):
            made.process.wait(12)
        made.process.kill()
        made.process.wait()
        assert made.process.stderr is not None
        made.process.stderr.close()


def test_hands_both_sockets_over_as_systemd_does(plugin: Plugin) -> None:
    plugin.start(SERVICE)
    until(plugin.listens)
    assert call(plugin.sock).endswith(f"['{plugin.sock}', '{plugin.admin}']")


def test_listens_before_the_service_is_ready_and_callers_wait(plugin: Plugin) -> None:
    begin = time.monotonic()
    plugin.start("import time; time.sleep(1)\n" + SERVICE)
    until(plugin.listens)
    until(lambda: plugin.pid_file.exists())
    answer = call(plugin.sock)
    assert answer
    assert time.monotonic() - begin >= 1


def test_sockets_are_for_root_alone(plugin: Plugin) -> None:
    plugin.start(SERVICE)
    until(plugin.listens)
    for path in (plugin.sock, plugin.admin):
        until(path.exists)
        assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_pid_file_names_init(plugin: Plugin) -> None:
    process = plugin.start(SERVICE)
    until(plugin.pid_file.exists)
    assert plugin.pid_file.read_text() == f"{process.pid}\n"


def test_stale_socket_and_pid_file_are_replaced(plugin: Plugin) -> None:
    plugin.sock.parent.mkdir()
    with socket.socket(socket.AF_UNIX) as stale:
        stale.bind(str(plugin.sock))
    plugin.pid_file.write_text("1\n")
    plugin.start(SERVICE)
    until(lambda: plugin.pid_file.read_text() != "1\n")
    assert service_pid(plugin.sock)


def test_refuses_a_socket_that_is_being_served(plugin: Plugin) -> None:
    plugin.sock.parent.mkdir()
    with socket.socket(socket.AF_UNIX) as other:
        other.bind(str(plugin.sock))
        other.listen()
        assert plugin.start(SERVICE).wait(10) == 1
    assert "another process is serving the socket" in plugin.said()


def test_killed_service_returns_and_the_socket_never_refuses(plugin: Plugin) -> None:
    plugin.start(SERVICE)
    until(plugin.listens)
    seen = set()
    for _ in range(3):
        pid = service_pid(plugin.sock)
        seen.add(pid)
        os.kill(pid, signal.SIGKILL)
    seen.add(service_pid(plugin.sock))
    assert len(seen) == 4


@pytest.mark.parametrize("status", [0, 1, 255])
def test_no_exit_status_of_the_service_ends_init(plugin: Plugin, status: int) -> None:
    process = plugin.start(f"import sys; sys.exit({status})")
    said = plugin.said_up_to("starting it again in 0.1 s")
    assert process.poll() is None
    process.terminate()
    assert process.wait(10) == 0
    assert f"the service ended with status {status}" in said
    assert "starting it again at once" in said
    assert "starting it again in 0.1 s" in said


def test_a_program_that_is_not_there_is_tried_again(plugin: Plugin) -> None:
    process = plugin.start(SERVICE)
    process.terminate()
    process.wait(10)
    code = INIT.format(stop=1, delays="(0.0, 0.1)")
    argv = [*plugin.argv(code), "/no/program"]
    with subprocess.Popen(argv, cwd=ROOT, stderr=subprocess.PIPE, text=True) as init:
        assert init.stderr is not None
        said = [init.stderr.readline() for _ in range(4)]
        assert init.poll() is None
        init.terminate()
        assert "cannot run /no/program: No such file or directory" in "".join(said)


def test_restart_delays_grow_and_start_anew_after_a_steady_time() -> None:
    from driver import init

    assert list(init.DELAYS) == sorted(init.DELAYS)
    assert init.DELAYS[0] == 0
    assert init.DELAYS[-1] <= 5, "Docker gives up after 15 s of tries"
    assert init.STOP_SECONDS + init.KILL_SECONDS < 10, "Docker kills after 10 s"


def test_a_service_that_lived_a_while_is_started_again_at_once(plugin: Plugin) -> None:
    process = plugin.start("import time; time.sleep(0.6)", delays="(0.0, 30.0)")
    said = plugin.said_up_to("starting it again") + plugin.said_up_to("starting it again")
    process.terminate()
    process.wait(20)
    assert said.count("starting it again at once") == 2


def test_orphans_of_the_service_are_reaped(plugin: Plugin, tmp_path: Path) -> None:
    orphan = tmp_path / "orphan"
    fork = f"""
import os, time
if not os.fork():
    if os.fork():
        os._exit(0)
    time.sleep(0.2)
    open({str(orphan)!r}, "w").write(f"{{os.getpid()}} {{os.getppid()}}")
    os._exit(7)
os.wait()
"""
    process = plugin.start(fork + SERVICE)
    until(lambda: orphan.exists() and orphan.read_text())
    pid, parent = map(int, orphan.read_text().split())
    assert parent == process.pid, "init adopts what the service leaves"
    until(lambda: not Path(f"/proc/{pid}").exists())
    assert process.poll() is None


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_stop_is_forwarded_and_cleans_up(
    plugin: Plugin, tmp_path: Path, number: signal.Signals
) -> None:
    note = tmp_path / "note"
    catch = f"""
import signal, sys
def stop(number, _):
    open({str(note)!r}, "w").write(str(number))
    sys.exit(3)
signal.signal(signal.SIGTERM, stop)
signal.signal(signal.SIGINT, stop)
"""
    process = plugin.start(catch + SERVICE)
    until(plugin.listens)
    call(plugin.sock)
    process.send_signal(number)
    assert process.wait(5) == 0
    assert note.read_text() == str(int(number))
    assert not plugin.sock.exists()
    assert not plugin.pid_file.exists()
    assert plugin.said() == ""


def test_a_service_that_does_not_stop_is_killed_in_time(plugin: Plugin) -> None:
    deaf = "import signal\nsignal.signal(signal.SIGTERM, signal.SIG_IGN)\n"
    process = plugin.start(deaf + SERVICE, stop=0.3)
    until(plugin.listens)
    service = service_pid(plugin.sock)
    process.terminate()
    assert process.wait(5) == 0
    assert "did not end within 0.3 s; killing it" in plugin.said()
    assert not Path(f"/proc/{service}").exists()


def test_stop_while_the_service_is_away_is_at_once(plugin: Plugin) -> None:
    process = plugin.start("raise SystemExit(1)", delays="(30.0,)")
    assert process.stderr is not None
    assert "starting it again in 30 s" in process.stderr.readline()
    begin = time.monotonic()
    process.terminate()
    assert process.wait(5) == 0
    assert time.monotonic() - begin < 2


def test_the_service_does_not_outlive_init(plugin: Plugin) -> None:
    process = plugin.start(SERVICE)
    until(plugin.listens)
    service = service_pid(plugin.sock)
    process.kill()
    until(lambda: not Path(f"/proc/{service}").exists() or "Z" in state(service))


def state(pid: int) -> str:
    return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0]


@pytest.mark.parametrize("gone", [False, True], ids=["stuck", "gone"])
def test_a_log_reader_that_is_stuck_or_gone_does_not_stop_init(plugin: Plugin, gone: bool) -> None:
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    with suppress(BlockingIOError):
        while True:
            os.write(writer, b"x" * 4096)
    os.set_blocking(writer, True)
    if gone:
        os.close(reader)
    code = INIT.format(stop=1, delays="(0.0, 0.05)")
    argv = [*plugin.argv(code), "/bin/false"]
    with subprocess.Popen(argv, cwd=ROOT, stderr=writer) as init:
        os.close(writer)
        until(plugin.listens)  # from now on a signal is not its end
        time.sleep(0.5)
        assert init.poll() is None
        init.terminate()
        try:
            assert init.wait(60) == 0
        finally:
            init.kill()
    if not gone:
        os.close(reader)


def test_many_callers_queue_while_the_service_is_away(plugin: Plugin) -> None:
    plugin.start("import time; time.sleep(0.5)\n" + SERVICE)
    until(plugin.listens)
    until(plugin.pid_file.exists)
    answers: list[str] = []
    threads = [
        threading.Thread(target=lambda: answers.append(call(plugin.sock))) for _ in range(200)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert len(answers) == 200
    assert all(answers)


@pytest.mark.parametrize("words", [[], ["--pid-file"], ["/run/x.sock"], ["/run/x.sock", "--"]])
def test_a_command_line_that_says_no_program(words: list[str]) -> None:
    argv = [sys.executable, "-m", "driver.init", *words]
    done = subprocess.run(argv, cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert done.returncode == 2
    assert "usage: python -m driver.init" in done.stderr


def test_imports_nothing_that_makes_it_late() -> None:
    """Docker connects half a second after the start; on a busy machine that is soon."""
    code = "import sys, driver.init; print(*sys.modules)"
    argv = [sys.executable, "-c", code]
    loaded = subprocess.run(argv, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    assert not {"click", "flask", "backends", "logging", "dataclasses"} & set(loaded.split())
