"""A service that dies between any two steps, and starts again.

Each test kills a verb before its first effect, its second, ... until it gets through, and each
time asks the next process: no volume is lost, nothing is mounted that no record explains, and the
same call finishes the job.
"""

from collections.abc import Callable, Iterator
from itertools import count
from typing import Any, cast

import pytest

from backends.base import Attachment, OnRemove, Trash, Volume
from backends.errors import Exists, NotFound
from backends.options import to_strings
from backends.testing.backend.world import AnyBackend, BackendWorld


class CrashContract(BackendWorld):
    """Every verb, cut off everywhere."""

    def leftovers(self, backend: AnyBackend) -> list[str]:
        """What a verb should have taken away: temporary files, devices, mounts. For people."""
        return []

    def _deaths(
        self, backend: AnyBackend, verb: Callable[[AnyBackend, str], object]
    ) -> Iterator[str]:
        """Kill `verb` at each of its effects, each time with another volume name, and let the
        test judge; it ends after the run that got through."""
        for effect in count():
            name = f"v{effect}"
            self.prepare(backend, name)
            died = self.dies_at(backend, effect, lambda fresh, name=name: verb(fresh, name))  # type: ignore[misc]
            yield name
            assert self.leftovers(backend) == []
            if not died:
                assert effect >= 1, "the verb has no effect that could be cut off"
                return

    def prepare(self, backend: AnyBackend, name: str) -> None:
        """Called before each death; a test replaces it."""

    def _with_data(self, backend: AnyBackend, **options: str) -> None:
        """Have each death happen to a volume with a file in it."""

        def prepare(backend: AnyBackend, name: str) -> None:
            self.store(backend, self.create(backend, name, **options), "f", name)

        self.prepare = prepare  # type: ignore[method-assign]

    def _sound(self, backend: AnyBackend, name: str) -> Volume[Any] | None:
        """The volume after a death, if it is there: then it is whole."""
        listed = [volume for volume in backend.volumes() if volume.name == name]
        try:
            found = backend.get(name)
        except NotFound:
            assert listed == []
            return None
        assert listed == [found]
        return found

    def test_create(self, backend: AnyBackend) -> None:
        for name in self._deaths(backend, lambda fresh, name: self.create(fresh, name)):
            fresh = self.reopen(backend)
            before = self._sound(fresh, name)
            volume = self.create(fresh, name)
            assert before in (None, volume)
            assert self._sound(fresh, name) == volume
            assert self.stored(fresh, volume) == {}
            fresh.remove(volume)

    def test_create_then_with_other_options(self, backend: AnyBackend) -> None:
        """What was begun is finished as it was begun; it can be removed like any other."""
        for name in self._deaths(backend, lambda fresh, name: self.create(fresh, name)):
            fresh = self.reopen(backend)
            try:
                volume = self.create(fresh, name, **self.different)
            except Exists:
                fresh.remove(fresh.get(name))
                volume = self.create(fresh, name, **self.different)
            for option, text in self.different.items():
                assert to_strings(volume.options)[option] == text
            assert self._sound(fresh, name) == volume
            assert self.stored(fresh, volume) == {}
            fresh.remove(volume)

    def test_create_then_remove(self, backend: AnyBackend) -> None:
        for name in self._deaths(
            backend, lambda fresh, name: fresh.create(self._fixed(fresh, name))
        ):
            fresh = self.reopen(backend)
            spec = self._fixed(fresh, name)
            fresh.remove(Volume(name, spec.uuid, "", fresh.Options()))
            assert self._sound(fresh, name) is None
            assert self.stored(fresh, self.create(fresh, name)) == {}
            fresh.remove(fresh.get(name))

    def _fixed(self, backend: AnyBackend, name: str) -> Any:
        """The same wish, with the same uuid, in every process."""
        spec = self.spec(backend, name)
        return type(spec)(name, spec.options, f"00000000-0000-4000-8000-{name:0>12}", spec.created)

    @pytest.mark.parametrize("fate", list(OnRemove), ids=lambda fate: fate.value)
    def test_remove(self, backend: AnyBackend, fate: OnRemove) -> None:
        self._with_data(backend, on_remove=fate.value)
        for name in self._deaths(backend, lambda fresh, name: fresh.remove(fresh.get(name))):
            fresh = self.reopen(backend)
            volume = self._sound(fresh, name)
            if volume is not None:
                assert self.stored(fresh, volume) == {"f": name}
                assert fresh.remove(volume).outcome is fate
            assert self._sound(fresh, name) is None
            self._judge_removal(fresh, name, fate)

    def _judge_removal(self, fresh: AnyBackend, name: str, fate: OnRemove) -> None:
        """The name is free or its kept data come back; what was trashed can be restored."""
        again = self.create(fresh, name)
        expected = {"f": name} if fate is OnRemove.KEEP else {}
        assert self.stored(fresh, again) == expected
        if fate is OnRemove.TRASH:
            trash = cast(Trash, fresh)
            found = [one.uuid for one in trash.trashed() if one.name == name]
            assert len(found) == 1
            trash.restore(found[0], f"{name}-restored")
            assert self.stored(fresh, fresh.get(f"{name}-restored")) == {"f": name}
            fresh.remove(fresh.get(f"{name}-restored"))
        fresh.remove(again)

    def test_attach_then_again(self, backend: AnyBackend) -> None:
        self._with_data(backend)
        for name in self._deaths(backend, self._attach_named):
            fresh = self.reopen(backend)
            shown = list(fresh.attachments())
            assert [one.name for one in shown] in ([], [name])
            attachment = self.attach(fresh, fresh.get(name))
            assert shown in ([], [attachment])
            assert self.read(fresh, attachment) == {"f": name}
            fresh.detach(attachment)
            assert list(fresh.attachments()) == []
            assert not self.exists(fresh, attachment.target)

    def test_attach_then_detach(self, backend: AnyBackend) -> None:
        """What the ledger knows of an attachment that it never saw succeed."""
        self._with_data(backend)
        for name in self._deaths(backend, self._attach_named):
            fresh = self.reopen(backend)
            volume = fresh.get(name)
            target = self.target(fresh, name)
            fresh.detach(Attachment(name, volume.uuid, target, device="", root=""))
            assert list(fresh.attachments()) == []
            assert not self.exists(fresh, target)
            assert self.stored(fresh, volume) == {"f": name}

    def test_detach(self, backend: AnyBackend) -> None:
        def prepare(backend: AnyBackend, name: str) -> None:
            self.write(backend, self.attach(backend, self.create(backend, name)), "f", name)

        self.prepare = prepare  # type: ignore[method-assign]
        for name in self._deaths(backend, self._detach_named):
            fresh = self.reopen(backend)
            volume = fresh.get(name)
            attachment = self.attach(fresh, volume)
            assert self.read(fresh, attachment) == {"f": name}
            fresh.detach(attachment)
            assert list(fresh.attachments()) == []
            assert not self.exists(fresh, attachment.target)
            fresh.remove(volume)

    def _attach_named(self, backend: AnyBackend, name: str) -> None:
        self.attach(backend, backend.get(name))

    def _detach_named(self, backend: AnyBackend, name: str) -> None:
        (attachment,) = [one for one in backend.attachments() if one.name == name]
        backend.detach(attachment)
