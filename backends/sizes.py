"""What every size of a volume keeps to, whatever its storage."""

from collections.abc import Iterator

from backends.errors import Invalid
from backends.options import Size

BLOCK = Size(4096)
"""Bytes: the block of every file system that volumes are given."""


def broken(size: Size, least: Size = BLOCK, what: str = "a file system") -> Iterator[str]:
    """Problems with a size, for `VolumeOptions.problems`. `least`: what the file system `what`
    needs."""
    if size < least:
        yield f"size={size} is too small for {what}; use at least {least}"
    if size % BLOCK:
        yield f"size={size} is not a multiple of {int(BLOCK)} bytes"


def check_shrinking(name: str, has: Size, to: Size) -> None:
    """Invalid when the volume would become smaller."""
    if to < has:
        smaller = to if to >= 1024 else f"{to} bytes"  # somebody left out the unit
        raise Invalid(f"volume {name} has {has}; it cannot shrink to {smaller}")


def check_growth(name: str, has: Size, to: Size) -> None:
    """Invalid unless the volume's file system can be grown to `to`, which may be what it has."""
    check_shrinking(name, has, to)
    for problem in broken(to):
        raise Invalid(problem)
