"""A service that was frozen while it changed an image, and goes on when another node has it."""

import sys
import threading
import weakref
from collections.abc import Callable, Iterator

import pytest

from backends.base import Volume
from backends.ceph import CephBackend
from backends.ceph.images import Images
from backends.ceph.options import CephOptions, Layout
from backends.errors import InUse, KedgeError
from tests.ceph.conftest import Node
from tests.ceph.test_fencing import attach, claim, writer
from tests.ceph.test_snapshots import prepared

pytestmark = pytest.mark.lab


class Frozen(threading.Thread):
    """Works until it is told `reached`, and goes on after `wake`."""

    def __init__(self, work: Callable[[], None]) -> None:
        super().__init__(daemon=True)
        self._work = work
        self._there, self._woken = threading.Event(), threading.Event()
        self.error: KedgeError | None = None

    def run(self) -> None:
        try:
            self._work()
        except KedgeError as error:
            self.error = error

    def reached(self) -> None:
        """Stand still, if this is the thread that it is about."""
        if threading.current_thread() is self and not self._there.is_set():
            self._there.set()
            assert self._woken.wait(60)

    def freeze(self) -> None:
        self.start()
        assert self._there.wait(60)

    def wake(self) -> None:
        self._woken.set()
        self.join(60)
        assert not self.is_alive()


@pytest.fixture
def node_one(node: Node) -> CephBackend:
    return node("one")


@pytest.fixture
def volume(node_one: CephBackend) -> Volume[CephOptions]:
    return prepared(node_one, Layout.DISK)


@pytest.fixture
def rolling(node_one: CephBackend, volume: Volume[CephOptions]) -> Iterator[Frozen]:
    """Goes back to a snapshot under a claim."""
    right = claim(node_one, volume, 1)
    made = Frozen(lambda: node_one.snapshot_restore(volume, "one", claim=right))
    yield made
    made.wake()


def takes_over(
    node: Node, volume: Volume[CephOptions], rolling: Frozen, node_one: CephBackend
) -> None:
    """Another node does, and writes; who wakes up changes nothing of that."""
    two = node("two")
    attachment = attach(two, volume, 2)
    with writer(attachment) as log:
        log.write("two 2")
    two.detach(attachment)
    rolling.wake()
    assert rolling.error is not None, "a claimant that was superseded went on"
    assert (attach(two, volume, 3).target / "log").read_text() == "two 2\n"
    assert node_one.get("db") == volume, "and it needs no restart"


def test_before_the_image_knows_of_it(
    node: Node,
    node_one: CephBackend,
    volume: Volume[CephOptions],
    rolling: Frozen,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """As after half a minute, when the cluster has forgotten its watch: its address is known from
    the record alone."""
    opened = Images._opened

    def paused(self: Images, name: str, *, read_only: bool = True, **how: str) -> object:
        if not read_only:
            rolling.reached()
        return opened(self, name, read_only=read_only, **how)

    monkeypatch.setattr(Images, "_opened", paused)
    rolling.freeze()
    takes_over(node, volume, rolling, node_one)


@pytest.fixture
def halfway(rolling: Frozen) -> Frozen:
    """Frozen when the image is being taken back. A hook is never taken away again, and what it
    knows would be kept: connections to the cluster, here."""
    known = weakref.ref(rolling)

    def hook(event: str, arguments: tuple[object, ...]) -> None:
        rolls_back = event == "kedge.ceph" and str(arguments[0]).startswith("roll back image")
        if rolls_back and (frozen := known()) is not None:
            frozen.reached()

    sys.addaudithook(hook)
    rolling.freeze()
    return rolling


def test_in_the_middle(
    node: Node, node_one: CephBackend, volume: Volume[CephOptions], halfway: Frozen
) -> None:
    takes_over(node, volume, halfway, node_one)


def test_nobody_removes_what_is_being_changed(
    node: Node, volume: Volume[CephOptions], halfway: Frozen
) -> None:
    """Nobody has it attached anywhere; the refusal says what else is going on."""
    two = node("two")
    with pytest.raises(InUse, match="kedge on node one is changing volume db, or died while"):
        two.remove(volume)
    halfway.wake()
    assert halfway.error is None
    attachment = attach(two, volume, 2)
    assert (attachment.target / "f").read_text() == "then"
    two.detach(attachment)
    two.remove(volume)
    assert list(two.volumes()) == []
