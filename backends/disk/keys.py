"""The keys of a profile: files in one directory, the same on every node."""

import base64
import binascii
import re
from pathlib import Path

from backends.errors import HostError, Invalid

KEY_BYTES = 32
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")


def read_key(directory: str, name: str) -> bytes:
    """The profile's key of that name. Invalid when there is no such name or it is no key;
    HostError when its file cannot be read. No message holds any of it."""
    if not _NAME.fullmatch(name):
        raise Invalid(f"{name[:70]!r} is no name of a key: use letters, digits, '.', '_' and '-'")
    if not directory:
        raise Invalid(f"encrypt={name} needs the profile's setting `keys`, a directory of keys")
    path = Path(directory, name)
    try:
        text = path.read_bytes()
    except FileNotFoundError:
        raise Invalid(f"there is no key {name}: {path} is missing on this node") from None
    except OSError as error:
        raise HostError(f"the key {name} cannot be read: {path}: {error.strerror}") from error
    if len(text) == KEY_BYTES:
        return text
    found = _decoded(text.strip())
    if len(found) != KEY_BYTES:
        raise Invalid(f"{path} holds no key: it must be 32 bytes, plain, in hex or in base64")
    return found


def _decoded(text: bytes) -> bytes:
    try:
        return bytes.fromhex(text.decode("ascii"))
    except ValueError:
        pass
    try:
        return base64.b64decode(text, validate=True)
    except binascii.Error:
        return b""
