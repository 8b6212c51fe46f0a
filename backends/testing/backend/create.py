"""create, get, volumes."""

import pytest

from backends.errors import Exists, NotFound
from backends.names import MAX_LENGTH
from backends.testing.backend.world import CREATED, AnyBackend, BackendWorld
from backends.testing.records import race

AWKWARD = ("a", "0", "A.b-c_d", "x" * MAX_LENGTH, "records", "volumes", "data", "a..b", "con", "A")


class CreateContract(BackendWorld):
    """What can be said of volumes without attaching them."""

    def test_constructing_touches_nothing(self, backend: AnyBackend) -> None:
        assert not backend.context.state.exists()
        assert not backend.context.mounts.exists()

    def test_a_new_volume_is_there(self, backend: AnyBackend) -> None:
        spec = self.spec(backend)
        volume = backend.create(spec)
        assert (volume.name, volume.uuid, volume.created) == ("db", spec.uuid, CREATED)
        assert backend.get("db") == volume
        assert list(backend.volumes()) == [volume]

    def test_what_was_asked_for_is_what_it_has(self, backend: AnyBackend) -> None:
        volume = self.create(backend, uid="123", gid="456", mode="0710", on_remove="keep")
        options = volume.options
        assert (options.uid, options.gid, options.mode) == (123, 456, 0o710)
        assert options.on_remove.value == "keep"

    def test_an_unknown_volume_is_not_found(self, backend: AnyBackend) -> None:
        with pytest.raises(NotFound):
            backend.get("db")
        assert list(backend.volumes()) == []

    def test_create_again_returns_what_is_there(self, backend: AnyBackend) -> None:
        volume = self.create(backend)
        assert self.create(backend) == volume
        assert list(backend.volumes()) == [volume]

    def test_create_with_other_options_says_what_differs(self, backend: AnyBackend) -> None:
        volume = self.create(backend)
        with pytest.raises(Exists, match=next(iter(self.different))):
            self.create(backend, **self.different)
        assert backend.get("db") == volume

    def test_a_new_volume_is_empty(self, backend: AnyBackend) -> None:
        assert self.stored(backend, self.create(backend)) == {}

    def test_it_outlives_the_process(self, backend: AnyBackend) -> None:
        volume = self.create(backend)
        again = self.reopen(backend)
        assert again.get("db") == volume
        assert list(again.volumes()) == [volume]

    def test_volumes_are_sorted(self, backend: AnyBackend) -> None:
        for name in ("b", "c", "a"):
            self.create(backend, name)
        assert [volume.name for volume in backend.volumes()] == ["a", "b", "c"]

    def test_volumes_notice_every_change(self, backend: AnyBackend) -> None:
        assert list(backend.volumes()) == []
        other = self.reopen(backend)
        first = self.create(other)
        assert list(backend.volumes()) == [first]
        other.remove(first)
        second = self.create(other)
        assert list(backend.volumes()) == [second]
        other.remove(second)
        assert list(backend.volumes()) == []

    def test_awkward_names_are_different_volumes(self, backend: AnyBackend) -> None:
        made = {name: self.create(backend, name) for name in AWKWARD}
        assert [volume.name for volume in backend.volumes()] == sorted(AWKWARD)
        for name, volume in made.items():
            self.store(backend, volume, "name", name)
        for name in AWKWARD:
            assert self.stored(backend, backend.get(name)) == {"name": name}

    def test_two_that_create_one_name_make_one_volume(self, backend: AnyBackend) -> None:
        results = race(2, lambda _: self.create(backend))
        assert results[0] == results[1] == backend.get("db")
        assert list(backend.volumes()) == [results[0]]

    def test_two_that_disagree_make_one_volume(self, backend: AnyBackend) -> None:
        """Whoever loses is told; a volume with the options of the winner is there."""
        asked: list[dict[str, str]] = [{}, dict(self.different)]
        results = race(2, lambda index: self.create(backend, **asked[index]))
        volume = backend.get("db")
        assert volume in results
        assert [type(result) for result in results if result != volume] == [Exists]
        assert self.stored(backend, volume) == {}

    def test_creating_and_removing_at_once_ends_in_one_of_the_two(
        self, backend: AnyBackend
    ) -> None:
        for _ in range(5):
            old = self.create(backend)
            race(2, lambda index, old=old: self._create_or_remove(backend, index, old))  # type: ignore[misc]
            for volume in backend.volumes():
                assert volume == backend.get("db")
                assert self.stored(backend, volume) == {}
                backend.remove(volume)

    def _create_or_remove(self, backend: AnyBackend, index: int, old: object) -> object:
        return self.create(backend) if index else backend.remove(old)  # type: ignore[arg-type]
