"""attach, attachments, usage."""

from dataclasses import replace

import pytest

from backends.errors import HostError, KedgeError, NotFound
from backends.testing.backend.world import AnyBackend, BackendWorld


class AttachContract(BackendWorld):
    """A path is the volume, or attach raises."""

    def test_what_is_written_stays(self, backend: AnyBackend) -> None:
        volume = self.create(backend)
        attachment = self.attach(backend, volume)
        self.write(backend, attachment, "f", "one")
        assert self.read(backend, attachment) == {"f": "one"}
        backend.detach(attachment)
        assert self.stored(backend, volume) == {"f": "one"}
        assert self.stored(self.reopen(backend), volume) == {"f": "one"}

    def test_it_is_what_the_kernel_shows(self, backend: AnyBackend) -> None:
        volume = self.create(backend)
        attachment = self.attach(backend, volume)
        assert (attachment.name, attachment.uuid) == ("db", volume.uuid)
        assert attachment.target == self.target(backend)
        assert attachment.device
        assert attachment.root
        assert attachment.healthy
        assert list(backend.attachments()) == [attachment]
        assert list(self.reopen(backend).attachments()) == [attachment]

    def test_attach_again_returns_what_is_there(self, backend: AnyBackend) -> None:
        volume = self.create(backend)
        first = self.attach(backend, volume)
        self.write(backend, first, "f", "one")
        assert self.attach(backend, volume) == first
        assert self.attach(self.reopen(backend), volume) == first
        assert list(backend.attachments()) == [first]
        assert self.read(backend, first) == {"f": "one"}

    def test_an_unknown_volume_is_not_attached(self, backend: AnyBackend) -> None:
        volume = self.create(backend)
        with pytest.raises(NotFound):
            self.attach(backend, replace(volume, name="other"))
        with pytest.raises(NotFound):
            self.attach(backend, replace(volume, uuid=self.spec(backend).uuid))
        assert list(backend.attachments()) == []
        assert not self.exists(backend, self.target(backend))
        assert not self.exists(backend, self.target(backend, "other"))

    def test_a_target_with_something_in_it_is_refused(self, backend: AnyBackend) -> None:
        """Somebody wrote while nothing was mounted: hiding his data would lose them."""
        volume = self.create(backend)
        still_there = self.dirty(backend, self.target(backend))
        with pytest.raises(HostError, match="not empty"):
            self.attach(backend, volume)
        assert list(backend.attachments()) == []
        assert still_there()
        assert self.stored(backend, volume) == {}

    def test_read_only_refuses_writers(self, backend: AnyBackend) -> None:
        volume = self.create(backend)
        self.store(backend, volume, "f", "one")
        attachment = self.attach(backend, volume, read_only=True)
        assert self.read(backend, attachment) == {"f": "one"}
        with pytest.raises(OSError, match="Read-only"):
            self.write(backend, attachment, "g", "two")

    def test_volumes_do_not_mix(self, backend: AnyBackend) -> None:
        attached = [self.attach(backend, self.create(backend, name)) for name in ("a", "b", "c")]
        for attachment in attached:
            self.write(backend, attachment, "name", attachment.name)
        assert list(backend.attachments()) == attached
        assert len({(one.device, one.root) for one in attached}) == 3
        backend.detach(attached[1])
        assert list(backend.attachments()) == [attached[0], attached[2]]
        assert self.read(backend, attached[0]) == {"name": "a"}

    def test_usage_follows_what_is_written(self, backend: AnyBackend) -> None:
        attachment = self.attach(backend, self.create(backend))
        before = backend.usage(attachment)
        self.write(backend, attachment, "f", "x" * 100_000)
        after = backend.usage(attachment)
        assert (before.size is None) == (after.size is None) == (not self.grown)
        if before.used is not None and after.used is not None:
            assert after.used - before.used >= 100_000

    def test_status_is_told_of_any_volume(self, backend: AnyBackend) -> None:
        volume = self.create(backend)
        expected = backend.status(volume)
        backend.remove(volume)
        assert backend.status(volume) == expected

    def test_findings_are_sentences(self, backend: AnyBackend) -> None:
        self.create(backend)
        for finding in backend.findings():
            assert finding.subject
            assert finding.detail

    def test_nothing_is_mounted_after_a_failure(self, backend: AnyBackend) -> None:
        volume = self.create(backend)
        backend.remove(volume)
        with pytest.raises(KedgeError):
            self.attach(backend, volume)
        assert list(backend.attachments()) == []
        assert not self.exists(backend, self.target(backend))
