"""`python -m tests.soak [WORD...]`: what grows with time, one step after the other, for a night.

A step that fails does not end the night. In the end each is named with its verdict, and the exit
status is 1 if one failed. Words choose the steps whose names begin with one of them: `s3`,
`s3-kills gluster`. What a step is told by its environment can be told otherwise from outside:
`KEDGE_KILLS=400 python -m tests.soak s3-kills`.
"""

from __future__ import annotations

import os
import random
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from tests.tries import say


@dataclass(frozen=True)
class Step:
    """`python -m module paths arguments`, with these settings in its environment."""

    name: str
    paths: tuple[str, ...] = ()
    settings: Mapping[str, str] = field(default_factory=dict)
    arguments: tuple[str, ...] = ("-s",)
    module: str = "pytest"

    @property
    def command(self) -> list[str]:
        """What is run."""
        return [sys.executable, "-m", self.module, *self.arguments, *self.paths]


def _on(area: str, *names: str) -> tuple[str, ...]:
    return tuple(f"tests/{area}/{name}.py" for name in names)


_HOUR = ("-s", "--timeout", "3600")
_KILLS = {"KEDGE_KILLS": "40", "KEDGE_KILL_SIZE": "700M"}
_BOTH = {"KEDGE_DATABASES": "both"}

STEPS: tuple[Step, ...] = (
    Step("local-kills", _on("lab", "test_datapath_kills"), _KILLS, _HOUR),
    Step(
        "s3-kills",
        _on("lab", "test_datapath_s3"),
        {**_KILLS, "KEDGE_KILL_DISK": "1G"},
        _HOUR,
    ),
    Step("s3-swarm", _on("swarm", "moves_on_s3")),
    Step(
        "s3-databases",
        _on("lab", "soak_s3_databases"),
        {**_BOTH, "KEDGE_OUTAGE": "240"},
        ("-s", "--timeout", "900"),
    ),
    Step("s3-damage", _on("lab", "soak_s3_damage"), _BOTH, ("-s", "--timeout", "900")),
    Step("s3-takeovers", _on("lab", "soak_s3_takeovers"), {"KEDGE_TAKEOVERS": "150"}),
    Step("s3-machine", _on("lab", "soak_s3_machine"), arguments=_HOUR),
    Step("s3-snapshots", _on("lab", "soak_s3_snapshots"), arguments=_HOUR),
    Step(
        "s3-cuts",
        _on("lab", "test_s3_cuts"),
        {"KEDGE_CUTS": "300", "KEDGE_CUTS_FS": "ext4,xfs", "KEDGE_CUTS_ROUNDS": "6"},
        _HOUR,
    ),
    Step("s3-cuts-databases", _on("lab", "soak_s3_cuts"), {"KEDGE_CUTS": "40"}),
    Step("s3-plugin", _on("engine", "soak_s3")),
    Step(
        "s3-outage",
        _on("lab", "soak_s3_outage"),
        {"KEDGE_OUTAGE": "3600"},
        ("-rP", "-n", "2"),
    ),
    Step("s3-contract-moto", _on("contract", "soak_s3"), arguments=("-k", "Moto", *_HOUR)),
    Step(
        "s3-contract-radosgw",
        _on("contract", "soak_s3"),
        {"KEDGE_STRIDE": "9"},
        ("-k", "RadosGateway", *_HOUR),
    ),
    Step("local-plugin", _on("engine", "soak_containers", "soak_backends")),
    Step("ceph-swarm", _on("swarm", "moves_on_ceph")),
    Step("ceph-away", _on("ceph", "soak_away")),
    Step("ceph-plugin", _on("ceph/engine", "soak_containers", "soak_away")),
    Step("gluster-swarm", _on("swarm", "moves_on_gluster")),
    Step(
        "gluster-faults",
        _on("gluster", "soak_healing", "soak_silence", "soak_promises", "soak_leases"),
    ),
    Step("gluster-databases", _on("gluster", "soak_databases", "soak_snapshots")),
    Step("gluster-plugin", _on("gluster", "soak_engine")),
    Step("model", module="docs.model.disk", arguments=()),
    Step(
        "sim",
        ("tests/sim/disk",),
        {"KEDGE_SIM_SEEDS": "20000", "KEDGE_SIM_FIRST": str(random.randrange(1 << 15))},
        ("-n", "2", "-m", "sim", "--timeout", "7200"),
    ),
)
"""In the order in which they are run: the long ones last."""


def chosen(words: Sequence[str]) -> list[Step]:
    """The steps whose names begin with one of the words; all, if there is none. ValueError when a
    word chooses nothing."""
    for word in words:
        if not any(step.name.startswith(word) for step in STEPS):
            names = ", ".join(step.name for step in STEPS)
            raise ValueError(f"no step begins with {word}; there are {names}")
    return [step for step in STEPS if step.name.startswith(tuple(words) or "")]


def run(step: Step) -> bool:
    """Whether all of it passed. No test at all is a failure."""
    environment = {**step.settings, **os.environ}
    return subprocess.run(step.command, env=environment, check=False).returncode == 0


def night(steps: Iterable[Step], runs: Callable[[Step], bool] = run) -> int:
    """Every step, then what became of each; 0 if all passed, 1 if not. An interrupt ends it."""
    verdicts = []
    for step in steps:
        say(f"{step.name}: {' '.join(f'{k}={v}' for k, v in step.settings.items())}", step.paths)
        began, verdict = time.monotonic(), "interrupted"
        try:
            verdict = "passed" if runs(step) else "FAILED"
        except KeyboardInterrupt:
            break
        finally:
            minutes, load = (time.monotonic() - began) / 60, os.getloadavg()[0]
            verdicts.append((verdict, f"{minutes:6.1f} min, load {load:4.1f}  {step.name}"))
    say("what became of it", [f"{verdict:12}{rest}" for verdict, rest in verdicts])
    return 0 if all(verdict == "passed" for verdict, _ in verdicts) else 1


if __name__ == "__main__":
    try:
        sys.exit(night(chosen(sys.argv[1:])))
    except ValueError as error:
        sys.exit(str(error))
