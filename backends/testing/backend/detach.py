"""detach, occupants."""

from dataclasses import replace

import pytest

from backends.errors import InUse
from backends.testing.backend.world import AnyBackend, BackendWorld


class DetachContract(BackendWorld):
    """A volume is let go completely, or detach says who holds it."""

    def test_nothing_is_left(self, backend: AnyBackend) -> None:
        attachment = self.attach(backend, self.create(backend))
        assert self.exists(backend, attachment.target)
        backend.detach(attachment)
        assert list(backend.attachments()) == []
        assert not self.exists(backend, attachment.target)

    def test_detach_again_does_nothing(self, backend: AnyBackend) -> None:
        volume = self.create(backend)
        self.store(backend, volume, "f", "one")
        attachment = self.attach(backend, volume)
        backend.detach(attachment)
        backend.detach(attachment)
        self.reopen(backend).detach(attachment)
        assert self.stored(backend, volume) == {"f": "one"}

    def test_another_process_detaches_it(self, backend: AnyBackend) -> None:
        attachment = self.attach(backend, self.create(backend))
        self.reopen(backend).detach(attachment)
        assert list(backend.attachments()) == []

    def test_device_and_root_need_not_be_known(self, backend: AnyBackend) -> None:
        """A service that died while it attached never learned them."""
        attachment = self.attach(backend, self.create(backend))
        backend.detach(replace(attachment, device="", root=""))
        assert list(backend.attachments()) == []

    def test_detaching_an_earlier_volume_leaves_the_present_one(self, backend: AnyBackend) -> None:
        old = self.attach(backend, self.create(backend))
        backend.detach(old)
        backend.remove(backend.get("db"))
        new = self.attach(backend, self.create(backend))
        backend.detach(old)
        assert list(backend.attachments()) == [new]

    def test_a_removed_volume_can_be_detached(self, backend: AnyBackend) -> None:
        volume = self.create(backend)
        attachment = self.attach(backend, volume)
        backend.detach(attachment)
        backend.remove(volume)
        backend.detach(attachment)

    def test_nobody_occupies_what_nobody_has(self, backend: AnyBackend) -> None:
        attachment = self.attach(backend, self.create(backend))
        assert not backend.occupants([attachment]).get("db")
        assert not backend.occupants([])

    def test_occupants_are_found(self, backend: AnyBackend) -> None:
        one = self.attach(backend, self.create(backend, "one"))
        two = self.attach(backend, self.create(backend, "two"))
        with self.occupied(backend, one) as pid:
            found = backend.occupants([one, two])
            assert pid in [user.pid for user in found["one"]]
            assert all(user.command for user in found["one"])
        assert not backend.occupants([one, two]).get("one")

    def test_what_is_occupied_is_not_let_go(self, backend: AnyBackend) -> None:
        volume = self.create(backend)
        attachment = self.attach(backend, volume)
        self.write(backend, attachment, "f", "one")
        with self.occupied(backend, attachment), pytest.raises(InUse):
            backend.detach(attachment)
        backend.detach(attachment)
        assert list(backend.attachments()) == []
        assert self.stored(backend, volume) == {"f": "one"}

    def test_what_is_occupied_can_be_attached_again(self, backend: AnyBackend) -> None:
        """Containers outlive the service: they and the newcomer see the same files."""
        volume = self.create(backend)
        attachment = self.attach(backend, volume)
        self.write(backend, attachment, "f", "one")
        with self.occupied(backend, attachment):
            with pytest.raises(InUse):
                backend.detach(attachment)
            again = self.attach(backend, volume)
            assert (again.device, again.root) == (attachment.device, attachment.root)
            assert self.read(backend, again) == {"f": "one"}
