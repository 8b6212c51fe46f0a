"""One state of one record as an object: its name, and how it lies in there.

    records/<kind>/<name>/<n>      a value, in an envelope behind a line with the slot's floor
                                   or a tombstone: kedge-tombstone 1 <version> <floor> <crc32>

A listing tells them by their size alone: no tombstone is larger than GRAVE, no value smaller.
"""

import re
import zlib
from dataclasses import dataclass

from backends.errors import Damaged
from backends.records.base import checked_key, is_key
from backends.records.envelopes import seal, unseal
from backends.records.versions import Version

WITNESS = 0
"""The slot that testifies for the first one."""
FIRST = 1
GRAVE = 160
"""Bytes."""
_ROOT = "records/"
_NAME = re.compile(r"records/(.+)/([0-9]{16})")
_DEAD = "kedge-tombstone 1"


def of_kind(kind: str) -> str:
    """What the names of all slots of a kind begin with."""
    return _ROOT + checked_key(f"{kind}/any").removesuffix("any")


def of_key(key: str) -> str:
    """What the names of all slots of a key begin with."""
    return f"{_ROOT}{key}/"


def name_of(key: str, number: int) -> str:
    """The name of one slot."""
    return f"{of_key(key)}{number:016d}"


def key_and_number(name: str) -> tuple[str, int] | None:
    """Which slot an object is; None: it is none."""
    parts = _NAME.fullmatch(name)
    return (parts[1], int(parts[2])) if parts and is_key(parts[1]) else None


@dataclass(frozen=True)
class Slot:
    """One state of one key. Slots below `floor` certainly were deleted before this one was made.
    `value` is None for a tombstone."""

    version: Version
    floor: int
    value: bytes | None

    def sealed(self, key: str) -> bytes:
        """The object for it."""
        if self.value is None:
            text = f"{_DEAD} {self.version} {self.floor}"
            return f"{text} {_checksum(key, text)}\n".encode()
        lead = b"%d" % self.floor + b" " * GRAVE + b"\n"
        return seal(key, str(self.version), lead + self.value)

    @classmethod
    def unsealed(cls, key: str, number: int, body: bytes) -> "Slot":
        """What `body` says; Damaged unless it is, bit for bit, that slot of that key."""
        value: bytes | None = None
        if body.startswith(_DEAD.encode()):
            text, floor = _entombed(key, body)
        else:
            words = body.split(b"\n", 1)[0].decode(errors="replace").split()
            text = words[3] if len(words) == 6 else ""
            lead, _, value = unseal(key, text, body).partition(b"\n")
            floor = lead.decode().strip()
        version = Version.parse(text)
        if version is None or version.number != number or not floor.isdecimal():
            raise Damaged(f"record {key} at slot {number} does not say what it should")
        return cls(version, int(floor), value)


def _entombed(key: str, body: bytes) -> tuple[str, str]:
    """The version and floor on a tombstone."""
    words = body.decode(errors="replace").split(" ")
    text = " ".join(words[:-1])
    if len(words) != 5 or words[4] != f"{_checksum(key, text)}\n":
        raise Damaged(f"the tombstone of record {key} does not match its checksum")
    return words[2], words[3]


def _checksum(key: str, text: str) -> str:
    return f"{zlib.crc32(f'{key} {text}'.encode()):08x}"
