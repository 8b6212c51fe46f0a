"""Volumes made from others: `-o from=VOLUME[@SNAPSHOT]`.

Storage only copies from a snapshot, which does not change while it does. For `from=VOLUME` one is
taken for the occasion, and removed when the clone is there.
"""

import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from backends.errors import InvalidOptions, KedgeError, NotFound
from backends.options import to_strings
from backends.snapshots import Source

if TYPE_CHECKING:
    from driver.inventory import Known
    from driver.volumes import Volumes

log = logging.getLogger(__name__)
NOT_INHERITED = frozenset({"from", "snapshots", "on_remove"})
"""Options that say what shall become of one volume, not what it is."""


@dataclass(frozen=True)
class Cloning:
    """What Docker's Create needs to know about the source of a new volume."""

    volumes: "Volumes"

    def profile(self, name: str, options: Mapping[str, str]) -> str | None:
        """The profile of the source; None: the volume has none. InvalidOptions when the request
        says another, or names a source that is not there."""
        if "from" not in options:
            return None
        known = self._known(name, options["from"])
        asked = options.get("backend")
        if asked and asked != known.profile:
            raise InvalidOptions(
                f"volume {name}",
                [f"from={options['from'][:200]!r} is a volume of {known.profile}, not of {asked}"],
            )
        return known.profile

    @contextmanager
    def prepared(self, name: str, wanted: Mapping[str, str], tag: str) -> Iterator[dict[str, str]]:
        """The options that say all the storage must know: what was left out is as the source has
        it, and the source is a snapshot. `tag` tells this clone from others."""
        if "from" not in wanted:
            yield dict(wanted)
            return
        known, source = self._known(name, wanted["from"]), _source(name, wanted["from"])
        has = to_strings(self.volumes.fresh(known).options)
        filled = {**{k: v for k, v in has.items() if k not in NOT_INHERITED}, **wanted}
        if source.snapshot:
            yield filled
            return
        passing = f"clone-{tag}"
        self.volumes.snapshots.take(source.volume, passing)
        try:
            yield {**filled, "from": str(Source(source.volume, passing))}
        finally:
            self._remove(source.volume, passing)

    def _remove(self, volume: str, snapshot: str) -> None:
        try:
            self.volumes.snapshots.remove(volume, snapshot)
        except KedgeError as error:
            log.warning(
                "snapshot %s of volume %s, taken for a clone, is still there (%s); remove it with "
                "`kedge snapshot rm`",
                snapshot,
                volume,
                error,
            )

    def _known(self, name: str, text: str) -> "Known":
        try:
            known = self.volumes.inventory.resolve(_source(name, text).volume)
        except NotFound as error:
            raise InvalidOptions(f"volume {name}", [f"from={text[:200]!r}: {error}"]) from error
        self.volumes.snapshots.backend(known.profile)
        return known


def _source(name: str, text: str) -> Source:
    try:
        return Source.parse(text)
    except ValueError as error:
        raise InvalidOptions(f"volume {name}", [f"from={text[:200]!r} {error}"]) from None


def agrees(key: str, asked: str, has: str | None) -> bool:
    """Whether a volume that has one option of this value is what was asked for. One that was made
    from what a volume held, and not from a snapshot of it, has on record which was taken for it."""
    if key != "from" or has is None or "@" in asked:
        return asked == has
    return Source.parse(has).volume == asked
