"""Encryption of what is in the bucket: AES-256-GCM under a key that only the nodes know.

Each disk has a data key, random, kept in its head wrapped by a key of the profile (RFC 3394). Each
object is encrypted under a key of its own: HMAC-SHA-256 of its name under the data key. A name is
never used twice for different bytes, and within an object every box has a place of its own, which
is the nonce: so no nonce is ever used twice under one key, without anybody counting. What was
sealed under one name or at one place opens at no other: objects cannot be swapped.
"""

import hashlib
import hmac

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.keywrap import InvalidUnwrap, aes_key_unwrap, aes_key_wrap

from backends.errors import Damaged, Invalid


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


def wrap(key: bytes, data_key: bytes) -> str:
    """The data key, to be opened with `key` only."""
    return aes_key_wrap(key, data_key).hex()


def unwrap(key: bytes, wrapped: str, *, subject: str) -> bytes:
    """The data key. Invalid when `key` is not the one it was wrapped with."""
    try:
        return aes_key_unwrap(key, bytes.fromhex(wrapped))
    except (InvalidUnwrap, ValueError) as error:
        raise Invalid(f"{subject} does not open with this key: it is another one") from error
