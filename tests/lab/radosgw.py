"""A real radosgw on a small Ceph of its own: a store whose conditional writes are atomic and whose
dialect is not quite S3's (it compares ETags without their quotes, and answers 500 to some losers of
a race), which is why it is here."""

from __future__ import annotations

import subprocess
from pathlib import Path

from backends.stores.s3 import Endpoint
from tests.lab.ceph import SECONDS, Ceph
from tests.lab.object_store import KEY, SECRET, ObjectStore, await_port, free_port


class RadosGateway(ObjectStore):
    """Ready in 10 to 20 seconds."""

    def __init__(self) -> None:
        self._ceph = Ceph()
        self._gateway: subprocess.Popen[bytes] | None = None

    @property
    def _log(self) -> Path:
        return self._ceph.root / "log/rgw.out"

    @property
    def access_log(self) -> Path:
        return self._ceph.root / "log/client.rgw.a.log"

    @property
    def mark(self) -> str:
        return str(self._ceph.root)

    def start(self, address: str = "127.0.0.1") -> None:
        self._ceph.start()
        keyring = self._ceph.key("rgw.a", mon="allow rw", osd="allow rwx", mgr="allow rw")
        port = free_port(address)
        common = ["-c", str(self._ceph.conf), "-n", "client.rgw.a", "--keyring", str(keyring)]
        frontends = f"beast endpoint={address}:{port} tcp_nodelay=1"
        argv = ["radosgw", *common, "-f", "--rgw_frontends", frontends]
        with self._log.open("wb") as log:
            self._gateway = subprocess.Popen(
                ["setpriv", "--pdeathsig", "KILL", *argv],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        await_port(address, port, self._alive)
        self._make_user(common)
        self.endpoint = Endpoint(
            url=f"http://{address}:{port}",
            region="default",
            access_key=KEY,
            secret_key=SECRET,
            path_style=True,
        )

    def _make_user(self, common: list[str]) -> None:
        user = ["user", "create", "--uid=kedge", "--display-name=kedge"]
        keys = [f"--access-key={KEY}", f"--secret={SECRET}"]
        done = subprocess.run(
            ["radosgw-admin", *common, *user, *keys],
            capture_output=True,
            text=True,
            timeout=SECONDS,
            check=False,
        )
        assert done.returncode == 0, done.stderr

    def _alive(self) -> None:
        assert self._gateway is not None
        assert self._gateway.poll() is None, self._log.read_text(errors="replace")[-2000:]

    def close(self) -> None:
        if self._gateway is not None:
            self._gateway.kill()
            self._gateway.wait(SECONDS)
            self._gateway = None
        if self._ceph.root.exists():
            self._ceph.close()
