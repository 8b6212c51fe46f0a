"""A daemon that is there and does not answer: every verb says so in time, and works afterwards:
`make soak`.
"""

import contextlib
import signal
import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import TypeVar

import pytest

from backends.base import Finding, Level, Volume
from backends.ceph import CephBackend
from backends.ceph.options import CephOptions, CephSettings, Layout
from backends.claims import Stale
from backends.errors import Unavailable
from backends.host.bounded import Bounded
from backends.options import Size
from tests.ceph.conftest import Node
from tests.ceph.test_fencing import attach, claim, make, writer
from tests.ceph.test_snapshots import CREATED
from tests.lab.ceph import Ceph

pytestmark = pytest.mark.lab

TIMEOUT = 2.0
"""Of the profile."""
SECONDS = 15.0
"""For every verb, which may ask more than once; what hangs would take minutes, or for ever."""
ANSWERED = {"attachments", "occupants", "status", "findings"}
"""Of the kernel, or from memory; and what finds this out."""
T = TypeVar("T")
Verbs = dict[str, Callable[[], object]]


def verbs(
    one: CephBackend,
    two: CephBackend,
    held: Volume[CephOptions],
    free: Volume[CephOptions],
    found: list[Finding],
) -> Verbs:
    """Each on a volume that node one has attached, or on one that nobody has. `found`: of the
    doctor."""
    layout = held.options.layout or Layout.DISK
    here = one.context.mounts / held.name
    (attachment,) = [found for found in one.attachments() if found.target == here]
    taken = {"created": CREATED, "attachment": None, "claim": None}
    return {
        "attachments": one.attachments,
        "occupants": lambda: one.occupants([attachment]),
        "status": lambda: one.status(held),
        "get": lambda: one.get(held.name),
        "volumes": one.volumes,
        "create": lambda: make(one, layout, name="other"),
        "usage": lambda: one.usage(attachment),
        "resize": lambda: one.resize(held.name, Size(128 * 2**20), attachment),
        "snapshot_create": lambda: one.snapshot_create(free, "two", **taken),  # type: ignore[arg-type]
        "snapshot_list": lambda: one.snapshot_list(free),
        "snapshot_remove": lambda: one.snapshot_remove(free, "one", claim=None),
        "snapshot_restore": lambda: one.snapshot_restore(free, "one", claim=None),
        "attach": lambda: attach(two, free, 1),
        "take over": lambda: attach(two, held, 2),
        "fence": lambda: two.fence(held, [Stale(1, "one", "s", one.fence_facts(held))]),
        "remove": lambda: one.remove(free),
        "tidy": one.tidy,
        "findings": lambda: found.extend(one.findings()),
    }


def answers(wanted: Verbs) -> dict[str, str]:
    """What each says of the cluster, all asked at once; nothing when it needs no more than there
    is."""
    said: dict[str, str] = {}

    def ask(name: str, verb: Callable[[], object]) -> None:
        try:
            verb()
            said[name] = ""
        except Unavailable as error:
            said[name] = error.message

    end = time.monotonic() + SECONDS
    calls = {name: Bounded(partial(ask, name, verb)) for name, verb in wanted.items()}
    late = [name for name, call in calls.items() if not call.done(max(0, end - time.monotonic()))]
    assert late == []
    return said


def repeated(ceph: Ceph, verb: Callable[[], T]) -> T:
    """What it returns when it is asked again until the cluster answers, as Docker asks."""
    done: list[T] = []

    def asked() -> bool:
        with contextlib.suppress(Unavailable):
            done.append(verb())
        return bool(done)

    ceph.wait_for(asked, "the cluster answers again", seconds=180)
    return done[0]


@pytest.mark.parametrize(
    ("daemon", "layout", "needless"),
    [
        ("osd.0", Layout.DISK, {"usage"}),
        ("mds.a", Layout.FILESYSTEM, {"get", "volumes", "tidy"}),
    ],
    ids=["osd", "mds"],
)
def test_a_daemon_that_hangs_hangs_no_verb(
    settings: CephSettings,
    node: Node,
    ceph: Ceph,
    daemon: str,
    layout: Layout,
    needless: set[str],
) -> None:
    """`needless`: verbs that do without it. A daemon that goes on after so long is not what this
    is about: it is killed and started."""
    one, two = node("one"), node("two")
    held, free = make(one, layout), make(one, layout, name="free")
    one.snapshot_create(free, "one", created=CREATED, attachment=None, claim=None)
    with writer(attach(one, held, 1)) as log:
        log.write("before")
    brief = replace(settings, timeout=TIMEOUT)
    found: list[Finding] = []
    wanted = verbs(node("one", brief), node("two", brief), held, free, found)
    ceph.signal(daemon, signal.SIGSTOP)
    try:
        said = answers(wanted)
    finally:
        ceph.kill(daemon)
        if daemon == "osd.0":
            ceph.mon("osd down", ids=["0"])
        ceph.spawn(daemon)
    assert {name for name, words in said.items() if not words} == ANSWERED | needless
    assert [words for words in said.values() if words and "in time" not in words] == []
    assert [one for one in found if one.level is Level.ERROR]

    mended = partial(repeated, ceph)
    attachment = mended(lambda: attach(two, held, 3))
    assert attachment.healthy
    assert (attachment.target / "log").read_text() == "before\n"
    known = mended(one.volumes)
    assert [volume.name for volume in known if volume.name != "other"] == ["db", "free"]
    snapshots = mended(lambda: one.snapshot_list(free))
    assert [snapshot.name for snapshot in snapshots][:1] == ["one"]
    mended(lambda: one.snapshot_restore(free, "one", claim=claim(one, free, 2)))
    mended(lambda: one.remove(free))
    for backend in (two, one):
        for left in backend.attachments():
            mended(partial(backend.detach, left))
    mended(lambda: one.remove(make(one, Layout.FILESYSTEM, name="last")))
    ceph.wait_for(ceph.healthy, "HEALTH_OK")
