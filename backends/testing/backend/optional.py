"""What only some backends have; inherit what applies to yours beside BackendContract."""

from itertools import count
from typing import Any, cast

import pytest

from backends.base import Growth, OnRemove, Resizable, Trash
from backends.errors import Busy, Exists, Invalid, NotFound, NotSupported
from backends.options import Size
from backends.testing.backend.crash import CrashContract
from backends.testing.backend.world import AnyBackend, BackendWorld
from backends.testing.records import race


class TrashContract(CrashContract):
    """Removed with `on_remove=trash`."""

    def _trash(self, backend: AnyBackend, name: str = "db") -> str:
        volume = self.create(backend, name, on_remove="trash")
        self.store(backend, volume, "name", name)
        assert backend.remove(volume).outcome is OnRemove.TRASH
        return volume.uuid

    def test_trash_lists_what_was_removed(self, backend: AnyBackend) -> None:
        uuids = [self._trash(backend), self._trash(backend, "other")]
        trash = cast(Trash, backend)
        assert sorted(one.uuid for one in trash.trashed()) == sorted(uuids)
        assert {one.name for one in trash.trashed()} == {"db", "other"}
        assert all(one.removed for one in trash.trashed())
        assert list(backend.volumes()) == []

    def test_the_name_is_free_again(self, backend: AnyBackend) -> None:
        uuid = self._trash(backend)
        again = self.create(backend)
        assert again.uuid != uuid
        assert self.stored(backend, again) == {}

    def test_restore_brings_it_back(self, backend: AnyBackend) -> None:
        uuid = self._trash(backend)
        trash = cast(Trash, backend)
        trash.restore(uuid, "again")
        assert list(trash.trashed()) == []
        volume = backend.get("again")
        assert volume.uuid == uuid
        assert self.stored(backend, volume) == {"name": "db"}
        trash.restore(uuid, "again")
        assert list(backend.volumes()) == [volume]

    def test_restore_takes_no_name_away(self, backend: AnyBackend) -> None:
        uuid = self._trash(backend)
        present = self.create(backend)
        trash = cast(Trash, backend)
        with pytest.raises(Exists):
            trash.restore(uuid, "db")
        assert backend.get("db") == present
        assert [one.uuid for one in trash.trashed()] == [uuid]

    def test_restore_of_something_unknown(self, backend: AnyBackend) -> None:
        with pytest.raises(NotFound):
            cast(Trash, backend).restore("11111111-2222-3333-4444-555555555555", "db")

    @pytest.mark.parametrize("uuid", ["", "../x", "a/b", "x" * 100, "\0"])
    def test_a_uuid_is_no_path(self, backend: AnyBackend, uuid: str) -> None:
        with pytest.raises(Invalid):
            cast(Trash, backend).restore(uuid, "db")
        with pytest.raises(Invalid):
            cast(Trash, backend).purge(uuid)

    def test_purge_is_for_good(self, backend: AnyBackend) -> None:
        uuid = self._trash(backend)
        trash = cast(Trash, backend)
        trash.purge(uuid)
        trash.purge(uuid)
        assert list(trash.trashed()) == []
        with pytest.raises(NotFound):
            trash.restore(uuid, "db")

    def test_a_restored_volume_can_be_trashed_again(self, backend: AnyBackend) -> None:
        uuid = self._trash(backend)
        trash = cast(Trash, backend)
        for _ in range(2):
            trash.restore(uuid, "db")
            trash.purge(uuid)  # not in the trash now: does nothing
            assert self.stored(backend, backend.get("db")) == {"name": "db"}
            backend.remove(backend.get("db"))
        assert [one.uuid for one in trash.trashed()] == [uuid]

    def test_removing_a_trashed_volume_again_tells_where_it_is(self, backend: AnyBackend) -> None:
        volume = self.create(backend, on_remove="trash")
        backend.remove(volume)
        assert backend.remove(volume).outcome is OnRemove.TRASH
        assert [one.uuid for one in cast(Trash, backend).trashed()] == [volume.uuid]

    def _trashed_before(self) -> None:
        """Have each death happen to a trashed volume."""

        def prepare(backend: AnyBackend, name: str) -> None:
            self._trash(backend, name)

        self.prepare = prepare  # type: ignore[method-assign]

    def _uuid(self, backend: AnyBackend, name: str) -> str:
        lying = {one.name: one.uuid for one in cast(Trash, backend).trashed()}
        return lying[name] if name in lying else backend.get(f"{name}-back").uuid

    def _restore(self, backend: AnyBackend, name: str) -> None:
        cast(Trash, backend).restore(self._uuid(backend, name), f"{name}-back")

    def _purge(self, backend: AnyBackend, name: str) -> None:
        cast(Trash, backend).purge(self._uuid(backend, name))

    def _in_one_place(self, backend: AnyBackend, name: str) -> str:
        """Its uuid, when it is either a volume or in the trash, not both, not neither."""
        uuid = self._uuid(backend, name)
        there = uuid in [volume.uuid for volume in backend.volumes()]
        lying = uuid in [one.uuid for one in cast(Trash, backend).trashed()]
        assert there != lying
        return uuid

    def test_a_death_while_restoring_loses_nothing(self, backend: AnyBackend) -> None:
        self._trashed_before()
        for name in self._deaths(backend, self._restore):
            fresh = self.reopen(backend)
            self._in_one_place(fresh, name)
            self._restore(fresh, name)
            volume = fresh.get(f"{name}-back")
            assert self.stored(fresh, volume) == {"name": name}
            assert list(cast(Trash, fresh).trashed()) == []
            fresh.remove(volume)
            cast(Trash, fresh).purge(volume.uuid)

    def test_a_restoration_cut_off_is_never_purged(self, backend: AnyBackend) -> None:
        self._trashed_before()
        for name in self._deaths(backend, self._restore):
            fresh = self.reopen(backend)
            uuid = self._in_one_place(fresh, name)
            try:
                cast(Trash, fresh).purge(uuid)
            except Busy:
                self._restore(fresh, name)
            for volume in fresh.volumes():
                assert self.stored(fresh, volume) == {"name": name}
                fresh.remove(volume)
                cast(Trash, fresh).purge(uuid)
            assert list(cast(Trash, fresh).trashed()) == []

    def test_a_purge_cut_off_is_finished_by_the_next(self, backend: AnyBackend) -> None:
        self._trashed_before()
        for name in self._deaths(backend, self._purge):
            fresh = self.reopen(backend)
            for one in cast(Trash, fresh).trashed():
                cast(Trash, fresh).purge(one.uuid)
            assert list(cast(Trash, fresh).trashed()) == []
            assert list(fresh.volumes()) == []
            assert self.stored(fresh, self.create(fresh, name)) == {}
            fresh.remove(fresh.get(name))


class ResizeContract(BackendWorld):
    """Volumes that have a size: give `grown`, and a size in `options`."""

    def _resize(self, backend: AnyBackend, size: str, attachment: Any = None) -> Growth:
        return cast(Resizable, backend).resize("db", Size.parse(size), attachment)

    def test_grown_while_attached(self, backend: AnyBackend) -> None:
        attachment = self.attach(backend, self.create(backend))
        self.write(backend, attachment, "f", "one")
        growth = self._resize(backend, self.grown, attachment)
        assert self.read(backend, attachment) == {"f": "one"}
        if growth is Growth.NEXT_ATTACH:
            backend.detach(attachment)
            attachment = self.attach(backend, backend.get("db"))
        self._has_grown(backend, attachment)
        assert self.read(backend, attachment) == {"f": "one"}

    def test_grown_while_not_attached(self, backend: AnyBackend) -> None:
        self.store(backend, self.create(backend), "f", "one")
        first = self._resize(backend, self.grown)
        assert self._resize(backend, self.grown) is first
        attachment = self.attach(backend, backend.get("db"))
        self._has_grown(backend, attachment)
        assert self.read(backend, attachment) == {"f": "one"}
        assert self._resize(backend, self.grown, attachment) is Growth.ONLINE

    def _has_grown(self, backend: AnyBackend, attachment: Any) -> None:
        size = Size.parse(self.grown)
        assert backend.get("db").options.size == size
        usage = backend.usage(attachment)
        assert usage.size is not None
        assert 0.85 * size <= usage.size <= size

    def test_nothing_shrinks(self, backend: AnyBackend) -> None:
        volume = self.create(backend)
        with pytest.raises(Invalid):
            self._resize(backend, str(volume.options.size // 2))
        assert backend.get("db") == volume

    def test_an_unknown_volume_is_not_found(self, backend: AnyBackend) -> None:
        with pytest.raises(NotFound):
            self._resize(backend, "1G")

    def test_a_death_while_growing_loses_nothing(self, backend: AnyBackend) -> None:
        volume = self.create(backend)
        self.store(backend, volume, "f", "one")
        size = Size.parse(self.grown)
        for effect in count():
            died = self.dies_at(
                backend, effect, lambda fresh: cast(Any, fresh).resize("db", size, None)
            )
            assert self.stored(backend, backend.get("db")) == {"f": "one"}
            if not died:
                break
        assert effect > 0
        self._resize(backend, self.grown)
        attachment = self.attach(backend, backend.get("db"))
        self._has_grown(backend, attachment)
        assert self.read(backend, attachment) == {"f": "one"}


class SizelessContract(BackendWorld):
    """Volumes that have no size, of a backend that can grow others."""

    def test_without_a_size_there_is_nothing_to_grow(self, backend: AnyBackend) -> None:
        self.create(backend)
        with pytest.raises(NotSupported):
            cast(Resizable, backend).resize("db", Size.parse("1G"), None)


class EverywhereContract(BackendWorld):
    """What every node of an `everywhere` profile sees."""

    def test_another_node_sees_it(self, backend: AnyBackend) -> None:
        volume = self.create(backend)
        assert backend.capabilities.everywhere
        assert self.elsewhere(backend).get("db") == volume

    def test_two_nodes_that_create_one_name_make_one_volume(self, backend: AnyBackend) -> None:
        nodes = [self.reopen(backend), self.elsewhere(backend)]
        results = race(2, lambda index: self.create(nodes[index]))
        assert results[0] == results[1] == backend.get("db")
        assert self.stored(backend, backend.get("db")) == {}

    def test_another_node_reads_it(self, backend: AnyBackend) -> None:
        volume = self.create(backend)
        self.store(backend, volume, "f", "one")
        assert self.stored(self.elsewhere(backend), volume) == {"f": "one"}

    def test_no_node_attaches_what_another_removed(self, backend: AnyBackend) -> None:
        volume = self.create(backend)
        other = self.elsewhere(backend)
        assert list(other.volumes()) == [volume]
        backend.remove(volume)
        with pytest.raises(NotFound):
            self.attach(other, volume)
        assert list(other.attachments()) == []
