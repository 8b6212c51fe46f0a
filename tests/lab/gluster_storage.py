"""A GlusterFS pool under a Swarm: three servers beside the nodes, reached over their network."""

from __future__ import annotations

import json

from tests.lab.gluster import Pool
from tests.lab.namespace import run
from tests.lab.storage import Storage

VOLUME = "r3"


class GlusterStorage(Storage):
    """Three servers with addresses of their own on the Swarm's bridge; replica 3. `layout` of the
    volumes that the lab makes."""

    plugin_backends = "gluster"
    fencing = "node"

    def __init__(self, layout: str = "directory") -> None:
        self.options = ("size=1G",) if layout == "image" else ()
        self.pool: Pool | None = None
        self._addresses: list[str] = []
        self._link = ""

    def start(self, address: str) -> None:
        net, _, _ = address.rpartition(".")
        self._link = _link_with(address)
        self._addresses = [f"{net}.{host}" for host in (201, 202, 203)]
        for each in self._addresses:
            run(["ip", "addr", "add", f"{each}/24", "dev", self._link])
        self.pool = Pool(self._addresses)
        self.pool.volume(
            VOLUME,
            network__ping_timeout="5",
            cluster__heal_timeout="5",
            server__tcp_user_timeout="5",
            server__keepalive_time="5",
        )

    def settings(self, member: str) -> str:
        servers = ",".join(self._addresses)
        return (
            f'[profiles.pool]\nbackend = "gluster"\nservers = "{servers}"\nvolume = "{VOLUME}"\n'
            "for_databases = true\n"
        )

    def close(self) -> None:
        """The addresses go with the bridge."""
        if self.pool is not None:
            self.pool.close()
            self.pool = None


def _link_with(address: str) -> str:
    """The network device that has an address."""
    shown = json.loads(run(["ip", "-j", "addr", "show", "to", address]))
    return next(str(link["ifname"]) for link in shown if link.get("ifname"))
