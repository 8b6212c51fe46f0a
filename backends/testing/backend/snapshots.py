"""Snapshots, going back to one, and volumes made from one."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, ClassVar, cast

import pytest

from backends.base import Attachment, Volume
from backends.claims import Claim
from backends.errors import Exists, InUse, Invalid, NotFound
from backends.snapshots import Snapshot, Snapshots, Source
from backends.testing.backend.crash import CrashContract
from backends.testing.backend.world import CREATED, AnyBackend

LATER = "2026-02-03T05:05:06Z"


class SnapshotContract(CrashContract):
    """Implementing `Snapshots`. Give `attached_snapshots = False` for a layout that can only be
    copied while nobody has it attached, and `unfit` where options must fit those of a source."""

    attached_snapshots: ClassVar[bool] = True
    unfit: ClassVar[Mapping[str, str]] = {}
    """Options that a clone of a volume with `options` cannot have."""

    def claim(self, backend: AnyBackend, volume: Volume[Any]) -> Claim | None:
        """The claim under which snapshots are made here, where the backend needs one."""
        return None

    def snapshot(
        self,
        backend: AnyBackend,
        volume: Volume[Any],
        name: str = "one",
        *,
        attachment: Attachment | None = None,
        created: str = CREATED,
    ) -> Snapshot:
        """A new snapshot."""
        return cast(Snapshots, backend).snapshot_create(
            volume,
            name,
            created=created,
            attachment=attachment,
            claim=self.claim(backend, volume),
        )

    def snapshots(self, backend: AnyBackend, volume: Volume[Any]) -> list[str]:
        """The names of all snapshots."""
        return [one.name for one in cast(Snapshots, backend).snapshot_list(volume)]

    def go_back(self, backend: AnyBackend, volume: Volume[Any], name: str = "one") -> None:
        """Restore one."""
        cast(Snapshots, backend).snapshot_restore(volume, name, claim=self.claim(backend, volume))

    def drop(self, backend: AnyBackend, volume: Volume[Any], name: str = "one") -> None:
        """Remove one."""
        cast(Snapshots, backend).snapshot_remove(volume, name, claim=self.claim(backend, volume))

    def clone(
        self, backend: AnyBackend, name: str, source: str, snapshot: str = "one", **options: str
    ) -> Volume[Any]:
        """A new volume from a snapshot."""
        spec = self.spec(backend, name, **options)
        made = replace(spec.options, from_=Source(source, snapshot))
        return backend.create(replace(spec, options=made))

    def test_a_snapshot_is_listed(self, backend: AnyBackend) -> None:
        volume = self.create(backend)
        assert self.snapshots(backend, volume) == []
        later = self.snapshot(backend, volume, "a", created=LATER)
        first = self.snapshot(backend, volume, "b")
        assert (first.name, first.created) == ("b", CREATED)
        assert list(cast(Snapshots, backend).snapshot_list(volume)) == [first, later]
        assert self.snapshots(self.reopen(backend), volume) == ["b", "a"]

    def test_a_name_is_given_once(self, backend: AnyBackend) -> None:
        volume = self.create(backend)
        self.store(backend, volume, "f", "one")
        self.snapshot(backend, volume)
        self.store(backend, volume, "f", "two")
        with pytest.raises(Exists):
            self.snapshot(backend, volume)
        self.go_back(backend, volume)
        assert self.stored(backend, volume) == {"f": "one"}

    def test_volumes_do_not_share_names(self, backend: AnyBackend) -> None:
        volume, other = self.create(backend), self.create(backend, "other")
        self.snapshot(backend, volume)
        assert self.snapshots(backend, other) == []
        self.snapshot(backend, other)
        self.drop(backend, volume)
        assert self.snapshots(backend, other) == ["one"]

    def test_going_back(self, backend: AnyBackend) -> None:
        volume = self.create(backend)
        self.store(backend, volume, "f", "one")
        self.snapshot(backend, volume)
        self.store(backend, volume, "f", "two")
        self.store(backend, volume, "g", "new")
        self.snapshot(backend, volume, "two", created=LATER)
        for _ in range(2):
            self.go_back(backend, volume)
            assert self.stored(backend, volume) == {"f": "one"}
        self.go_back(backend, volume, "two")
        assert self.stored(backend, volume) == {"f": "two", "g": "new"}
        assert self.snapshots(backend, volume) == ["one", "two"]
        assert backend.get("db") == volume

    def test_what_is_written_after_going_back_is_not_in_the_snapshot(
        self, backend: AnyBackend
    ) -> None:
        volume = self.create(backend)
        self.store(backend, volume, "f", "one")
        self.snapshot(backend, volume)
        self.go_back(backend, volume)
        self.store(backend, volume, "f", "two")
        self.go_back(backend, volume)
        assert self.stored(backend, volume) == {"f": "one"}

    def test_going_back_to_nothing(self, backend: AnyBackend) -> None:
        volume = self.create(backend)
        self.store(backend, volume, "f", "one")
        with pytest.raises(NotFound):
            self.go_back(backend, volume)
        assert self.stored(backend, volume) == {"f": "one"}

    def test_a_snapshot_of_an_attached_volume(self, backend: AnyBackend) -> None:
        volume = self.create(backend)
        attachment = self.attach(backend, volume)
        self.write(backend, attachment, "f", "one")
        if not self.attached_snapshots:
            with pytest.raises(InUse):
                self.snapshot(backend, volume, attachment=attachment)
            assert self.snapshots(backend, volume) == []
            return
        self.snapshot(backend, volume, attachment=attachment)
        self.write(backend, attachment, "f", "two")
        assert self.read(backend, attachment) == {"f": "two"}
        backend.detach(attachment)
        assert self.stored(backend, self.clone(backend, "copy", "db")) == {"f": "one"}
        self.go_back(backend, volume)
        assert self.stored(backend, volume) == {"f": "one"}

    def test_removed_for_good(self, backend: AnyBackend) -> None:
        volume = self.create(backend)
        self.store(backend, volume, "f", "one")
        self.snapshot(backend, volume)
        self.snapshot(backend, volume, "two")
        for _ in range(2):
            self.drop(backend, volume)
            assert self.snapshots(backend, volume) == ["two"]
        with pytest.raises(NotFound):
            self.go_back(backend, volume)
        with pytest.raises(NotFound):
            self.clone(backend, "copy", "db")
        self.go_back(backend, volume, "two")
        assert self.stored(backend, volume) == {"f": "one"}

    def test_a_clone_is_a_volume_of_its_own(self, backend: AnyBackend) -> None:
        volume = self.create(backend)
        self.store(backend, volume, "f", "one")
        self.snapshot(backend, volume)
        self.store(backend, volume, "f", "two")
        clone = self.clone(backend, "copy", "db")
        assert clone.uuid != volume.uuid
        assert backend.get("copy") == clone == self.clone(backend, "copy", "db")
        assert self.snapshots(backend, clone) == []
        self.store(backend, clone, "g", "three")
        assert self.stored(backend, clone) == {"f": "one", "g": "three"}
        assert self.stored(backend, volume) == {"f": "two"}

    def test_a_clone_needs_its_source_no_longer(self, backend: AnyBackend) -> None:
        volume = self.create(backend)
        self.store(backend, volume, "f", "one")
        self.snapshot(backend, volume)
        clone = self.clone(backend, "copy", "db")
        self.snapshot(backend, clone, "of-the-clone")
        self.drop(backend, volume)
        backend.remove(volume)
        assert self.stored(backend, clone) == {"f": "one"}
        assert self.stored(backend, self.clone(backend, "third", "copy", "of-the-clone")) == {
            "f": "one"
        }

    def test_a_clone_of_nothing(self, backend: AnyBackend) -> None:
        self.create(backend)
        for source in ("db", "nobody"):
            with pytest.raises(NotFound):
                self.clone(backend, "copy", source)
        with pytest.raises(NotFound):
            backend.get("copy")
        assert self.stored(backend, self.create(backend, "copy")) == {}

    def test_a_clone_fits_its_source(self, backend: AnyBackend) -> None:
        if not self.unfit:
            return
        self.snapshot(backend, self.create(backend))
        with pytest.raises(Invalid):
            self.clone(backend, "copy", "db", **self.unfit)
        with pytest.raises(NotFound):
            backend.get("copy")

    def test_snapshots_go_with_their_volume(self, backend: AnyBackend) -> None:
        volume = self.create(backend)
        self.snapshot(backend, volume)
        backend.remove(volume)
        assert self.snapshots(backend, self.create(backend)) == []
        assert self.leftovers(backend) == []

    # -- cut off anywhere -----------------------------------------------------------------------

    def test_a_death_while_taking_one(self, backend: AnyBackend) -> None:
        """There is no half snapshot, and the name can be used."""
        self._with_data(backend)
        for name in self._deaths(backend, self._take_named):
            fresh = self.reopen(backend)
            volume = fresh.get(name)
            if self.snapshots(fresh, volume) == []:
                self._take_named(fresh, name)
            assert self.snapshots(fresh, volume) == ["one"]
            self.store(fresh, volume, "f", "changed")
            self.go_back(fresh, volume)
            assert self.stored(fresh, volume) == {"f": name}
            fresh.remove(volume)

    def test_a_death_while_removing_one(self, backend: AnyBackend) -> None:
        self._snapshotted_before(backend)
        for name in self._deaths(backend, lambda fresh, name: self.drop(fresh, fresh.get(name))):
            fresh = self.reopen(backend)
            volume = fresh.get(name)
            if self.snapshots(fresh, volume):
                self.go_back(fresh, volume)
                assert self.stored(fresh, volume) == {"f": name}
            self.drop(fresh, volume)
            assert self.snapshots(fresh, volume) == []
            fresh.remove(volume)

    def test_a_death_while_going_back(self, backend: AnyBackend) -> None:
        """The volume holds the old content or the new one, whole."""
        self._snapshotted_before(backend)
        for name in self._deaths(backend, lambda fresh, name: self.go_back(fresh, fresh.get(name))):
            fresh = self.reopen(backend)
            volume = fresh.get(name)
            assert self.stored(fresh, volume) in ({"f": name}, {"f": "changed"})
            self.go_back(fresh, volume)
            assert self.stored(fresh, volume) == {"f": name}
            fresh.remove(volume)

    def test_a_death_while_cloning(self, backend: AnyBackend) -> None:
        """The next call finishes it, whatever it asks for; it has all of its source, or is not
        there."""
        self._snapshotted_before(backend)
        for name in self._deaths(backend, self._clone_named):
            fresh = self.reopen(backend)
            copy = f"{name}-copy"
            if (found := self._sound(fresh, copy)) is not None:
                assert self.stored(fresh, found) == {"f": name}
            clone = self.clone(fresh, copy, name)
            assert self.stored(fresh, clone) == {"f": name}
            for volume in (clone, fresh.get(name)):
                fresh.remove(volume)

    def _snapshotted_before(self, backend: AnyBackend) -> None:
        """Have each death happen to a volume that has changed since its snapshot."""

        def prepare(backend: AnyBackend, name: str) -> None:
            volume = self.create(backend, name)
            self.store(backend, volume, "f", name)
            self.snapshot(backend, volume)
            self.store(backend, volume, "f", "changed")

        self.prepare = prepare  # type: ignore[method-assign]

    def _take_named(self, backend: AnyBackend, name: str) -> None:
        self.snapshot(backend, backend.get(name))

    def _clone_named(self, backend: AnyBackend, name: str) -> None:
        self.clone(backend, f"{name}-copy", name)
