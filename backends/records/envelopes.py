"""How a record's value lies in a file: with its key, its version, its length and a checksum.

    kedge-record 1 <key> <version> <length> <crc32, 8 hex digits>\n<value>

The checksum covers key and version too, so that neither a torn value nor the value of another
record or of another time is ever taken for this one.
"""

import zlib

from backends.errors import Damaged

_MAGIC = "kedge-record 1"


def seal(key: str, version: str, value: bytes) -> bytes:
    """The file content for `value`."""
    head = f"{_MAGIC} {key} {version} {len(value)} "
    return head.encode() + b"%08x\n" % zlib.crc32(value, zlib.crc32(head.encode())) + value


def unseal(key: str, version: str, content: bytes) -> bytes:
    """The value in `content`; Damaged unless it is, bit for bit, that version of that key."""
    value = content.partition(b"\n")[2]
    if content != seal(key, version, value):
        raise Damaged(
            f"record {key} at version {version} does not match its checksum; "
            "restore it from a backup, or remove its directory to give it up"
        )
    return value
