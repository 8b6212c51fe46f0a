"""What happens to a volume in a bucket besides work: its server dies, its node dies, it lags
behind, it costs requests and memory. Each function measures one of them, by name."""

import os
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path

from backends.host.daemons import Held
from bench import s3_cost
from bench.mariadb import transactions_per_second
from bench.s3_places import KedgePlace, Lab
from bench.s3_watch import Requests, Writer, await_spare, processor_seconds, sampled, spread
from bench.service import pss, running
from driver.keeper import QUIET
from tests.lab.s3_nodes import BUCKET, Node

Figures = dict[str, float]
MIB = 1 << 20


def crashes(place: KedgePlace, kills: int) -> dict[str, Figures]:
    """Pauses of a writer that syncs every write, while its server is killed (-9)."""
    node, found = place.node, {}
    for name, ready in (("a spare ready", True), ("no spare ready yet", False)):
        pauses = []
        with Writer(place.path / "paused") as writer:
            time.sleep(1)
            for _ in range(kills if ready else min(kills, 3)):
                await_spare(node)
                if not ready:
                    node.kill_server()  # which takes the spare
                began = time.monotonic()
                node.kill_server()
                time.sleep(1.1)
                pauses.append(writer.longest(began, time.monotonic()))
        if writer.failed:
            raise RuntimeError(f"the writer failed: {writer.failed}")
        found[f"server killed, {name}: pause, s"] = spread(pauses)
    return found


def takeovers(lab: Lab, rounds: int) -> dict[str, Figures]:
    """A node that writes is lost, and the volume attached on another: from there to the first
    synced write. What waits for a lease before (ttl 6 s by default) is not in it."""
    seconds, moves = [], []
    for number in range(rounds):
        one = lab.node(f"lost-{number}")
        two = lab.beside(one, f"next-{number}")
        try:
            volume = one.create(size="3G", log="1G", cache="1G")
            with Writer(one.attach(volume, 1) / "f"):
                time.sleep(2)
            one.lose(disk=True)
            seconds.append(_until_written(lambda: two.attach(volume, 2)))  # noqa: B023
            began = time.monotonic()
            two.detach()
            one.attach(volume, 3)
            moves.append(time.monotonic() - began)
            one.detach()
        finally:
            one.lose(disk=False)
            two.lose(disk=False)
    return {
        "node lost: to the first write on the next, s (without the lease)": spread(seconds),
        "moved: detached there and attached here, s": spread(moves),
    }


def _until_written(attach: Callable[[], Path]) -> float:
    began = time.monotonic()
    with (attach() / "first").open("wb") as file:
        file.write(b"x")
        file.flush()
        os.fsync(file.fileno())
    return time.monotonic() - began


def lags(place: KedgePlace, seconds: int) -> dict[str, Figures]:
    """Seconds that the oldest write was not in the store, under three loads."""
    loads: Mapping[str, Callable[[], object]] = {
        "sysbench": lambda: transactions_per_second(place.path, seconds),
        "64K random writes, 50 MB/s": lambda: _paced(place, seconds, "50M", "64k"),
        "4K random writes + fsync": lambda: _paced(place, seconds, "", "4k"),
    }
    found = {}
    for name, load in loads.items():
        place.settle()
        with sampled(lambda: float(place.node.lag()["seconds"])) as values:
            load()
        found[f"lag, {name}: s"] = spread(values)
    return found


def _paced(place: KedgePlace, seconds: int, rate: str, block: str) -> None:
    command = ["fio", "--name=paced", f"--directory={place.path}", "--size=512M", f"--bs={block}"]
    how = [f"--rate={rate}", "--ioengine=libaio", "--direct=1", "--iodepth=8"] if rate else []
    timed = ["--time_based", f"--runtime={seconds}", "--rw=randwrite"]
    subprocess.run(
        [*command, *timed, *(how or ["--fsync=1"])], check=True, stdout=subprocess.DEVNULL
    )
    (place.path / "paced.0.0").unlink()


def busy(lab: Lab, place: KedgePlace, seconds: int) -> dict[str, Figures]:
    """Requests an hour and processor time while sysbench works, and what that costs a month."""
    place.settle()
    requests = Requests(lab.store.access_log)
    marks = {"server": str(lab.home / place.node.name), "store": lab.store.mark}
    before = {name: processor_seconds(mark) for name, mark in marks.items()}
    shipped = place.node.lag()["shipped"]
    requests.begin()
    began = time.monotonic()
    transactions_per_second(place.path, seconds)
    place.settle()
    passed = time.monotonic() - began
    per_hour = {verb: 3600 * n / passed for verb, n in requests.counted().items()}
    by_kind = {name: 3600 * n / passed for name, n in requests.kinds().items()}
    sent = place.node.lag()["shipped"] - shipped
    used = {name: processor_seconds(mark) - before[name] for name, mark in marks.items()}
    return {
        "busy (sysbench): requests an hour": per_hour,
        "busy (sysbench): requests an hour by kind": by_kind,
        "busy: MiB/s sent to the store": {"mean": sent / passed / MIB},
        "busy: PUTs for a volume": puts(by_kind, sent / passed),
        "busy: processors used": {name: value / passed for name, value in used.items()},
        "busy: USD a month for requests": {"mean": s3_cost.requests_per_month(per_hour)},
        "USD a month for 20 GiB kept": {"mean": s3_cost.storage_per_month(20 * 2**30)},
    }


def puts(by_kind: Mapping[str, float], rate: float) -> Figures:
    """Of one busy volume, a second, beside what is aimed at: 1.1 commits a second, and one PUT for
    every 8 MiB written. `rate`: bytes a second."""
    second = {name.removeprefix("PUT "): n / 3600 for name, n in by_kind.items() if "PUT " in name}
    return {**second, "all": sum(second.values()), "aim": 1.1 + rate / (8 * MIB)}


def idle(lab: Lab, seconds: int) -> dict[str, Figures]:
    """Requests of a service with one mounted volume in which nothing happens: the node's lease,
    and the volume's own."""
    config = _config(lab)
    found = {}
    requests = Requests(lab.store.access_log)
    with running(lab.home / "idle", config) as service:
        service.call("VolumeDriver.Create", Name="idle", Opts={"size": "3G", "log": "128M"})
        for name in ("no volume mounted", "one volume mounted"):
            if name.startswith("one"):
                service.mount("idle")
            time.sleep(QUIET + 20)
            requests.begin()
            time.sleep(seconds)
            per_hour = {verb: 3600 * n / seconds for verb, n in requests.counted().items()}
            found[f"idle, {name}: requests an hour"] = per_hour
            by_kind = {kind: 3600 * n / seconds for kind, n in requests.kinds().items()}
            found[f"idle, {name}: requests an hour by kind"] = by_kind
            print(f"idle, {name}: {by_kind}", file=sys.stderr, flush=True)
            cost = s3_cost.requests_per_month(per_hour)
            found[f"idle, {name}: USD a month for requests"] = {"mean": cost}
        service.unmount("idle")
        service.call("VolumeDriver.Remove", Name="idle")
    return found


def _config(lab: Lab) -> str:
    endpoint, credentials = lab.store.endpoint, lab.store.credentials(lab.home / "credentials")
    return f"""
node = "idle"
default_backend = "s3"
[profiles.s3]
backend = "s3"
bucket = "{BUCKET}"
prefix = "idle"
endpoint = "{endpoint.url}"
region = "{endpoint.region}"
credentials = "{credentials}"
path_style = true
"""


def memory(lab: Lab, gib: int) -> dict[str, Figures]:
    """Of the processes of one volume: freshly mounted, after a little work, and after a write in
    each of `gib` GiB more. What a GiB takes is the difference of the last two: a server that has
    worked holds buffers and connections, however large its volume is."""
    node = lab.node("memory")
    try:
        place = node.attach(node.create(size=f"{gib + 12}G", log="1G", cache="1G"), 1)
        await_spare(node)
        fresh = _memory(node)
        worked = _touched(node, place / "little", 4)
        touched = _touched(node, place / "large", gib)
    finally:
        node.lose(disk=False)
    return {
        "memory of a volume just mounted, MiB": fresh,
        "memory after writes in 4 GiB, MiB": worked,
        f"memory after writes in {gib} GiB more, MiB": touched,
        "memory for a GiB touched, MiB": {"server": (touched["server"] - worked["server"]) / gib},
    }


def _touched(node: Node, file: Path, gib: int) -> Figures:
    touch(file, gib)
    while node.lag()["bytes"]:
        time.sleep(0.1)
    return _memory(node)


def touch(file: Path, gib: int) -> None:
    """Write 4 KiB in each GiB of a large file."""
    handle = os.open(file, os.O_RDWR | os.O_CREAT)
    try:
        os.posix_fallocate(handle, 0, gib << 30)
        for at in range(gib):
            os.pwrite(handle, os.urandom(4096), at << 30)
        os.fsync(handle)
    finally:
        os.close(handle)


def _memory(node: Node) -> Figures:
    held: Held | None = node.path.held()
    assert held is not None
    found = {"server": held.server, "spare": held.next, "holder": held.pid}
    return {name: pss(pid) / MIB for name, pid in found.items() if pid}
