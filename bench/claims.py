"""What claims cost the store: requests per second of 3 to 50 nodes, 10 to 1,000 volumes mounted.

The driver as it is, on simulated nodes in one process and in simulated time, so the figures depend
on no machine: every request to the store is counted for a minute in which nothing happens but what
always does. A listing counts once for every thousand records, as an object store answers it. The
named alternative is arithmetic: one lease per volume, each renewed as often as a node's is here.

    python -m bench.claims [--nodes 3,10,50] [--volumes 10,100,1000] [--out PLACE]
"""

import argparse
import logging
import shutil
import tempfile
from collections import Counter
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from backends.leases import Terms
from backends.memory.world import World
from bench import report
from driver.keeper import Pace
from tests.simulated import Node

SECONDS = 60
CLAIMING = ("claims", "nodes")
"""What is counted; a backend's own records of its volumes are not."""
PAGE = 1000
"""Records in one answer to a listing."""


@dataclass(frozen=True)
class Row:
    """Requests per second of all nodes together, in the minute; and what one move costs."""

    nodes: int
    volumes: int
    reads: float
    writes: float
    lists: float
    total: float
    lease_per_volume: float
    """Writes per second of the alternative."""
    move: int
    """Requests from the Unmount here to the end of the Mount there."""


class Counted:
    """Counts what goes to a store."""

    def __init__(self, world: World) -> None:
        self.requests: Counter[str] = Counter()
        store: Any = world.stored
        for verb, kind in (("get", "reads"), ("put", "writes"), ("delete", "writes")):
            setattr(store, verb, self._one(kind, getattr(store, verb)))
        self._stamps = store.stamps
        store.stamps = self._listing

    def _one(self, kind: str, real: Callable[..., Any]) -> Callable[..., Any]:
        def ask(key: str, *args: Any, **kwargs: Any) -> Any:
            if key.partition("/")[0] in CLAIMING:
                self.requests[kind] += 1
            return real(key, *args, **kwargs)

        return ask

    def _listing(self, kind: str) -> dict[str, str]:
        found: dict[str, str] = self._stamps(kind)
        if kind in CLAIMING:
            self.requests["lists"] += max(1, -(-len(found) // PAGE))
        return found


def measure(nodes: int, volumes: int, home: Path) -> Row:
    """One row."""
    cluster = [Node(home / "n0", name="n0")]
    cluster += [
        Node(home / f"n{number}", name=f"n{number}", beside=cluster[0])
        for number in range(1, nodes)
    ]
    for number in range(volumes):
        node = cluster[number % nodes]
        node.volumes.create(f"v{number}", {})
        node.volumes.mount(f"v{number}", "id")
        node.run(f"v{number}")
    for _ in range(2):  # what is looked at once only
        cluster[0].clock.sleep(2)
        for node in cluster:
            node.round()
    counted = Counted(cluster[0].world)
    minute(cluster)
    per_second = {kind: counted.requests[kind] / SECONDS for kind in ("reads", "writes", "lists")}
    counted.requests.clear()
    move(cluster[0], cluster[1])
    return Row(
        nodes,
        volumes,
        **per_second,
        total=sum(per_second.values()),
        lease_per_volume=volumes / Terms().renew,
        move=counted.requests.total(),
    )


def minute(cluster: list[Node]) -> None:
    """Every thread of every node, as often as it looks."""
    clock, renew, pace = cluster[0].clock, Terms().renew / 2, Pace()
    due = {"renew": renew, "tend": pace.tend, "watch": pace.watch}
    begun = clock.seconds
    done = dict.fromkeys(due, begun)
    while clock.seconds - begun < SECONDS:
        clock.sleep(0.5)
        for what, every in due.items():
            if clock.seconds - done[what] >= every:
                done[what] = clock.seconds
                for node in cluster:
                    turn(node, what)


def turn(node: Node, what: str) -> None:
    """One round of one kind of thread."""
    rounds = {
        "renew": [guard.renew for guard in node.guards.values()],
        "tend": [tender.round for tender in node.tenders.values()],
        "watch": [watcher.round for watcher in node.watchers.values()],
    }
    for one_round in rounds[what]:
        one_round()


def move(here: Node, there: Node) -> None:
    """The first volume goes from one node to another, as planned."""
    here.kernel.occupants[here.uuid_of("v0")].clear()
    here.volumes.unmount("v0", "id")
    there.volumes.mount("v0", "id")


def table(rows: list[Row]) -> str:
    """For people."""
    names = list(asdict(rows[0]))
    lines = ["  ".join(f"{name.replace('_', ' '):>16}" for name in names)]
    for row in rows:
        lines.append("  ".join(f"{value:16.4g}" for value in asdict(row).values()))
    return "\n".join(lines)


def plot(rows: list[Row], out: Path) -> None:
    """Requests per second over volumes, a line for each number of nodes."""
    with report.plotted(out) as axes:
        for nodes in sorted({row.nodes for row in rows}):
            of = [row for row in rows if row.nodes == nodes]
            counts = [row.volumes for row in of]
            axes.plot(counts, [row.total for row in of], marker="o", label=f"{nodes} nodes, all")
            axes.plot(counts, [row.writes for row in of], ":", label=f"{nodes} nodes, writes")
        alone = {row.volumes: row.lease_per_volume for row in rows}
        axes.plot(list(alone), list(alone.values()), "k--", label="a lease per volume, writes")
        report.over_volumes(axes, "requests per second")


def main() -> None:
    """Print a table; with --out also write it, the figures as JSON, and a plot."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--nodes", default="3,10,50")
    parser.add_argument("--volumes", default="10,100,1000")
    parser.add_argument("--out", type=Path)
    asked = parser.parse_args()
    logging.disable()
    rows = []
    for nodes in map(int, asked.nodes.split(",")):
        for volumes in map(int, asked.volumes.split(",")):
            home = Path(tempfile.mkdtemp(prefix="kedge-bench-"))
            rows.append(measure(nodes, volumes, home))
            shutil.rmtree(home)
    text = f"Requests per second to the store, simulated\n\n{table(rows)}\n"
    print(text)
    if asked.out:
        figures = [asdict(row) for row in rows]
        report.keep(asked.out, "bench.claims", text, figures)
        plot(rows, asked.out)


if __name__ == "__main__":
    main()
