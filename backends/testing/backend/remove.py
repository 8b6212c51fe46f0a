"""remove, in its three ways."""

from dataclasses import replace

import pytest

from backends.base import OnRemove
from backends.errors import Exists, NotFound
from backends.testing.backend.world import AnyBackend, BackendWorld
from backends.testing.records import race


class RemoveContract(BackendWorld):
    """What becomes of a volume, and of its data."""

    def test_a_removed_volume_is_gone(self, backend: AnyBackend) -> None:
        volume = self.create(backend)
        assert backend.remove(volume).outcome is OnRemove.DELETE
        with pytest.raises(NotFound):
            backend.get("db")
        assert list(backend.volumes()) == []
        assert list(self.reopen(backend).volumes()) == []

    def test_it_cannot_be_attached(self, backend: AnyBackend) -> None:
        volume = self.create(backend)
        backend.remove(volume)
        with pytest.raises(NotFound):
            self.attach(backend, volume)
        assert list(backend.attachments()) == []

    def test_its_data_are_gone(self, backend: AnyBackend) -> None:
        volume = self.create(backend)
        self.store(backend, volume, "f", "old")
        backend.remove(volume)
        again = self.create(backend)
        assert again.uuid != volume.uuid
        assert self.stored(backend, again) == {}

    def test_remove_again_does_nothing(self, backend: AnyBackend) -> None:
        volume = self.create(backend)
        other = self.create(backend, "other")
        backend.remove(volume)
        backend.remove(volume)
        assert list(backend.volumes()) == [other]

    def test_a_newer_volume_of_the_name_is_left_alone(self, backend: AnyBackend) -> None:
        old = self.create(backend)
        backend.remove(old)
        new = self.create(backend)
        self.store(backend, new, "f", "new")
        backend.remove(old)
        assert backend.get("db") == new
        assert self.stored(backend, new) == {"f": "new"}

    def test_only_name_and_uuid_are_looked_at(self, backend: AnyBackend) -> None:
        volume = self.create(backend, on_remove="keep")
        stale = replace(volume, options=backend.Options(), created="")
        assert backend.remove(stale).outcome is OnRemove.KEEP

    def test_two_that_remove_it_remove_it(self, backend: AnyBackend) -> None:
        volume = self.create(backend)
        nodes = [self.reopen(backend), self.reopen(backend)]
        results = race(2, lambda index: nodes[index].remove(volume).outcome)
        assert results == [OnRemove.DELETE] * 2
        assert list(backend.volumes()) == []

    def test_kept_data_come_back_with_the_name(self, backend: AnyBackend) -> None:
        volume = self.create(backend, on_remove="keep")
        self.store(backend, volume, "f", "kept")
        removed = backend.remove(volume)
        assert removed.outcome is OnRemove.KEEP
        assert removed.where
        with pytest.raises(NotFound):
            backend.get("db")
        assert list(backend.volumes()) == []
        again = self.create(backend)
        assert again.uuid == volume.uuid
        assert self.stored(backend, again) == {"f": "kept"}

    def test_kept_data_are_not_given_to_a_contradicting_volume(self, backend: AnyBackend) -> None:
        volume = self.create(backend, on_remove="keep")
        self.store(backend, volume, "f", "kept")
        backend.remove(volume)
        with pytest.raises(Exists, match=next(iter(self.different))):
            self.create(backend, **self.different)
        assert self.stored(backend, self.create(backend)) == {"f": "kept"}

    def test_removing_kept_data_again_keeps_them(self, backend: AnyBackend) -> None:
        volume = self.create(backend, on_remove="keep")
        self.store(backend, volume, "f", "kept")
        backend.remove(volume)
        assert backend.remove(volume).outcome is OnRemove.KEEP
        assert self.stored(backend, self.create(backend)) == {"f": "kept"}
