"""sysbench's oltp_write_only on a MariaDB of its own whose data lie in a given directory."""

import atexit
import functools
import re
import shutil
import subprocess
import tempfile
import time
from pathlib import Path

TABLES, ROWS, THREADS = 2, 20_000, 4
START_SECONDS = 60.0
_LOG_SIZE = "--innodb-log-file-size=32M"


def transactions_per_second(
    place: Path, seconds: int, *, threads: int = THREADS, rows: int = ROWS, binlog: bool = True
) -> float:
    """Install, fill, run, stop; durable settings (flush at every commit). Without `binlog` a commit
    is one flush, not two."""
    data = place / "mysql"
    server = _start(data, ["--sync-binlog=1", "--log-bin"] if binlog else ["--skip-log-bin"])
    sock = str(_socket())
    common = [
        "oltp_write_only",
        f"--mysql-socket={sock}",
        "--mysql-user=root",
        "--mysql-db=test",
        f"--tables={TABLES}",
        f"--table-size={rows}",
    ]
    try:
        subprocess.run(
            ["mariadb", "-S", sock, "-e", "CREATE DATABASE IF NOT EXISTS test"], check=True
        )
        subprocess.run(["sysbench", *common, "prepare"], check=True, capture_output=True)
        run = ["sysbench", *common, f"--threads={threads}", f"--time={seconds}", "run"]
        done = subprocess.run(run, check=True, capture_output=True, text=True)
    finally:
        server.terminate()
        server.wait(60)
        shutil.rmtree(data)
    match = re.search(r"transactions:\s+\d+\s+\(([\d.]+) per sec", done.stdout)
    if not match:
        raise RuntimeError(f"sysbench printed no rate:\n{done.stdout}")
    return float(match[1])


@functools.cache
def _socket() -> Path:
    """Not beside the data: some of the file systems to compare have no sockets."""
    place = Path(tempfile.mkdtemp(prefix="kedge-bench-socket-"))
    atexit.register(shutil.rmtree, place, ignore_errors=True)
    return place / "s.sock"


@functools.cache
def _installed() -> Path:
    """An empty server's data, made once: on slow storage that takes longer than a measurement."""
    data = Path(tempfile.mkdtemp(prefix="kedge-bench-mariadb-")) / "data"
    atexit.register(shutil.rmtree, data.parent, ignore_errors=True)
    install = ["mariadb-install-db", "--no-defaults", f"--datadir={data}", "--user=root"]
    quick = ["--auth-root-authentication-method=normal", "--skip-test-db", _LOG_SIZE]
    subprocess.run([*install, *quick], check=True, capture_output=True)
    return data


def _start(data: Path, more: list[str]) -> "subprocess.Popen[bytes]":
    shutil.copytree(_installed(), data)
    options = [
        "--no-defaults",
        f"--datadir={data}",
        f"--socket={_socket()}",
        "--user=root",
        "--skip-networking",
        _LOG_SIZE,
        "--innodb-flush-log-at-trx-commit=1",
        "--innodb-buffer-pool-size=256M",
        *more,
    ]
    with (data / "server.log").open("wb") as log:
        server = subprocess.Popen(["mariadbd", *options], stdout=log, stderr=log)
    end = time.monotonic() + START_SECONDS
    while subprocess.run(
        ["mariadb-admin", "-S", str(_socket()), "ping"], capture_output=True, check=False
    ).returncode:
        if time.monotonic() > end or server.poll() is not None:
            raise RuntimeError(f"MariaDB did not start: {(data / 'server.log').read_text()[-500:]}")
        time.sleep(0.1)
    return server
