"""Services for the wire tests."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.wire.service import Service


@pytest.fixture(scope="session")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """One service for all tests that leave it as it was."""
    service = Service(tmp_path_factory.mktemp("kedge") / "shared").start()
    service.ok("List")
    yield service
    seconds = service.stop()
    assert "Traceback" not in service.said
    assert seconds < 8


@pytest.fixture
def service(shared: Service) -> Iterator[Service]:
    """The shared service, with no volumes before and after."""
    yield shared
    shared.unhook()
    for name in shared.names():
        while holders(shared, name):
            for mount_id in ("a" * 64, "b" * 64):
                shared.ok("Unmount", Name=name, ID=mount_id)
        shared.ok("Remove", Name=name)


def holders(service: Service, name: str) -> int:
    return int(service.ok("Get", Name=name)["Volume"]["Status"].get("holders", 0))


@pytest.fixture
def started(tmp_path: Path) -> Iterator[Callable[..., Service]]:
    """Makes services of the test's own, which end with it."""
    made: list[Service] = []

    def start(settings: str | None = None, **environ: str) -> Service:
        home = tmp_path / f"s{len(made)}"
        service = Service(home, **({} if settings is None else {"settings": settings}), **environ)
        made.append(service)
        return service

    yield start
    for service in made:
        service.unhook()
        if service.process is not None:
            service.stop()
