"""What runs on a machine whose power is cut: `python -m tests.lab.machine_guest SETTINGS EPOCH`.

It mounts the volume `db` under the claim EPOCH, looks at the file `log` in it, and then appends
lines to it, each synced before it says so:

    HAS <n>           the file is the lines 1 to n, and nothing else
    SYNCED <n>        line n was written and fsync has returned
    FAILED <error>    a write or fsync has failed; it ends
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

from backends.s3 import disks
from backends.s3.options import S3Settings
from tests.lab.s3_nodes import Node

HOME = Path("/data/home")
SLOW = 10
"""How much longer things may take here: the processor is emulated."""


def main(settings: str, epoch: str) -> None:
    """Mount, look, append until the end."""
    disks.OPEN_SECONDS *= SLOW
    seen = json.loads(Path(settings).read_text())
    credentials = Path(seen.pop("credentials"))
    node = Node(S3Settings(**seen, credentials=credentials, path_style=True), HOME, "machine")
    place = node.attach(node.backend.get("db"), int(epoch))
    path = place / "log"
    found = whole(path)
    print(f"HAS {found}", flush=True)
    try:
        with path.open("ab", buffering=0) as file:
            while True:
                found += 1
                file.write(line(found))
                os.fsync(file.fileno())
                print(f"SYNCED {found}", flush=True)
    except OSError as error:
        print(f"FAILED {error}", flush=True)


def line(number: int) -> bytes:
    """The line of that number."""
    return b"%08d\n" % number


def whole(path: Path) -> int:
    """How many lines the file has. A last one that was being written is cut off; anything else
    that does not belong there ends the program."""
    body = path.read_bytes() if path.exists() else b""
    count = len(body) // len(line(0))
    if body[: count * len(line(0))] != b"".join(map(line, range(1, count + 1))):
        raise SystemExit(f"BROKEN: {path} holds what was never written so")
    if path.exists():
        os.truncate(path, count * len(line(0)))
    return count


if __name__ == "__main__":
    main(*sys.argv[1:])
