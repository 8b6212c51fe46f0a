"""Where the objects of a disk are in the store, and who made them.

A disk names its own objects below its prefix, as `data/...`, and those of the disk that it was
cloned from in full, as `disks/<uuid>/data/...`. It deletes none of the latter.
"""

import re

ROOT = "disks/"
_PART = re.compile(r"(?:disks/[^/]+/)?ckpt/([0-9a-f]{16})-([0-9a-f]{16})[0-9a-f]{16}/[^/]+")
_DATA = re.compile(r"(?:disks/[^/]+/)?data/([0-9a-f]{16})-[0-9a-f]{32}-[0-9a-f]+")


def prefix_of(uuid: str) -> str:
    """What all of a disk's objects begin with."""
    return f"{ROOT}{uuid}/"


def located(prefix: str, key: str) -> str:
    """The full key of an object that the disk with that prefix names so."""
    return key if key.startswith(ROOT) else prefix + key


def foreign(key: str) -> bool:
    """Whether it is an object of another disk, the base of this one."""
    return key.startswith(ROOT)


def maker(uuid: str, key: str) -> str:
    """Whose object it is: what its own bytes say."""
    return key.split("/", 2)[1] if foreign(key) else uuid


def checkpoint_name(seq: int, epoch: int, nonce: bytes) -> str:
    """What the parts of one checkpoint begin with: never used twice."""
    return f"ckpt/{seq:016x}-{epoch:016x}{nonce[:8].hex()}"


def made_at(key: str) -> int:
    """The record with which a part of a checkpoint begins to be needed. Of another disk: 0, as
    everything of a base is there before the first record."""
    found = _PART.fullmatch(key)
    return int(found[1], 16) if found and not foreign(key) else 0


def seq_of(key: str) -> int | None:
    """The record that a part of a checkpoint says the disk is like; None for other names."""
    found = _PART.fullmatch(key)
    return int(found[1], 16) if found else None


def epoch_of(key: str) -> int | None:
    """The epoch of whoever made a data object or a part of a checkpoint; None for other names."""
    if found := _DATA.fullmatch(key):
        return int(found[1], 16)
    found = _PART.fullmatch(key)
    return int(found[2], 16) if found else None
