"""What the pool says of a Gluster volume. `gluster --remote-host` may read, but not change."""

import re
from collections.abc import Mapping
from dataclasses import dataclass

from backends.errors import HostError, NotFound, Unavailable
from backends.gluster.options import Servers
from backends.host import programs


@dataclass(frozen=True)
class Facts:
    """A Gluster volume as the pool describes it. `options`: those that were set."""

    type: str
    started: bool
    bricks: str
    """As Gluster counts them: `1 x 3 = 3`, `2 x (2 + 1) = 6`."""
    options: Mapping[str, str]

    def is_on(self, option: str) -> bool:
        """Whether a yes-or-no option was switched on."""
        return self.options.get(option, "off") in ("on", "yes", "true", "enable", "1")


def ask(servers: Servers, volume: str, seconds: float) -> Facts:
    """Ask one server after the other. NotFound when the pool has no such volume, Unavailable when
    none answers."""
    said = []
    for server in servers:
        command = ["gluster", "--mode=script", f"--remote-host={server}", "volume", "info", volume]
        try:
            return read(programs.run(command, seconds=seconds / len(servers)).stdout)
        except HostError as error:
            if "not installed" in error.message:
                raise
            if "does not exist" in error.message:
                raise NotFound(f"the pool has no Gluster volume {volume!r}") from error
            said.append(f"{server}: {error.message}")
    raise Unavailable("no server of the pool answers: " + "; ".join(said))


def read(text: str) -> Facts:
    """Facts from the output of `gluster volume info`."""
    head, _, tail = text.partition("Options Reconfigured:")
    fields = dict(re.findall(r"^([A-Z][A-Za-z ]+): (.*)$", head, re.M))
    return Facts(
        type=fields.get("Type", ""),
        started=fields.get("Status", "") == "Started",
        bricks=fields.get("Number of Bricks", ""),
        options=dict(re.findall(r"^([a-z0-9.-]+): (.*)$", tail, re.M)),
    )
