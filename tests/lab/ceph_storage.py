"""A Swarm's volumes on a Ceph cluster of this machine, reached by each member's own cable."""

from __future__ import annotations

import shutil

from backends.ceph.options import Layout
from tests.lab.ceph import CAPABILITIES, Ceph
from tests.lab.node import ManagedNode
from tests.lab.storage import Storage


class CephStorage(Storage):
    """`layout`: of every volume."""

    plugin_backends = "ceph"

    def __init__(self, layout: Layout) -> None:
        self.options = (f"layout={layout.value}", "size=1G")
        self.cluster = Ceph()

    def start(self, address: str) -> None:
        self.cluster.start(address)
        self._keyring = self.cluster.key("kedge", **CAPABILITIES)

    def settings(self, member: str) -> str:
        return (
            'default_backend = "ceph"\n[profiles.ceph]\nbackend = "ceph"\n'
            'keyring = "/host/kedge/ceph.keyring"\n'
            f'monitors = "{self.cluster.mon_host}"\nfs = "{self.cluster.fs}"\n'
        )

    def equip(self, node: ManagedNode) -> None:
        shutil.copy(self._keyring, node.data / "ceph.keyring")

    def close(self) -> None:
        self.cluster.close()
