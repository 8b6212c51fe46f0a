from collections.abc import Iterator

import pytest

from backends.stores.s3 import Endpoint
from tests.unit.stores.moto import moto_endpoint


@pytest.fixture(scope="session")
def endpoint() -> Iterator[Endpoint]:
    with moto_endpoint() as found:
        yield found
