"""Removing what killed processes left below a root.

Values that lost, and keys whose removal was interrupted, can be told from live ones for certain
and go at once. A key in the making looks like one whose maker died: it goes when it is old.
"""

from contextlib import suppress

from backends.records.base import is_key
from backends.records.key_directory import KeyDirectory
from backends.records.root import Root

GRACE = 24 * 3600.0
"""Seconds before a key in the making is taken for one whose maker died."""


def sweep(root: Root, grace: float) -> int:
    """How many keys or makings were cleaned. A key in the making goes after `grace` seconds by the
    file server's clock, and a maker that wakes later than that gets Unavailable."""
    swept = 0
    with root.asked("sweep"):
        for kind in root.names(root.path):
            if not is_key(f"{kind}/any"):
                continue
            for name in root.names(root.path / kind):
                place = KeyDirectory(root.path / kind / name, root.files)
                if is_key(f"{kind}/{name}"):
                    swept += place.tidy(root.look(place))
                elif name.startswith((".new.", ".old.")):
                    swept += _sweep_making(root, place, grace)
                elif name.startswith(".now."):
                    with suppress(FileNotFoundError):
                        root.files.unlink(place.path)
    return swept


def _sweep_making(root: Root, making: KeyDirectory, grace: float) -> bool:
    with suppress(FileNotFoundError):  # it was settled, or somebody else sweeps it
        if making.path.name.startswith(".new."):
            if _age(root, making) < grace:
                return False
            dropped = root.fresh(making.path.parent, ".old")
            root.files.rename(making.path, dropped)
            making = KeyDirectory(dropped, root.files)
        making.erase()
        return True
    return False


def _age(root: Root, place: KeyDirectory) -> float:
    now = root.fresh(place.path.parent, ".now")
    root.files.write_new(now, b"")
    try:
        return root.files.age(place.path, than=now)
    finally:
        root.files.unlink(now)
