"""Optional at the seam: what keeps volumes in order over time."""

from typing import Any, Protocol, runtime_checkable

from backends.base import Volume


@runtime_checkable
class Rewrappable(Protocol):
    """Implemented by backends whose volumes have a data key that a key of the profile wraps
    (`kedge rewrap`)."""

    def rewrap(self, volume: Volume[Any], key: str) -> None:
        """Wrap the volume's data key by the profile's key of that name. No data are written again,
        and whoever has the volume attached goes on. Repeatable. Invalid: the volume is not
        encrypted, or a key is missing or another one; then nothing is changed. Conflict."""


@runtime_checkable
class Tidies(Protocol):
    """Implemented by backends that keep something of each volume on the nodes that had it, or of
    changes that a crash cut off."""

    def tidy(self) -> None:
        """Remove what this node keeps of volumes that are gone for good, and what nobody will
        finish any more. Called now and then, by one thread. Raises what the storage raises;
        then it is tried again."""
