"""Counting and sampling beside a load: requests at the store, processor time, lag, pauses."""

import os
import re
import statistics
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path
from urllib.parse import unquote

from tests.lab.s3_nodes import Node

_REQUEST = re.compile(rb'"(?:\x1b\[[0-9;]*m)*(GET|PUT|HEAD|DELETE|POST) (\S+)')
"""In moto's log what is not 200 has a colour."""
_KIND = re.compile(r"(?:records/([a-z]+)|disks/[0-9a-f-]{36}/([a-z]+))(?:/|$)")
_WORDS = {"disks": "heads", "nodes": "leases", "volumes": "catalog"}
_LOADING = 2.0
_TICK = os.sysconf("SC_CLK_TCK")


class Requests:
    """What a store was asked for since `begin`, by verb; a LIST is a verb of its own."""

    def __init__(self, access_log: Path) -> None:
        self._log = access_log
        self._from = 0

    def begin(self) -> None:
        """Count from now on."""
        self._from = self._log.stat().st_size

    def counted(self) -> Counter[str]:
        """Since then, by verb."""
        return Counter(_verb(*one) for one in self._found())

    def kinds(self) -> Counter[str]:
        """Since then, by verb and what was asked for: `PUT log`, `GET leases`, `LIST claims`."""
        return Counter(f"{_verb(*one)} {kind(one[1].decode())}" for one in self._found())

    def _found(self) -> list[tuple[bytes, bytes]]:
        with self._log.open("rb") as file:
            file.seek(self._from)
            return _REQUEST.findall(file.read())


def kind(path: str) -> str:
    """What a request is about: a kind of record (`heads` of disks, `leases` of nodes, `claims`,
    the `catalog`) or a part of a disk (`log`, `data`, `ckpt`, `hot`)."""
    found = _KIND.search(unquote(path))
    if found is None:
        return "other"
    record, part = found.groups()
    return _WORDS.get(record, record) if record else part


def _verb(verb: bytes, path: bytes) -> str:
    return "LIST" if verb == b"GET" and b"list-type" in path else verb.decode()


def processor_seconds(mark: str) -> float:
    """That all processes with `mark` in their command line have used."""
    total = 0.0
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            if mark.encode() in (entry / "cmdline").read_bytes():
                fields = (entry / "stat").read_text().rpartition(")")[2].split()
                total += (int(fields[11]) + int(fields[12])) / _TICK
        except OSError:
            continue
    return total


@contextmanager
def sampled(ask: Callable[[], float], every: float = 0.05) -> Iterator[list[float]]:
    """What `ask` said during the block, again and again."""
    found: list[float] = []
    ending = threading.Event()

    def run() -> None:
        while not ending.wait(every):
            found.append(ask())

    thread = threading.Thread(target=run)
    thread.start()
    try:
        yield found
    finally:
        ending.set()
        thread.join()


class Writer:
    """Writes 4 KiB and syncs, over and over; remembers when each was done."""

    def __init__(self, file: Path) -> None:
        self.done: list[float] = []
        self.failed = ""
        self._file = file
        self._ending = threading.Event()
        self._thread = threading.Thread(target=self._run)

    def __enter__(self) -> "Writer":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ending.set()
        self._thread.join()

    def longest(self, begin: float, end: float) -> float:
        """Seconds of the longest pause between two that were done, around these instants."""
        times = [at for at in self.done if begin - 1 <= at <= end + 1]
        return max(after - before for before, after in pairwise(times))

    def _run(self) -> None:
        handle = os.open(self._file, os.O_RDWR | os.O_CREAT)
        try:
            count = 0
            while not self._ending.is_set():
                os.pwrite(handle, os.urandom(4096), count % 4096 * 4096)
                os.fdatasync(handle)
                self.done.append(time.monotonic())
                count += 1
        except OSError as error:
            self.failed = str(error)
        finally:
            os.close(handle)


def await_spare(node: Node, seconds: float = 60.0) -> None:
    """Until a second server stands ready: started, and with time to load what it needs."""
    until = time.monotonic() + seconds
    while not ((held := node.path.held()) and held.next):
        if time.monotonic() > until:
            raise TimeoutError(f"no spare server after {seconds} s: {node.words()}")
        time.sleep(0.02)
    time.sleep(_LOADING)


def percentile(values: Sequence[float], which: int) -> float:
    """The value below which `which` percent of them are."""
    return sorted(values)[min(len(values) - 1, len(values) * which // 100)] if values else 0.0


def spread(values: Sequence[float]) -> dict[str, float]:
    """For tables."""
    return {
        "count": len(values),
        "p50": statistics.median(values) if values else 0.0,
        "p99": percentile(values, 99),
        "max": max(values, default=0.0),
    }
