"""Every safety rule, broken on purpose: some test turns red.

A row is a rule, how to break it, and a test that must then fail. The tests are those of this
package and of the contract; here they are called by hand.
"""

import inspect
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from backends.base import Attachment, OnRemove
from backends.catalog import removal as catalog_removal
from backends.catalog import volumes as catalog_volumes
from backends.catalog.entry import State
from backends.errors import KedgeError
from backends.host import files, loop, mountinfo, mounts, processes, targets, trees
from backends.host.filesystems import ext4
from backends.mounting import detaching, mounted
from backends.tree import image, reserve, source, store
from tests.contract import test_local
from tests.local import test_disks, test_holding, test_image, test_removal, test_strangers

pytestmark = pytest.mark.lab
RED = (AssertionError, KedgeError, OSError, pytest.fail.Exception)
Break = Callable[[pytest.MonkeyPatch], object]

_bind = mounts.bind


def second_device(patch: pytest.MonkeyPatch) -> None:
    """An image that is on a device already is put on another."""
    patch.setattr(loop, "find", lambda file: None)


def root_of_the_file_system(patch: pytest.MonkeyPatch) -> None:
    """The stage itself is bound to the target, and believed."""
    patch.setattr(image, "ROOT", "/")

    def bind(place: Path, target: Path) -> None:
        _bind(place.parent if (place.parent / "lost+found").exists() else place, target)

    patch.setattr(mounts, "bind", bind)


def no_proof(patch: pytest.MonkeyPatch) -> None:
    """What was mounted is not looked at again."""

    def proof(self: mounted.Mounted, volume: Any, target: Path) -> Attachment:
        return Attachment(volume.name, volume.uuid, target, "", "")

    patch.setattr(mounted.Mounted, "proof", proof)


def crossing_mounts(patch: pytest.MonkeyPatch) -> None:
    """Trees are deleted as Python does it."""
    patch.setattr(trees, "delete", lambda path: shutil.rmtree(path))


def not_looking_for_mounts(patch: pytest.MonkeyPatch) -> None:
    """Data are moved aside whatever is mounted in them."""
    patch.setattr(trees, "refuse_mounts_below", lambda path: None)


def record_before_data(patch: pytest.MonkeyPatch) -> None:
    """The record goes first."""

    def finish(self: Any, entry: Any) -> None:
        self.volumes.delete(entry.volume.name, entry)
        self.data.delete(entry.volume)

    patch.setattr(catalog_removal.Shelves, "finish_removal", finish)


def ready_before_data(patch: pytest.MonkeyPatch) -> None:
    """A volume is called ready before its data are made."""

    def make(self: Any, entry: Any) -> Any:
        ready = self._ready(entry)
        self._data.make(ready)
        return ready

    patch.setattr(catalog_volumes.Catalog, "_make", make)


def image_in_place_too_soon(patch: pytest.MonkeyPatch) -> None:
    """The image gets its name before it is formatted."""

    def formatted(self: Any, volume: Any, new: Path) -> None:
        files.make_sparse(new, volume.options.size)
        files.link_into_place(new, self.image(volume.uuid))
        _format(self, volume, new)

    _format = image.ImageLayout._format
    patch.setattr(image.ImageLayout, "_format", formatted)


def unknown_root(patch: pytest.MonkeyPatch) -> None:
    """A root without a marker is made anew, whatever this node remembers."""

    def check(self: store.Store) -> str:
        return self._read(self._marker) or self._make()

    patch.setattr(store.Store, "check", check)


def hiding_what_is_there(patch: pytest.MonkeyPatch) -> None:
    """A target with something in it is mounted over."""
    patch.setattr(targets, "make", lambda target: target.mkdir(parents=True, exist_ok=True))


def everything_follows(patch: pytest.MonkeyPatch) -> None:
    """Nobody counts as a holder."""
    patch.setattr(processes, "_follows", lambda mount, mounts, place: True)


def nothing_follows(patch: pytest.MonkeyPatch) -> None:
    """Whoever copied our mounts counts as a holder."""
    patch.setattr(processes, "_follows", lambda mount, mounts, place: False)


def not_waiting(patch: pytest.MonkeyPatch) -> None:
    """Detach does not ask who still holds the data."""
    patch.setattr(detaching, "await_release", lambda attachment, released: None)


def device_number_is_identity(patch: pytest.MonkeyPatch) -> None:
    """What is mounted from a device of the same number is taken for the volume."""

    def shows(self: Any, uuid: str) -> Callable[[Any], bool]:
        return lambda mount: mount.root == "/data"

    patch.setattr(mounted.Mounted, "shows", shows)


def no_repair(patch: pytest.MonkeyPatch) -> None:
    """A file system that says it has errors is mounted."""
    patch.setattr(ext4.Ext4, "repair", lambda self, device: None)


def asking_strangers(patch: pytest.MonkeyPatch) -> None:
    """mkfs may look at every device of the machine."""
    patch.setattr(ext4, "_UNASKED", {})
    patch.setattr(test_strangers, "LONG", 5.0)


def no_room_kept(patch: pytest.MonkeyPatch) -> None:
    """A full disk is full for everybody."""
    patch.setattr(reserve.Reserve, "spend", lambda self, work: work())


def removing_what_is_attached(patch: pytest.MonkeyPatch) -> None:
    """Nobody looks whether the data are mounted."""
    patch.setattr(source.Direct, "refuse_use", lambda self, uuid: None)


def trash_forgotten(patch: pytest.MonkeyPatch) -> None:
    """A removal that was cut off deletes, whatever it was meant to do."""
    finish = catalog_removal.Shelves.finish_removal

    def finished(self: Any, entry: Any) -> None:
        fate = entry.fate if entry.state is not State.REMOVING else OnRemove.DELETE
        finish(self, type(entry)(entry.volume, entry.state, entry.version, fate))

    patch.setattr(catalog_removal.Shelves, "finish_removal", finished)


def trash_death(backend: Any) -> None:
    test_local.TestDirectory().test_remove(backend, OnRemove.TRASH)


def delete_death(backend: Any) -> None:
    test_local.TestDirectory().test_remove(backend, OnRemove.DELETE)


def image_options(test: Callable[..., None]) -> Callable[..., None]:
    """The test for an ext4 image."""

    def named(world: Any, tmp_path: Path) -> None:
        arguments = {"world": world, "tmp_path": tmp_path, "options": {"size": "64M"}}
        test(**{k: v for k, v in arguments.items() if k in inspect.signature(test).parameters})

    return named


MUTANTS: list[tuple[Break, Callable[..., None]]] = [
    (second_device, image_options(test_image.test_an_image_in_use_is_never_on_a_second_device)),
    (
        root_of_the_file_system,
        image_options(test_image.test_the_root_of_the_file_system_is_never_handed_out),
    ),
    (no_proof, test_holding.test_a_mount_that_did_not_happen_is_not_believed),
    (no_proof, test_holding.test_a_mount_of_something_else_is_not_believed),
    (crossing_mounts, test_removal.test_what_is_mounted_after_the_look_is_not_deleted_either),
    (not_looking_for_mounts, test_removal.test_a_mount_inside_a_volume_is_not_deleted),
    (record_before_data, delete_death),
    (ready_before_data, lambda backend: test_local.TestDirectory().test_create(backend)),
    (image_in_place_too_soon, lambda backend: test_local.TestExt4().test_create(backend)),
    (unknown_root, test_disks.test_a_disk_that_is_not_mounted_is_not_an_empty_profile),
    (
        hiding_what_is_there,
        lambda backend: test_local.TestDirectory().test_a_target_with_something_in_it_is_refused(
            backend
        ),
    ),
    (everything_follows, test_holding.test_a_namespace_that_does_not_follow_ours_holds_it),
    (nothing_follows, test_holding.test_a_namespace_that_follows_ours_holds_nothing),
    (not_waiting, test_holding.test_an_image_held_elsewhere_names_its_holder),
    (
        device_number_is_identity,
        lambda backend: (
            test_local.TestExt4().test_detaching_an_earlier_volume_leaves_the_present_one(backend)
        ),
    ),
    (no_repair, test_image.test_errors_that_need_a_person_are_refused),
    (asking_strangers, test_strangers.test_a_strangers_hung_device_hangs_nobody),
    (
        no_room_kept,
        lambda on_disk, disk: test_disks.test_a_full_disk_can_be_emptied(on_disk, disk, {}),
    ),
    (removing_what_is_attached, test_removal.test_an_attached_volume_is_not_removed),
    (trash_forgotten, trash_death),
]


@pytest.mark.parametrize(("broken", "test"), MUTANTS, ids=[m[0].__name__ for m in MUTANTS])
def test_a_broken_rule_is_noticed(
    broken: Break, test: Callable[..., None], request: pytest.FixtureRequest
) -> None:
    arguments = dict(fixtures(test, request))
    with cleaned_up(), pytest.MonkeyPatch.context() as patch:
        broken(patch)
        with pytest.raises(RED):
            test(**arguments)


@contextmanager
def cleaned_up() -> Iterator[None]:
    """A driver without its rules leaves mounts behind."""
    before = {mount.id for mount in mountinfo.read()}
    yield
    for mount in reversed(mountinfo.read()):
        if mount.id not in before and "/test_a_broken_rule" in mount.point:
            mounts.unmount(Path(mount.point), lazily=True)


def fixtures(
    test: Callable[..., None], request: pytest.FixtureRequest
) -> Iterator[tuple[str, Any]]:
    """What the test asks for; `backend` is the world."""
    for name in inspect.signature(test).parameters:
        yield name, request.getfixturevalue("world" if name == "backend" else name)
