"""The server's processes, with real ones."""

import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

ROOT = Path(__file__).parents[2]
# its worker is deaf to SIGTERM and holds on to a thread that never ends
STUBBORN = """
import signal, sys, threading, time
from pathlib import Path
from driver.server import Server

docker, admin, made = map(Path, sys.argv[1:])
sys.argv = sys.argv[:1]

def make():
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    threading.Thread(target=time.sleep, args=(1000,)).start()
    made.touch()
    return (lambda *_: []), (lambda *_: [])

Server(docker, admin, make).run()
"""


def until(true: Callable[[], object], seconds: float = 10) -> None:
    deadline = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline, "it did not come about"
        time.sleep(0.01)


def gone(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] == "Z"
    except OSError:
        return True


def test_the_worker_dies_with_its_parent(tmp_path: Path) -> None:
    """Else two services would share the sockets and the ledger."""
    made = tmp_path / "made"
    paths = [str(tmp_path / "docker.sock"), str(tmp_path / "admin.sock"), str(made)]
    argv = [sys.executable, "-c", STUBBORN, *paths]
    with subprocess.Popen(argv, cwd=ROOT) as parent:
        until(made.exists)
        children = Path(f"/proc/{parent.pid}/task/{parent.pid}/children").read_text().split()
        assert len(children) == 1
        parent.kill()
        until(lambda: gone(int(children[0])), 5)
    assert parent.returncode == -signal.SIGKILL
