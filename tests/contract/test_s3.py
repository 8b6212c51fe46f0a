"""The s3 backend against the contract, on a server that speaks S3, with real FUSE and loop."""

import os
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import ClassVar

import pytest

from backends.base import Context
from backends.host import loop, mountinfo
from backends.s3 import S3Backend
from backends.s3.options import S3Settings
from backends.stores.s3 import Endpoint, connect
from backends.testing.backend import (
    BackendContract,
    EverywhereContract,
    ResizeContract,
    TrashContract,
)
from backends.testing.backend.world import AnyBackend
from tests.unit.stores.moto import moto_endpoint

pytestmark = pytest.mark.lab
STRIDE = int(os.environ.get("KEDGE_STRIDE", "23"))


@pytest.fixture(scope="module")
def endpoint() -> Iterator[Endpoint]:
    with moto_endpoint() as found:
        yield found


class TestS3(BackendContract, EverywhereContract, TrashContract, ResizeContract):
    """A prefix of its own for each test."""

    options: ClassVar[Mapping[str, str]] = {"size": "64M", "log": "128M", "cache": "16M"}
    grown: ClassVar[str] = "128M"

    @pytest.fixture
    def backend(self, tmp_path: Path, endpoint: Endpoint) -> AnyBackend:
        client = connect(endpoint)
        client.create_bucket(Bucket="volumes")
        credentials = tmp_path / "credentials"
        credentials.write_text("[default]\naws_access_key_id=test\naws_secret_access_key=test\n")
        settings = S3Settings(
            bucket="volumes",
            prefix=tmp_path.name,
            endpoint=endpoint.url,
            region="us-east-1",
            credentials=credentials,
            path_style=True,
        )
        return S3Backend(settings, Context("s3", "node-1", tmp_path / "mounts", tmp_path / "state"))

    def dies_at(
        self, backend: AnyBackend, effect: int, verb: Callable[[AnyBackend], object]
    ) -> bool:
        """At every STRIDE-th effect only: each death costs a data path or two."""
        return super().dies_at(backend, effect * STRIDE + STRIDE // 2, verb)

    def leftovers(self, backend: AnyBackend) -> list[str]:
        """Mounts at stages, and loop devices that nobody uses."""
        attached = {one.device for one in backend.attachments()}
        state = str(backend.context.state)
        found = [m.point for m in mountinfo.read() if m.point.startswith(f"{state}/staging")]
        for entry in os.listdir("/sys/block"):
            status = loop.status(int(entry[4:])) if entry.startswith("loop") else None
            if status and status.label.endswith(":s3") and f"7:{entry[4:]}" not in attached:
                found.append(status.label)
        return found
