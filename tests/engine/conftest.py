"""Nodes for the tests: a real engine with the driver on it, once as each packaging.

`node` is shared by all tests of its form; each test leaves it as it found it, and what a test
leaves in the kernel fails that test.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.lab import rootfs
from tests.lab.node import Node, packaged
from tests.lab.started import started

NUMBERS = itertools.count(1)


@pytest.fixture(scope="session")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The managed plugin of this checkout, as `docker plugin create` takes it."""
    return rootfs.build(tmp_path_factory.mktemp("plugin"))


@pytest.fixture(scope="session", params=["managed", "socket"])
def shared_node(request: pytest.FixtureRequest) -> Iterator[Node]:
    name = f"{request.param}-{next(NUMBERS)}"
    with started(packaged(request.param, name, lambda: request.getfixturevalue("built"))) as node:
        yield node


@pytest.fixture
def node(shared_node: Node) -> Iterator[Node]:
    yield shared_node
    shared_node.clear()


@pytest.fixture(params=["directory", "image"])
def volume(request: pytest.FixtureRequest, node: Node) -> str:
    """A new volume of each layout, by its name."""
    name = f"vol-{next(NUMBERS)}"
    node.create(name, *(["size=512M"] if request.param == "image" else []))
    return name
