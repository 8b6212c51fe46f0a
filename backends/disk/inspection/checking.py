"""Looking a whole disk over in its bucket, its snapshots too, without mounting or changing it."""

import functools
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Executor, Future
from dataclasses import dataclass

from backends.base import Finding, Level
from backends.disk.core.blockmap import StoredObject
from backends.disk.core.checkpoint import decode_region
from backends.disk.core.coding import Coder
from backends.disk.core.head import Head
from backends.disk.core.intervals import Intervals
from backends.disk.core.naming import located, maker, seq_of
from backends.disk.core.pins import snapshots
from backends.disk.core.regions import REGION, Region
from backends.disk.inspection.examining import Examined, examine
from backends.disk.inspection.peeking import peek
from backends.disk.journal import Journal
from backends.errors import Damaged, NotFound
from backends.inspection import Progress
from backends.options import Size
from backends.stores.base import Store

_IN_FLIGHT = 4
_REFETCH = 3
_SHOWN = 4
_RESTORE = "restore it from a copy or an older version of the bucket, or the volume from a snapshot"


@dataclass(frozen=True)
class Inspector:
    """`heads(uuid)` reads the head now. `pool` fetches beside this thread."""

    store: Store
    head: Callable[[], Head]
    coder: Coder
    wait: Callable[[int], None]
    pool: Executor

    def check(self, progress: Progress) -> list[Finding]:
        """Read everything. What is wrong, or at last how much is right. Unavailable."""
        head = self.head()
        views: dict[str, Journal] = {}
        found: list[Finding] = []
        for name in (None, *snapshots(head)):
            try:
                views[name or ""] = peek(self.store, head, self.coder, self.wait, snapshot=name)
            except Damaged as error:
                found.append(Finding(Level.ERROR, _of(name or ""), error.message, _RESTORE))
        examined = self._examine(views.values(), progress)
        for name, view in views.items():
            found += self._judge(name, view, examined)
        found = [one for one in found if self._still_true(one, examined)]
        if any(one.level is Level.ERROR for one in found):
            return found
        size = Size(sum(len(one.checksums) for one in examined.values()) * 4096)
        detail = f"{len(examined)} objects, {size} and {len(snapshots(head))} snapshots are whole"
        return [*found, Finding(Level.OK, f"disk {head.uuid}", detail)]

    def _examine(self, views: Iterable[Journal], progress: Progress) -> dict[str, Examined]:
        """Every object that one of these needs, by its full key."""
        wanted = {
            located(view.prefix, holder.key): (holder, maker(view.uuid, holder.key))
            for view in views
            for holder in view.map.objects.values()
            if holder.live and holder.blocks
        }
        total = sum(holder.blocks for holder, _ in wanted.values()) * 4096
        examined, done = {}, 0
        for key, result in self._at_once(wanted):
            examined[key] = result.result()
            done += wanted[key][0].blocks * 4096
            progress(done, total)
        return examined

    def _at_once(
        self, wanted: dict[str, tuple[StoredObject, str]]
    ) -> "Iterator[tuple[str, Future[Examined]]]":
        waiting: list[tuple[str, Future[Examined]]] = []
        for key, (holder, uuid) in wanted.items():
            waiting.append((key, self.pool.submit(self._one, key, holder, uuid)))
            if len(waiting) > _IN_FLIGHT:
                yield waiting.pop(0)
        yield from waiting

    def _one(self, key: str, holder: StoredObject, uuid: str) -> Examined:
        """Fetched again when it is wrong: the bytes may have been spoiled on their way."""
        result = Examined(fault="it is missing")
        for _ in range(_REFETCH):
            try:
                result = examine(holder, self.store.get(key), self.coder, uuid=uuid)
            except NotFound:
                return Examined(fault="it is missing")
            if not result.fault and not result.bad:
                break
        return result

    def _judge(self, name: str, view: Journal, examined: dict[str, Examined]) -> Iterator[Finding]:
        """What of a view cannot be read, and which object is to blame."""
        harmed: dict[str, Intervals] = {}
        known = {
            number: examined.get(located(view.prefix, holder.key))
            for number, holder in view.map.objects.items()
        }
        for index in {*view.map.regions, *view.map.absent}:
            try:
                region = self._region(view, index)
            except Damaged as error:
                part = _parts([(index * REGION, REGION)])
                detail = f"{error.message}; it says where {part} of the disk are"
                yield Finding(Level.ERROR, _of(name), detail, _RESTORE)
                continue
            for block, number in _unreadable(region, index, known):
                key = located(view.prefix, view.map.objects[number].key)
                harmed.setdefault(key, Intervals()).add(block, 1)
        for key, blocks in sorted(harmed.items()):
            fault = examined[key].fault or "some of its bytes are wrong"
            detail = f"{fault}; it holds {_parts(blocks)} of {_of(name)}"
            yield Finding(Level.ERROR, f"object {key}", detail, _RESTORE)

    def _region(self, view: Journal, index: int) -> Region:
        if index in view.map.regions:
            return view.map.regions[index]
        key = view.regions[index]
        decode = functools.partial(
            decode_region, uuid=maker(view.uuid, key), index=index, seq=seq_of(key)
        )
        return view.checked(key, decode)

    def _still_true(self, finding: Finding, examined: dict[str, Examined]) -> bool:
        """An object that is missing may have been collected since the map was read."""
        key = finding.subject.removeprefix("object ")
        if key not in examined or examined[key].fault != "it is missing":
            return True
        head = self.head()
        views = [peek(self.store, head, self.coder, self.wait)]
        views += [
            peek(self.store, head, self.coder, self.wait, snapshot=name) for name in snapshots(head)
        ]
        return any(
            holder.live and located(view.prefix, holder.key) == key
            for view in views
            for holder in view.map.objects.values()
        )


def _unreadable(
    region: Region, index: int, known: dict[int, Examined | None]
) -> Iterator[tuple[int, int]]:
    """(block, number of its object) of what cannot be read, or is not what the map says."""
    for place, at, checksum in region.written():
        number, within = at >> 20, at & 0xFFFFF
        found = known.get(number)
        if found is None:
            continue
        right = not found.fault and within not in found.bad
        if not right or found.checksums[within] != checksum:
            yield index * REGION + place, number


def _parts(ranges: Iterable[tuple[int, int]]) -> str:
    """Ranges of blocks for people."""
    known: Sequence[tuple[int, int]] = list(ranges)
    shown = [f"{start * 4096}-{(start + count) * 4096 - 1}" for start, count in known[:_SHOWN]]
    more = f" and {len(known) - _SHOWN} more ranges" if len(known) > _SHOWN else ""
    return f"bytes {', '.join(shown)}{more}"


def _of(name: str) -> str:
    return f"snapshot {name}" if name else "the volume"
