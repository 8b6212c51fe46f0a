"""A process that writes as a database does: a line is acknowledged once it is durable."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path

_PROGRAM = """
import json, os, sys, time
path, pause = sys.argv[1], float(sys.argv[2])
number = 0
try:
    file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    while True:
        begun = time.monotonic()
        os.write(file, b"%09d\\n" % number)
        os.fsync(file)
        print(json.dumps([number, time.monotonic() - begun]), flush=True)
        number += 1
        time.sleep(pause)
except OSError as error:
    print(json.dumps([-error.errno, time.monotonic()]), flush=True)
"""


class Writer:
    """Use as a context; ends with it."""

    def __init__(self, path: Path, *, pause: float = 0.0) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-c", _PROGRAM, str(path), str(pause)], stdout=subprocess.PIPE
        )
        assert self._process.stdout is not None
        os.set_blocking(self._process.stdout.fileno(), False)
        self._text = b""

    @property
    def pid(self) -> int:
        """Of the process."""
        return self._process.pid

    def __enter__(self) -> Writer:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.wait()
        assert self._process.stdout is not None
        self._process.stdout.close()

    def _said(self) -> list[tuple[int, float]]:
        assert self._process.stdout is not None
        while chunk := self._process.stdout.read(1 << 16):
            self._text += chunk
        lines = self._text.splitlines(keepends=True)
        return [tuple(json.loads(line)) for line in lines if line.endswith(b"\n")]

    def acknowledged(self) -> int:
        """How many lines are durable."""
        return sum(number >= 0 for number, _ in self._said())

    def longest(self) -> float:
        """Seconds that the slowest line took."""
        return max(took for number, took in self._said() if number >= 0)

    def error(self) -> int:
        """The errno that ended it; 0 while it writes."""
        return next((-number for number, _ in self._said() if number < 0), 0)

    def wait_for(self, lines: int, *, seconds: float = 30) -> None:
        """Until so many more lines are durable."""
        goal, end = self.acknowledged() + lines, time.monotonic() + seconds
        while self.acknowledged() < goal:
            assert not self.error(), os.strerror(self.error())
            assert time.monotonic() < end, f"{self.acknowledged()} of {goal} lines"
            time.sleep(0.01)

    def wait_failed(self, *, seconds: float) -> int:
        """The errno that ended it, within some time."""
        end = time.monotonic() + seconds
        while not self.error():
            assert time.monotonic() < end, f"it still writes, or hangs, after {seconds} s"
            time.sleep(0.01)
        return self.error()
