"""Encryption of what is in the bucket: AES-256-GCM under a key that only the nodes know.

Each disk has a data key, random, kept in its head wrapped by a key of the profile (RFC 3394). Each
object is encrypted under a key of its own: HMAC-SHA-256 of its name under the data key. A name is
never used twice for different bytes, and within an object every box has a place of its own, which
is the nonce: so no nonce is ever used twice under one key, without anybody counting. What was
sealed under one name or at one place opens at no other: objects cannot be swapped.
"""

import base64
import binascii
import hashlib
import hmac
import re
from pathlib import Path

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.keywrap import InvalidUnwrap, aes_key_unwrap, aes_key_wrap

from backends.errors import Damaged, HostError, Invalid

KEY_BYTES = 32
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")


class Cipher:
    """Seals and opens under one data key. Thread-safe."""

    def __init__(self, data_key: bytes) -> None:
        self._key = data_key

    def box(self, name: bytes) -> "Box":
        """What is sealed under `name`; the caller never uses a name twice for other bytes."""
        return Box(AESGCM(hmac.new(self._key, name, hashlib.sha256).digest()))


class Box:
    """The places of one object."""

    def __init__(self, key: AESGCM) -> None:
        self._key = key

    def seal(self, place: int, body: bytes, beside: bytes = b"") -> bytes:
        """`body`, encrypted; opens only at `place`, and with the same `beside`."""
        return self._key.encrypt(place.to_bytes(12, "big"), body, beside)

    def open(self, place: int, body: bytes, beside: bytes = b"") -> bytes:
        """What was sealed. Damaged when it was not sealed so, or not under this key."""
        try:
            return self._key.decrypt(place.to_bytes(12, "big"), body, beside)
        except (InvalidTag, ValueError) as error:
            raise Damaged(
                "what was encrypted does not open: it was changed, or belongs elsewhere"
            ) from error


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


def wrap(key: bytes, data_key: bytes) -> str:
    """The data key, to be opened with `key` only."""
    return aes_key_wrap(key, data_key).hex()


def unwrap(key: bytes, wrapped: str, *, subject: str) -> bytes:
    """The data key. Invalid when `key` is not the one it was wrapped with."""
    try:
        return aes_key_unwrap(key, bytes.fromhex(wrapped))
    except (InvalidUnwrap, ValueError) as error:
        raise Invalid(f"{subject} does not open with this key: it is another one") from error


def _decoded(text: bytes) -> bytes:
    try:
        return bytes.fromhex(text.decode("ascii"))
    except ValueError:
        pass
    try:
        return base64.b64decode(text, validate=True)
    except binascii.Error:
        return b""
