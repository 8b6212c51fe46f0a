"""Where the content of a clone comes from."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from backends.base import Volume
from backends.errors import Invalid
from backends.tree.options import TreeOptions
from backends.tree.snapshots import home_of, kept_at
from backends.tree.source import Source


@dataclass(frozen=True)
class Origin:
    """Finds the snapshot that a new volume is a copy of. `get` reads a volume of the profile."""

    source: Source
    get: Callable[[str], Volume[TreeOptions]]

    def of(self, volume: Volume[TreeOptions]) -> Path | None:
        """Where the snapshot lies, seen through the source of `volume`, which is open; None: the
        volume begins empty. NotFound; Invalid, with what does not fit."""
        wanted = volume.options.from_
        if wanted is None:
            return None
        source = self.get(wanted.volume)
        has, asked = source.options.settled(), volume.options.settled()
        for option in ("layout", "fs"):
            if getattr(has, option) != getattr(asked, option):
                raise Invalid(
                    f"volume {volume.name} can only have the {option} of {wanted.volume}, from "
                    f"which it is made; leave {option} out"
                )
        return kept_at(home_of(self.source, volume.uuid, source.uuid), source.name, wanted.snapshot)
