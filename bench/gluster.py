"""What kedge costs on GlusterFS: fio and sysbench beside a mount made by hand.

A pool of three nodes (replica 3) on this machine; five places in turns: `mount -t glusterfs` by
hand, a kedge volume of layout `directory`, an ext4 image on the mount by hand through a loop device
(with direct I/O, as kedge makes it; and another one whose file is opened with O_DIRECT, too), a
kedge volume of layout `image`; in every other round they take their turns backwards, and nobody
begins before the bricks have written what another left them.
Before that the seconds of a mount, of a move from one node's service to another's, and of a
takeover from a node that died.
Run as root: python -m bench.gluster [--out FILE] [--rounds N] [--sysbench ROUNDS] ...
"""

import argparse
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path

from backends.testing.occupying import mounted_elsewhere
from bench import machine, report
from bench.data_path import JOBS, fio, loop_by_hand
from bench.mariadb import transactions_per_second
from bench.service import Service, running
from tests.gluster.conftest import clean
from tests.lab.flushing import flush
from tests.lab.gluster import Pool

SIZE = "3G"
LOOPS = {"loop by hand": "later", "loop by hand, O_DIRECT": "on"}
"""The second opens its file with O_DIRECT, as `losetup --direct-io=on FILE` does: Gluster hands
that on to the bricks, which then pass by the memory of their servers."""
PAIRS = {
    "kedge directory": "mount by hand",
    "kedge image": "loop by hand",
    "loop by hand, O_DIRECT": "loop by hand",
}
READING = ["--filename=to-read", *JOBS["4k random read O_DIRECT IOPS"]]
Found = dict[str, dict[str, list[float]]]
_PROFILE = """
[profiles.pool]
backend = "gluster"
servers = "{servers}"
volume = "r3"
"""


@contextmanager
def places(home: Path, pool: Pool) -> Iterator[dict[str, Path]]:
    """The directories to compare."""
    plain = home / "by-hand"
    plain.mkdir(parents=True)
    server = pool.addresses[0]
    subprocess.run(["mount", "-t", "glusterfs", f"{server}:/r3", str(plain)], check=True)
    try:
        with ExitStack() as stack:
            loops = {
                label: stack.enter_context(
                    loop_by_hand(plain / f"{direct}.img", direct, home / f"loop-{direct}")
                )
                for label, direct in LOOPS.items()
            }
            settings = _PROFILE.format(servers=",".join(pool.addresses))
            ours = stack.enter_context(running(home / "kedge", settings))
            volumes = _volumes(ours)
            with ExitStack() as containers:  # what nobody has mounted is taken off one day
                for name, place in volumes.items():
                    seen = home / f"container-of-{name}"
                    seen.mkdir()
                    containers.enter_context(mounted_elsewhere(place, seen))
                yield {
                    "mount by hand": plain,
                    "kedge directory": volumes["directory"],
                    **loops,
                    "kedge image": volumes["image"],
                }
            for name in ("directory", "image"):
                ours.unmount(name)
                ours.call("VolumeDriver.Remove", Name=name)
    finally:
        clean(home)


def _volumes(service: Service) -> dict[str, Path]:
    service.call("VolumeDriver.Create", Name="directory", Opts=None)
    service.call("VolumeDriver.Create", Name="image", Opts={"size": SIZE})
    return {name: service.mount(name) for name in ("directory", "image")}


def moving(home: Path, pool: Pool, rounds: int) -> dict[str, list[float]]:
    """In seconds: Mount, Unmount and Mount elsewhere, Mount of what a dead node had (once; its
    lease of 6 s is part of that)."""
    took: dict[str, list[float]] = {"mount": [], "move": [], "take over": []}

    def timed(what: str, act: Callable[[], object]) -> None:
        begun = time.monotonic()
        act()
        took[what].append(time.monotonic() - begun)

    settings = _PROFILE.format(servers=",".join(pool.addresses))
    with running(home / "a", f'node = "a"\n{settings}') as a:
        a.call("VolumeDriver.Create", Name="v", Opts={"size": "64M"})
        with running(home / "b", f'node = "b"\n{settings}') as b:

            def move() -> None:
                a.unmount("v")
                b.mount("v")

            for _ in range(rounds):
                timed("mount", lambda: a.mount("v"))
                timed("move", move)
                b.unmount("v")
            a.mount("v")
            a.process.send_signal(signal.SIGKILL)  # its worker follows it
            timed("take over", lambda: b.mount("v"))
            b.unmount("v")
            b.call("VolumeDriver.Remove", Name="v")
    return took


def data_path(
    found: Found, pool: Pool, where: dict[str, Path], rounds: int, seconds: int, sysbench: int
) -> Iterator[int]:
    """Add job -> place -> what each round gave to `found`; yields after each round its number.
    What is read was written before the first."""
    for place in where.values():
        fio(place, READING, 1)
    for number in range(1, rounds + 1):
        places = list(where.items())[:: 1 if number % 2 else -1]
        for name, options in JOBS.items():
            asked = READING if "--rw=randread" in options else options
            for label, place in places:
                flush(*where.values(), pool.root)
                _add(found, name, label, fio(place, asked, seconds))
        for label, place in places if number <= sysbench else ():
            flush(*where.values(), pool.root)
            value = transactions_per_second(place, 2 * seconds)
            _add(found, "sysbench oltp_write_only tps", label, value)
        yield number


def _add(found: Found, job: str, place: str, value: float) -> None:
    found.setdefault(job, {}).setdefault(place, []).append(value)


def measure(rounds: int, seconds: int, sysbench: int) -> Iterator[tuple[int, Found]]:
    """After each round, its number and all that was found until then."""
    home = Path(tempfile.mkdtemp(prefix="kedge-bench-"))
    with closing(Pool()) as pool:
        try:
            pool.volume("r3")
            found: Found = {"seconds": moving(home / "moving", pool, rounds)}
            with places(home, pool) as where:
                for number in data_path(found, pool, where, rounds, seconds, sysbench):
                    yield number, found
        finally:
            clean(home)
    shutil.rmtree(home, ignore_errors=True)


def main() -> None:
    """Print a table with ratios to what was made by hand; with --out also keep it, and a plot."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path)
    parser.add_argument("--rounds", type=int, default=6)
    parser.add_argument("--seconds", type=int, default=2)
    parser.add_argument("--sysbench", type=int, default=2, help="rounds; 0: none")
    asked = parser.parse_args()
    where = machine.described()
    head = ", ".join(f"{key} {value}" for key, value in where.items())
    for number, found in measure(asked.rounds, asked.seconds, asked.sysbench):
        text = f"{head}\n{number} rounds of {asked.seconds} s\n\n{report.beside(found, PAIRS)}\n"
        print(text, flush=True)
        if asked.out:
            report.keep(asked.out, "bench.gluster", text, {"machine": where, "found": found})
            report.plot_beside(asked.out, found, PAIRS)


if __name__ == "__main__":
    main()
