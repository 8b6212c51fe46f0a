"""What every backend must do. Subclass BackendContract, describe your world, run with pytest:

class TestMine(BackendContract, ResizeContract):
    options = {"size": "64M"}
    grown = "1G"

    @pytest.fixture
    def backend(self, tmp_path):
        context = Context("mine", "node-1", tmp_path / "mounts", tmp_path / "state")
        return MyBackend(MySettings(...), context)
"""

from backends.base import Resizable, Trash
from backends.snapshots import Snapshots
from backends.testing.backend.attach import AttachContract
from backends.testing.backend.crash import CrashContract
from backends.testing.backend.create import CreateContract
from backends.testing.backend.detach import DetachContract
from backends.testing.backend.optional import (
    EverywhereContract,
    ResizeContract,
    SizelessContract,
    TrashContract,
)
from backends.testing.backend.remove import RemoveContract
from backends.testing.backend.snapshots import SnapshotContract
from backends.testing.backend.world import AnyBackend

__all__ = [
    "BackendContract",
    "EverywhereContract",
    "ResizeContract",
    "SizelessContract",
    "SnapshotContract",
    "TrashContract",
]


class BackendContract(
    CreateContract,
    RemoveContract,
    AttachContract,
    DetachContract,
    CrashContract,
):
    """What all must do. Beside it, inherit what yours can: TrashContract, ResizeContract or
    SizelessContract, SnapshotContract, EverywhereContract."""

    def test_the_contracts_that_apply_are_run(self, backend: AnyBackend) -> None:
        assert isinstance(self, EverywhereContract) == backend.capabilities.everywhere
        assert isinstance(self, TrashContract) == isinstance(backend, Trash)
        assert isinstance(self, SnapshotContract) == isinstance(backend, Snapshots)
        sized, sizeless = isinstance(self, ResizeContract), isinstance(self, SizelessContract)
        assert (sized or sizeless) == isinstance(backend, Resizable)
        assert sized == bool(self.grown)
