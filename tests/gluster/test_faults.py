"""What breaks in a pool, while a volume is written."""

import hashlib
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypeVar

import pytest

from backends.base import Attachment, Spec, Volume
from backends.errors import KedgeError, Unavailable
from backends.gluster import GlusterBackend
from backends.gluster.options import GlusterOptions
from backends.options import Size
from tests.gluster.conftest import VOLUME, Open, a_pool
from tests.gluster.test_fencing import LAYOUTS, attach, make
from tests.gluster.writing import Writer
from tests.lab.gluster import Pool

pytestmark = pytest.mark.lab

PATIENCE = 3.0
DEADLINE = 20.0
"""What a call of Docker may take; each of these waits for the pool once or twice, PATIENCE each."""
T = TypeVar("T")


@pytest.fixture
def pool() -> Iterator[Pool]:
    """Of one test, to be broken; its servers look often for what is to be healed."""
    with a_pool(cluster__heal_timeout="5") as made:
        yield made


def copies(pool: Pool, backend: GlusterBackend, volume: Volume[GlusterOptions]) -> set[str]:
    """The different contents that the bricks have of the file `lines`."""
    path = f"{backend.settings.subdirectory}/volumes/{volume.uuid}/data/lines"
    files = [pool.brick(number, VOLUME, path) for number in range(3)]
    return {hashlib.sha256(file.read_bytes()).hexdigest() for file in files}


@contextmanager
def frozen(pool: Pool) -> Iterator[None]:
    """No brick moves during the block: what a hung storage network looks like."""
    for node in pool.nodes:
        node.signal_bricks(signal.SIGSTOP)
    try:
        yield
    finally:
        for node in pool.nodes:
            node.signal_bricks(signal.SIGCONT)


def timed(act: Callable[[], object]) -> tuple[float, KedgeError | None]:
    """Seconds that a call took, and what it raised."""
    begun = time.monotonic()
    try:
        act()
    except KedgeError as error:
        return time.monotonic() - begun, error
    return time.monotonic() - begun, None


def eventually(act: Callable[[], T], *, seconds: float = 60) -> T:
    """What a call gives once the clients have found the pool again."""
    end = time.monotonic() + seconds
    while True:
        try:
            return act()
        except (KedgeError, OSError):
            if time.monotonic() > end:
                raise
        time.sleep(0.1)


def text_of(attachment: Attachment) -> str:
    """What the writer wrote, as a client reads it."""
    return (attachment.target / "lines").read_text()


def test_a_volume_made_while_a_node_was_away_outlives_its_return(
    open_node: Open, pool: Pool
) -> None:
    """A client of a subdirectory would end itself when the brick without it comes back."""
    a = open_node()
    a.volumes()
    pool.nodes[2].kill()
    volume = make(a)
    attachment = attach(a, volume)
    with Writer(attachment.target / "lines", pause=0.01) as writer:
        writer.wait_for(10)
        pool.nodes[2].start()
        pool.wait_node(pool.nodes[2])
        pool.wait_online(VOLUME)
        writer.wait_for(100)
        assert [one.healthy for one in a.attachments()] == [True]
    a.detach(attachment)


@pytest.mark.parametrize("dead", [0, 1, 2], ids=["first", "second", "third"])
def test_any_server_may_be_dead_at_mount(open_node: Open, pool: Pool, dead: int) -> None:
    """Of the list: a service that starts then finds its volumes, makes new ones, and mounts."""
    volume = make(open_node("before"))
    pool.nodes[dead].kill()
    a = open_node("a")
    took, error = timed(lambda: a.get("db"))
    assert error is None
    assert took < DEADLINE
    new = a.create(Spec("new", GlusterOptions(), "3-4", "2026-01-01T00:00:00Z"))
    for one in (volume, new):
        attachment = attach(a, one)
        (attachment.target / "f").write_text("written without it")
        assert (attachment.target / "f").read_text() == "written without it"
        a.detach(attachment)


def test_two_of_three_nodes_are_lost(open_node: Open, pool: Pool) -> None:
    """No majority: no writing and no reading, said clearly and in time; after that, as before."""
    a = open_node(patience=PATIENCE)
    volume = make(a)
    attachment = attach(a, volume)
    with Writer(attachment.target / "lines", pause=0.01) as writer:
        writer.wait_for(10)
        pool.nodes[1].kill()
        pool.nodes[2].kill()
        writer.wait_failed(seconds=60)
        acknowledged = writer.acknowledged()
    took, error = timed(lambda: a.get("db"))
    assert isinstance(error, Unavailable)
    assert took < DEADLINE
    took, error = timed(lambda: make(a))
    assert isinstance(error, Unavailable)
    assert took < DEADLINE
    took, error = timed(a.attachments)
    assert error is None
    assert took < PATIENCE
    assert [one.healthy for one in a.attachments()] == [True]
    for node in pool.nodes[1:]:
        node.start()
    for node in pool.nodes:
        pool.wait_node(node)
    pool.wait_online(VOLUME)
    eventually(lambda: (attachment.target / "more").write_text("on the same mount"))
    assert len(text_of(attachment).splitlines()) >= acknowledged
    assert eventually(lambda: a.get("db")) == volume
    a.detach(attachment)


@LAYOUTS
def test_every_brick_hangs(open_node: Open, pool: Pool, size: Size | None) -> None:
    """Nothing hangs with them beyond the profile's patience."""
    a = open_node(patience=PATIENCE)
    volume = make(a, size)
    attachment = attach(a, volume)
    with frozen(pool):
        for verb in (
            lambda: a.get("db"),
            a.volumes,
            lambda: make(a, size),
            lambda: attach(a, volume),
        ):
            took, error = timed(verb)
            assert isinstance(error, Unavailable), error
            assert took < DEADLINE
        took, error = timed(a.attachments)
        assert error is None
        assert took < PATIENCE
        took, error = timed(lambda: a.cut_off(attachment))
        assert error is None
        assert took < 3
    pool.wait_online(VOLUME)
    a.detach(eventually(lambda: attach(a, volume)))


def test_an_attempt_to_split_the_data_fails(open_node: Open, pool: Pool) -> None:
    """One node misses a write and is then alone: it may neither take one nor show the old."""
    a = open_node(patience=PATIENCE)
    volume = make(a)
    attachment = attach(a, volume)
    lines = attachment.target / "lines"
    lines.write_text("first")
    pool.nodes[0].kill()
    lines.write_text("second")
    with lines.open() as file:
        assert file.read() == "second"
    pool.nodes[1].kill()
    pool.nodes[2].kill()
    pool.nodes[0].start()
    time.sleep(5)
    for attempt in (lambda: lines.write_text("third"), lines.read_text):
        with pytest.raises(OSError, match=r"not connected|Read-only|Input/output"):
            attempt()
    for node in pool.nodes[1:]:
        node.start()
    for node in pool.nodes:
        pool.wait_node(node)
    pool.wait_online(VOLUME)
    pool.wait_healed(VOLUME)
    assert "in split-brain: 0" in pool.gluster("volume", "heal", VOLUME, "info", "split-brain")
    assert eventually(lines.read_text) == "second"
    assert len(copies(pool, a, volume)) == 1
    a.detach(attachment)
