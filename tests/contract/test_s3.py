"""The s3 backend against the contract, on a server that speaks S3, with real FUSE and loop.

Few verbs die here, each at one of its steps; `make soak` (contract/soak_s3.py) lets every verb die
at each of its steps, on moto and on a real radosgw.
"""

import os
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, ClassVar, cast

import pytest

from backends.base import Context, Volume
from backends.disk.fuse.layer import Layer
from backends.host import loop, mountinfo
from backends.s3 import S3Backend, disks
from backends.s3.disks import label
from backends.s3.options import S3Settings
from backends.testing.backend import EverywhereContract, ResizeContract, TrashContract
from backends.testing.backend.attach import AttachContract
from backends.testing.backend.create import CreateContract
from backends.testing.backend.detach import DetachContract
from backends.testing.backend.remove import RemoveContract
from backends.testing.backend.world import AnyBackend, BackendWorld
from backends.testing.faulty import dies_when
from tests.lab.object_store import Moto, ObjectStore

pytestmark = pytest.mark.lab


class S3World(BackendWorld):
    """A prefix of its own for each test."""

    options: ClassVar[Mapping[str, str]] = {"size": "64M", "log": "128M", "cache": "16M"}
    grown: ClassVar[str] = "128M"
    first: ClassVar[int] = 3
    """The first step at which a verb dies; then at every `stride`th."""
    stride: ClassVar[int] = 1_000

    @pytest.fixture
    def backend(self, tmp_path: Path, server: ObjectStore) -> AnyBackend:
        settings = S3Settings(
            bucket="volumes",
            prefix=tmp_path.name,
            endpoint=server.endpoint.url,
            region=server.endpoint.region,
            credentials=server.credentials(tmp_path / "credentials"),
            path_style=True,
        )
        return S3Backend(settings, Context("s3", "node-1", tmp_path / "mounts", tmp_path / "state"))

    def dies_at(
        self, backend: AnyBackend, effect: int, verb: Callable[[AnyBackend], object]
    ) -> bool:
        return super().dies_at(backend, self.first + effect * self.stride, verb)

    def leftovers(self, backend: AnyBackend) -> list[str]:
        """Mounts at stages, and loop devices of this profile's volumes that nobody uses."""
        state = str(backend.context.state)
        found = [m.point for m in mountinfo.read() if m.point.startswith(f"{state}/staging")]
        attached = {one.device for one in backend.attachments()}
        ours = set(os.listdir(f"{state}/disks")) if os.path.isdir(f"{state}/disks") else set()
        for number in loop.numbers():
            status = loop.status(number)
            if status and any(status.label == label(u, backend.context.node) for u in ours):
                found += [status.label] if status.device not in attached else []
        return found


class TestS3(
    S3World,
    CreateContract,
    RemoveContract,
    AttachContract,
    DetachContract,
    EverywhereContract,
    TrashContract,
    ResizeContract,
):
    """On moto."""

    @pytest.fixture(scope="class")
    @classmethod
    def server(cls) -> Iterator[ObjectStore]:
        made = Moto()
        try:
            made.start()
            made.bucket("volumes")
            yield made
        finally:
            made.close()

    def test_a_death_with_the_file_system_on_its_stage_is_made_good(
        self, backend: AnyBackend
    ) -> None:
        """It holds the loop device, and that the data path."""
        spec = self.spec(backend)
        assert dies_when(_leaves_a_stage, lambda: self.reopen(backend).create(spec))
        volume = self.reopen(backend).create(spec)
        assert self.leftovers(backend) == []
        assert dies_when(_leaves_a_stage, lambda: self.attach(self.reopen(backend), volume))
        fresh = self.reopen(backend)
        self.write(fresh, self.attach(fresh, volume), "f", "text")
        fresh.detach(self.attach(fresh, volume))
        assert self.stored(fresh, volume) == {"f": "text"}
        assert self.leftovers(backend) == []
        fresh.remove(volume)

    def test_a_file_system_that_did_not_reach_the_bucket_is_made_again(
        self, backend: AnyBackend, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Two nodes make one volume: the second took the disk before the first had sent what it
        formatted, and must not find that it is ready."""
        spec, other = self.spec(backend), cast(S3Backend, self.elsewhere(backend))
        taken = Volume(spec.name, spec.uuid, "", spec.options)
        formatted: list[Layer] = []
        real = Layer.format

        def lost(layer: Layer, **wanted: Any) -> None:
            real(layer, **wanted)
            if not formatted:
                other._disks.open(taken, claim=0)
            formatted.append(layer)

        monkeypatch.setattr(Layer, "format", lost)
        monkeypatch.setattr(disks, "MADE_ELSEWHERE", 0.5)
        volume = backend.create(spec)
        other._disks.close(spec.uuid, spec.name)
        assert len(formatted) == 2
        assert self.stored(backend, volume) == {}

    def test_a_volume_whose_maker_died_with_its_stage_can_be_removed(
        self, backend: AnyBackend
    ) -> None:
        spec = self.spec(backend)
        assert dies_when(_leaves_a_stage, lambda: self.reopen(backend).create(spec))
        fresh = self.reopen(backend)
        fresh.remove(Volume(spec.name, spec.uuid, "", spec.options))
        assert self.leftovers(backend) == []
        assert self.stored(fresh, self.create(fresh)) == {}


def _leaves_a_stage(event: str, arguments: tuple[Any, ...]) -> bool:
    return event == "kedge.unmount" and "/staging/" in str(arguments[0])
