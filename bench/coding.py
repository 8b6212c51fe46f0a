"""What compression and encryption gain and cost, on pages like those of a database.

Synthetic InnoDB-like pages: 16 KiB each, 70 % full of rows (an id, a number, text from a small
vocabulary, a random 8-byte value each), zeros behind them; then text, and random bytes. One thread,
in memory: no store, no disk. `plain` is the same path with neither, so ratios are to it.
Run: python -m bench.coding [--json] [--mib 64]
"""

import argparse
import json
import os
import random
import statistics
import time
from collections.abc import Callable

from backends.disk.core.ciphers import Cipher
from backends.disk.core.coding import Coder, Compression, Frames

_WORDS = [
    f"{word}{n}" for word in ("order", "customer", "street", "paid", "open") for n in range(80)
]
_PAGE, _FULL = 16384, 0.7
_OBJECT = 2048
_ROUNDS = 3


def page(chance: random.Random, number: int) -> bytes:
    """A page of rows."""
    body = bytearray(number.to_bytes(8, "big") * 5)
    while len(body) < _PAGE * _FULL:
        words = " ".join(chance.choices(_WORDS, k=4))
        body += chance.getrandbits(31).to_bytes(4, "big") + words.encode() + chance.randbytes(8)
    return bytes(body).ljust(_PAGE, b"\0")[:_PAGE]


def inputs(size: int) -> dict[str, bytes]:
    """Kinds of content."""
    chance = random.Random(7)
    pages = b"".join(page(chance, number) for number in range(size // _PAGE))
    text = " ".join(chance.choices(_WORDS, k=size // 6)).encode()[:size]
    return {"database": pages, "text": text.ljust(size, b" "), "random": os.urandom(size)}


def coders() -> dict[str, Coder]:
    """Every way to keep blocks."""
    cipher = Cipher(bytes(32))
    found = {}
    for compression in Compression:
        name = "plain" if compression is Compression.NONE else compression.value
        found[name] = Coder(compression)
        found[f"{name}+encrypt"] = Coder(compression, cipher)
    return found


def seconds(work: Callable[[], object]) -> float:
    """Median of some rounds."""
    took = []
    for _ in range(_ROUNDS):
        began = time.perf_counter()
        work()
        took.append(time.perf_counter() - began)
    return statistics.median(took)


def measure(size: int) -> list[dict[str, float | str]]:
    """One row per content and way."""
    rows: list[dict[str, float | str]] = []
    for kind, body in inputs(size).items():
        blocks = [body[at : at + 4096] for at in range(0, size, 4096)]
        objects = [blocks[at : at + _OBJECT] for at in range(0, len(blocks), _OBJECT)]
        for name, coder in coders().items():
            made = [coder.encode(b"%d" % n, part) for n, part in enumerate(objects)]
            stored = sum(sum(lengths) for _, lengths in made)

            def write(coder: Coder = coder, objects: list[list[bytes]] = objects) -> None:
                for number, part in enumerate(objects):
                    coder.encode(b"%d" % number, part)

            def read(
                coder: Coder = coder,
                made: list[tuple[list[bytes], "object"]] = made,  # type: ignore[assignment]
                objects: list[list[bytes]] = objects,
            ) -> None:
                for number, (frames, lengths) in enumerate(made):
                    how = Frames(coder.number, b"%d" % number, lengths)  # type: ignore[arg-type]
                    for index, frame in enumerate(frames):
                        count = min(16, len(objects[number]) - 16 * index)
                        coder.decode(how, index, frame, count)

            mib = size / (1 << 20)
            rows.append(
                {
                    "content": kind,
                    "kept": name,
                    "stored": round(stored / size, 3),
                    "write MiB/s": round(mib / seconds(write)),
                    "read MiB/s": round(mib / seconds(read)),
                }
            )
    return rows


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--mib", type=int, default=64)
    parser.add_argument("--json", action="store_true")
    chosen = parser.parse_args()
    rows = measure(chosen.mib << 20)
    if chosen.json:
        print(json.dumps(rows, indent=2))
        return
    columns = list(rows[0])
    print("  ".join(f"{column:>14}" for column in columns))
    for row in rows:
        print("  ".join(f"{row[column]!s:>14}" for column in columns))


if __name__ == "__main__":
    main()
