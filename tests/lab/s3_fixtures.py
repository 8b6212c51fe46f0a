"""What tests share that attach volumes in a bucket; import the fixtures by name.

Not a conftest: such tests need not run on one worker (see tests/groups.py).
"""

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.lab.object_store import Moto, ObjectStore
from tests.lab.own_mounts import own_mounts
from tests.lab.s3_nodes import BUCKET
from tests.lab.started import started


@pytest.fixture(scope="module")
def server() -> Iterator[ObjectStore]:
    """A store with the bucket of the nodes; what a test mounts is gone after its module."""
    with started(Moto()) as made:
        made.bucket(BUCKET)
        with own_mounts():
            yield made


@pytest.fixture
def home() -> Iterator[Path]:
    """Where also the databases' users may go."""
    place = Path(tempfile.mkdtemp(prefix="kedge-s3-", dir="/var/tmp"))
    try:
        yield place
    finally:
        shutil.rmtree(place, ignore_errors=True)
