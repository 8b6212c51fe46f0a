"""Other people's devices that hang must not hang ours."""

import threading
from collections.abc import Callable

import pytest

from backends.host import loop
from backends.options import Size
from tests.local.conftest import World

pytestmark = pytest.mark.lab
LONG = 30.0


def ends(work: Callable[[], object], seconds: float) -> bool:
    """Whether `work` ends within that time; if not, it goes on in the background."""
    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    thread.join(seconds)
    return not thread.is_alive()


def test_a_strangers_hung_device_hangs_nobody(world: World, hung: int) -> None:
    assert not ends(lambda: loop.status(hung), 1), "it answers: this test would prove nothing"
    ended: list[bool] = []

    def life() -> None:
        for options in ({"size": "64M"}, {"size": "300M", "fs": "xfs"}, {}):
            volume = world.made(**options)
            attachment = world.attached(volume)
            assert world.attachments() == [attachment]
            world.occupants([attachment])
            world.findings()
            if options:
                world.resize("db", Size.parse("1G"), attachment)
                world.detach(attachment)
                attachment = world.attached(world.get("db"))
            world.detach(attachment)
            world.remove(volume)
        ended.append(True)

    assert ends(life, LONG)
    assert ended
