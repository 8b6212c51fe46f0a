"""From a disk's head and the profile's keys to what codes its blocks."""

from backends.disk.core.coding import Coder, Compression
from backends.disk.core.head import Head, Heads
from backends.disk.keys import read_key
from backends.errors import Invalid


def coder_of(head: Head, keys: str, compress: str = "none") -> Coder:
    """How a disk's blocks are coded. Invalid when its key is missing in the directory `keys` or is
    another one: to be asked before anything is written. HostError."""
    cipher = None
    if head.wrapped_key:
        from backends.disk.core import ciphers  # loads a library that others do not need

        key = read_key(keys, head.key_name)
        subject = f"disk {head.uuid}, encrypted with the key {head.key_name},"
        cipher = ciphers.Cipher(ciphers.unwrap(key, head.wrapped_key, subject=subject))
    return Coder(Compression(compress), cipher)


def wrapped(keys: str, name: str, data_key: bytes) -> str:
    """A new disk's data key (32 random bytes), wrapped by the profile's key of that name. Invalid,
    HostError."""
    from backends.disk.core import ciphers

    return ciphers.wrap(read_key(keys, name), data_key)


def rewrap(heads: Heads, uuid: str, keys: str, name: str) -> Head:
    """Put another of the profile's keys in the place of the one that opens a disk. No data are
    written again; whoever has the disk open goes on. Invalid: not encrypted, or a key is missing
    or another; HostError, Conflict, NotFound."""
    from backends.disk.core import ciphers

    head = heads.read(uuid)
    if not head.wrapped_key:
        raise Invalid(
            f"the volume is not encrypted, so there is no key to change; make a new volume with "
            f"encrypt={name}, and copy"
        )
    old, new = read_key(keys, head.key_name), read_key(keys, name)
    subject = f"disk {uuid}, encrypted with the key {head.key_name},"
    data_key = ciphers.unwrap(old, head.wrapped_key, subject=subject)
    return heads.rewrap(uuid, name, ciphers.wrap(new, data_key), instead_of=head.wrapped_key)
