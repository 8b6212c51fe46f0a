"""A whole machine loses its power, or is suspended, with a volume in a bucket: `make soak`.

The machine is emulated and has a kernel of its own (Debian's, another one than this machine's), so
that what it had in memory is really gone. KEDGE_POWER_CUTS: how often its power is cut. Needs the
packages qemu-system-x86, busybox-static, kmod and cpio.
"""

from __future__ import annotations

import json
import os
import random
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.lab.machine import HOST, Kernel, Machine
from tests.lab.machine_guest import line
from tests.lab.object_store import ObjectStore
from tests.lab.s3_fixtures import home, server
from tests.lab.s3_nodes import Node, nodes

__all__ = ["home", "server"]
pytestmark = [pytest.mark.lab, pytest.mark.timeout(3600)]

CUTS = int(os.environ.get("KEDGE_POWER_CUTS", "5"))
SECONDS = 240.0
"""An emulated processor is twenty times slower than this one."""


@pytest.fixture(scope="module")
def kernel(tmp_path_factory: pytest.TempPathFactory) -> Kernel:
    return Kernel(tmp_path_factory.mktemp("kernel"))


@pytest.fixture
def machine(kernel: Kernel) -> Iterator[Machine]:
    with Machine(kernel) as made:
        yield made


@pytest.fixture
def here(server: ObjectStore, home: Path) -> Iterator[Node]:
    """A node on this machine, of the same profile."""
    with nodes(server, home, "here") as (node,):
        yield node


def settings(node: Node, home: Path) -> str:
    """The profile as the machine has to see it, in a file."""
    seen = {name: getattr(node.settings, name) for name in ("bucket", "prefix", "region")}
    seen["endpoint"] = str(node.settings.endpoint).replace("127.0.0.1", HOST)
    seen["credentials"] = str(node.settings.credentials)
    place = home / "settings.json"
    place.write_text(json.dumps(seen))
    return str(place)


def switch_on(machine: Machine, settings: str, epoch: int) -> int:
    """How many lines it finds."""
    machine.start("tests.lab.machine_guest", settings, str(epoch))
    return int(machine.line("HAS ", SECONDS))


@pytest.mark.parametrize("durability", ["local", "store"])
def test_node_power_loss_comes_back_first(
    machine: Machine, here: Node, home: Path, durability: str
) -> None:
    here.create(durability=durability)
    place, chance = settings(here, home), random.Random(durability)
    confirmed, found = 0, []
    for epoch in range(1, CUTS + 2):
        found.append(switch_on(machine, place, epoch))
        assert found[-1] >= confirmed, f"line {confirmed} was confirmed; {found[-1]} are there"
        machine.line(f"SYNCED {found[-1] + 20}", SECONDS)
        time.sleep(chance.uniform(0, 3))
        machine.cut()
        said = [*machine.said, *machine.pending()]
        confirmed = max(int(one.split()[1]) for one in said if one.startswith("SYNCED "))
    print(f"{durability}: power cut {CUTS} times; lines found each time: {found}")


@pytest.mark.parametrize("durability", ["local", "store"])
def test_process_or_vm_paused_then_resumed(
    machine: Machine, here: Node, home: Path, durability: str
) -> None:
    volume = here.create(durability=durability)
    found = switch_on(machine, settings(here, home), 1)
    machine.line(f"SYNCED {found + 20}", SECONDS)
    time.sleep(15)  # its server, too, is slow to send
    machine.suspend()
    machine.pending()
    confirmed = max(int(one.split()[1]) for one in machine.said if one.startswith("SYNCED "))
    time.sleep(5)
    log = here.attach(volume, 2) / "log"
    lines = log.read_bytes()
    taken = len(lines) // len(line(0))
    if durability == "store":
        assert taken >= confirmed
    with log.open("ab") as file:
        file.write(b"the next owner was here\n")
        file.flush()
        os.fsync(file.fileno())
    machine.resume()
    error = machine.line("FAILED ", SECONDS)
    late = sum(one.startswith("SYNCED ") for one in machine.said) - confirmed + found
    here.detach()
    assert (here.attach(volume, 3) / "log").read_bytes() == lines + b"the next owner was here\n"
    here.detach()
    if durability == "store":
        assert late <= 1, f"{late} lines were confirmed by a machine that had lost the volume"
    print(f"{durability}: {confirmed} confirmed, {taken} taken over, {late} after that; {error}")
