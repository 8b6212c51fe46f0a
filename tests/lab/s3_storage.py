"""A Swarm's volumes in a bucket, on a server that each member reaches by its own cable."""

from __future__ import annotations

from tests.lab.node import ManagedNode
from tests.lab.object_store import Moto
from tests.lab.s3_nodes import BUCKET
from tests.lab.storage import Storage

RPO = 1.0
LATE = 6.0
"""Seconds beyond `rpo` that a machine of two cores, which is also the store and three engines, may
need to send."""


class S3Storage(Storage):
    """`durability`: of every volume."""

    plugin_backends = "s3"

    def __init__(self, durability: str = "local") -> None:
        self.options = (
            *("size=1G", "log=256M", "cache=128M"),
            *(f"rpo={RPO:g}", f"durability={durability}"),
        )
        self.rpo = RPO + LATE if durability == "local" else 0.0
        self.server = Moto()

    def start(self, address: str) -> None:
        self.server.start(address)
        self.server.bucket(BUCKET)

    def settings(self, member: str) -> str:
        return (
            'default_backend = "s3"\n[profiles.s3]\nbackend = "s3"\n'
            f'bucket = "{BUCKET}"\nendpoint = "{self.server.endpoint.url}"\n'
            f'region = "{self.server.endpoint.region}"\npath_style = true\n'
            'credentials = "/host/kedge/s3-credentials"\n'
        )

    def equip(self, node: ManagedNode) -> None:
        self.server.credentials(node.data / "s3-credentials")

    def close(self) -> None:
        self.server.close()
