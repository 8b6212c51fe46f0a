"""How long a service is away when it moves: from the event to the first line written elsewhere.

The same service of one replica on a Swarm of three engines, once on a kedge volume and once on the
named alternative, a bind mount of the same shared directory, which nothing protects: what that one
takes is Docker's and Swarm's own time. Planned: its node is drained. Lost: its node loses power;
kedge then waits for the node's lease (ttl 6 s), while Swarm gives a node up after 3 s here.

    python -m bench.moves [--rounds 20] [--out PLACE]        (root; about a quarter of an hour)
"""

import argparse
import shutil
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

from bench import report
from bench.machine import described
from tests.lab import images, rootfs
from tests.lab.node import ManagedNode
from tests.lab.storage import SharedDirectory
from tests.lab.swarm import Member, Swarm
from tests.swarm.rounds import percentile

PLACE = "/run/kedge-bench"
"""Where every member has the shared directory, for the bind mount."""
LOOP = "while :; do hostname >> /data/log; sleep 0.02; done"
SECONDS = 90.0


class Shared(SharedDirectory):
    """Also under the same path on every member."""

    def equip(self, node: ManagedNode) -> None:
        super().equip(node)
        node.engine.box.run(["mkdir", "-p", PLACE])
        node.engine.box.run(["mount", "--bind", str(self.root), PLACE])


@dataclass(frozen=True)
class Row:
    """Seconds without a writer."""

    storage: str
    event: str
    rounds: int
    p50: float
    p99: float


@contextmanager
def service(swarm: Swarm, storage: Shared, name: str, mount: str) -> Iterator[Path]:
    """The service at work; where its lines are."""
    swarm.manager.docker(
        *("service", "create", "--detach", "--no-resolve-image", "--network", "host"),
        *("--restart-delay", "0s", "--stop-grace-period", "1s", "--name", name),
        *("--hostname", "{{.Node.Hostname}}", "--mount", mount),
        *(images.SMALL, "sh", "-c", LOOP),
    )
    written: list[Path] = []

    def found() -> bool:
        written[:] = [path for path in storage.root.rglob("log") if path.stat().st_size > 20]
        return bool(written)

    swarm.wait(found, f"{name} writes")
    yield written[0]
    swarm.clear()
    for path in storage.root.rglob("log"):
        path.unlink()


def last(log: Path) -> str:
    """Who wrote last."""
    with log.open("rb") as file:
        file.seek(max(0, log.stat().st_size - 64))
        return file.read().split()[-1].decode()


def moved(swarm: Swarm, log: Path, event: str) -> float:
    """Let it happen to the node that writes; seconds until another one does."""
    first = last(log)
    member = next(one for one in swarm.members if one.name == first)
    begun = time.monotonic()
    undo = happen(swarm, member, event)
    while last(log) == first:
        if time.monotonic() - begun > SECONDS:
            raise TimeoutError(f"{event}: nobody writes after {SECONDS} s")
        time.sleep(0.01)
    seconds = time.monotonic() - begun
    undo()
    swarm.wait(swarm.workers_ready, "every node is there", seconds=SECONDS)
    return seconds


def happen(swarm: Swarm, member: Member, event: str) -> Callable[[], None]:
    """Returns what undoes it."""
    if event == "planned":
        swarm.drain(member)
        return lambda: swarm.activate(member)
    member.die()
    return member.revive


def measure(swarm: Swarm, storage: Shared, rounds: int) -> Iterator[Row]:
    """Both storages, both events."""
    (storage.root / "plain").mkdir()
    mounts = {
        "bind mount": f"type=bind,source={PLACE}/plain,target=/data",
        "kedge": "type=volume,source=moving,target=/data,volume-driver=kedge",
    }
    for name, mount in mounts.items():
        with service(swarm, storage, name.replace(" ", "-"), mount) as log:
            for event in ("planned", "node lost"):
                seconds = [moved(swarm, log, event) for _ in range(rounds)]
                yield Row(name, event, rounds, statistics.median(seconds), percentile(seconds, 99))


def table(rows: list[Row]) -> str:
    """For people."""
    lines = ["storage     event      rounds   p50 s   p99 s   p50 beside the bind mount"]
    beside = {row.event: row.p50 for row in rows if row.storage == "bind mount"}
    for row in rows:
        lines.append(
            f"{row.storage:11} {row.event:10} {row.rounds:6} {row.p50:7.2f} {row.p99:7.2f}   "
            f"{row.p50 - beside[row.event]:+.2f} s ({row.p50 / beside[row.event]:.2f} times)"
        )
    return "\n".join(lines)


def plot(rows: list[Row], out: Path) -> None:
    """A bar for each."""
    names = [f"{row.event}\n{row.storage}" for row in rows]
    with report.plotted(out, width=7, height=4) as axes:
        axes.bar(names, [row.p99 for row in rows], color="lightgrey", label="p99")
        axes.bar(names, [row.p50 for row in rows], width=0.5, label="p50")
        axes.set(ylabel="seconds until the first line elsewhere")


def main() -> None:
    """Print a table; with --out also write it, the figures as JSON, and a plot."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--out", type=Path)
    asked = parser.parse_args()
    machine = described()
    built = Path(tempfile.mkdtemp(prefix="kedge-bench-"))
    storage = Shared(Path(tempfile.mkdtemp(prefix="kedge-moves-", dir="/var/tmp")))
    swarm = Swarm(rootfs.build(built), storage)
    try:
        swarm.start()
        rows = list(measure(swarm, storage, asked.rounds))
    finally:
        swarm.close()
        shutil.rmtree(built)
    text = f"{machine}\n\n{table(rows)}\n"
    print(text)
    if asked.out:
        figures = {"machine": machine, "rows": [asdict(row) for row in rows]}
        report.keep(asked.out, "bench.moves", text, figures)
        plot(rows, asked.out)


if __name__ == "__main__":
    main()
