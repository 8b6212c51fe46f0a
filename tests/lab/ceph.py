"""A real Ceph on this machine: one monitor, manager, OSD (bluestore) and MDS, under one directory
and on one address of the loopback network, so that any number of clusters can run side by side.

The daemons are children of the test session and die with it. Ready in five to ten seconds.
"""

from __future__ import annotations

import json
import os
import secrets
import shutil
import signal
import subprocess
import tempfile
import time
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

from backends.ceph import bindings
from backends.ceph.connection import ending
from tests.lab.ceph_conf import ADMIN_KEYS, CONF, DAEMON_KEYS

CAPABILITIES = {
    "mon": "profile rbd, allow r",
    "osd": "profile rbd pool=kedge",
    "mgr": "allow module volumes rw",
}
"""What kedge's client may do, as in docs/ceph.md; no test gives it more."""

SECONDS = 60.0
"""How long anything here may take before it counts as failed; much more than ever seen (16 s)."""


class Ceph:
    """`start` before use, `close` at the end. Between them daemons may be killed and started."""

    def __init__(self) -> None:
        self.root = Path(tempfile.mkdtemp(prefix="kedge-ceph-", dir="/var/tmp"))
        self.conf = self.root / "ceph.conf"
        self.pool = "kedge"
        self.fs = "a"
        self._daemons: dict[str, subprocess.Popen[bytes]] = {}
        self._admin: Any = None

    def start(self, address: str = "") -> None:
        """Make the cluster and wait until it is healthy. `address`: one of this machine's, for
        whom the loopback network is out of reach."""
        self.address = address or f"127.{secrets.randbelow(200) + 20}.{os.getpid() % 250}.1"
        self.mon_host = f"[v2:{self.address}:3300,v1:{self.address}:6789]"
        fsid = str(uuid.uuid4())
        for name in ("run", "log", "mon", "mgr", "mds", "osd.0", "tmp"):
            (self.root / name).mkdir()
        self.conf.write_text(
            CONF.format(root=self.root, fsid=fsid, address=self.address, mon_host=self.mon_host)
        )
        self._make_keys()
        self._make_monitor(fsid)
        self.spawn("mon.a")
        osd = str(uuid.uuid4())
        with (self.root / "log/mkfs").open("wb") as log:
            making = subprocess.Popen(
                ["ceph-osd", "-i", "0", "-c", self.conf, "--mkfs", "--osd-uuid", osd],
                stdout=log,
                stderr=log,
            )
        self.spawn("mgr.x")
        self._connect()
        assert making.wait(SECONDS) == 0, (self.root / "log/mkfs").read_text()
        self.mon("osd new", uuid=osd, id=0)
        self.spawn("osd.0")
        self.wait_for(lambda: self.mon("osd stat")["num_up_osds"] == 1, "the OSD is up")
        self._make_pools()
        self.spawn("mds.a")
        self.wait_for(self.mds_active, "the MDS is active")
        self.wait_for(lambda: self.mon("mgr stat")["available"], "the manager is available")
        self.wait_for(self._volumes_answer, "the manager's volumes module answers")
        self.wait_for(self.healthy, "HEALTH_OK")

    def _volumes_answer(self) -> bool:
        return self.command("mgr", "fs subvolumegroup ls", vol_name=self.fs)[0] == 0

    def healthy(self) -> bool:
        return bool(self.mon("health")["status"] == "HEALTH_OK")

    def mds_active(self) -> bool:
        ranks = self.mon("mds stat")["fsmap"]["filesystems"][0]["mdsmap"]["info"].values()
        return any(rank["state"] == "up:active" for rank in ranks)

    def command(self, where: str, prefix: str, **arguments: Any) -> tuple[int, bytes, str]:
        """A command as the administrator: code, output, what was said."""
        text = json.dumps({"prefix": prefix, "format": "json", **arguments})
        send = {"mon": self._admin.mon_command, "mgr": self._admin.mgr_command}[where]
        code, output, said = send(text, b"")
        return code, output, said

    def mon(self, prefix: str, **arguments: Any) -> Any:
        """A monitor's answer."""
        return self._answer("mon", prefix, **arguments)

    def mgr(self, prefix: str, **arguments: Any) -> Any:
        """A manager's answer."""
        return self._answer("mgr", prefix, **arguments)

    def _answer(self, where: str, prefix: str, **arguments: Any) -> Any:
        code, output, said = self.command(where, prefix, **arguments)
        assert code == 0, f"{prefix}: {code} {said}"
        text = output.decode().strip()
        if not text.startswith(("{", "[")):
            return text
        return json.JSONDecoder().raw_decode(text)[0]  # `blocklist ls` adds a second value

    def key(self, client: str, **capabilities: str) -> Path:
        """The keyring file of a client with exactly these capabilities."""
        caps = [word for pair in capabilities.items() for word in pair]
        self.mon("auth get-or-create", entity=f"client.{client}", caps=caps)
        found = self.mon("auth get", entity=f"client.{client}")[0]
        keyring = self.root / f"client.{client}.keyring"
        keyring.write_text(f"[client.{client}]\n\tkey = {found['key']}\n")
        keyring.chmod(0o600)
        return keyring

    def empty_pool(self) -> None:
        """Take every record away; images and subvolumes of earlier tests are in nobody's way."""
        with self.admin_pool() as pool:
            pool.set_namespace("kedge")
            for entry in list(pool.list_objects()):
                pool.remove_object(entry.key)

    def admin_pool(self) -> Any:
        """The pool, as the administrator; close it."""
        return self._admin.open_ioctx(self.pool)

    def spawn(self, name: str) -> None:
        """Start a daemon by its name (`osd.0`); it dies with this process."""
        kind, _, which = name.partition(".")
        log = (self.root / f"log/{name}.out").open("ab")
        argv = ["setpriv", "--pdeathsig", "KILL", f"ceph-{kind}", "-i", which, "-f", "-c"]
        self._daemons[name] = subprocess.Popen(
            [*argv, str(self.conf)],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
        log.close()

    def signal(self, name: str, number: signal.Signals) -> None:
        """Send a daemon a signal."""
        self._daemons[name].send_signal(number)

    def kill(self, name: str) -> None:
        """End a daemon as a power cut would."""
        self._daemons[name].kill()
        self._daemons[name].wait(SECONDS)

    def wait_for(self, true: Callable[[], bool], what: str, *, seconds: float = SECONDS) -> None:
        """Poll until `true()`; TimeoutError says what did not come about."""
        deadline = time.monotonic() + seconds
        while not true():
            if time.monotonic() > deadline:
                raise TimeoutError(f"not within {seconds} s: {what}")
            for name, daemon in self._daemons.items():
                if daemon.poll() is not None:
                    log = (self.root / f"log/{name}.out").read_text(errors="replace")
                    raise RuntimeError(f"{name} ended with {daemon.returncode}: {log[-2000:]}")
            time.sleep(0.05)

    def clients(self) -> list[int]:
        """Processes that use this cluster, other than its daemons."""
        own = {daemon.pid for daemon in self._daemons.values()}
        return [pid for pid in _processes(str(self.root)) if pid not in own]

    def close(self) -> None:
        """End everything. Processes first: a FUSE mount whose server waits for a dead cluster
        can be neither used nor unmounted. What tests that failed left mounted goes, too."""
        for pid in self.clients():
            os.kill(pid, signal.SIGKILL)
        self._admin = None  # it shuts itself down, while there is somebody to tell
        for daemon in self._daemons.values():
            daemon.kill()
        for daemon in self._daemons.values():
            daemon.wait(SECONDS)
        self._daemons.clear()
        for line in reversed(Path("/proc/self/mountinfo").read_text().splitlines()):
            if str(self.root) in (point := line.split()[4]):
                subprocess.run(["umount", "--lazy", point], check=False)
        shutil.rmtree(self.root)

    def _make_keys(self) -> None:
        for entity, place, *capabilities in (ADMIN_KEYS, *DAEMON_KEYS):
            caps = [word for kind in capabilities for word in ("--cap", *kind.split(" ", 1))]
            self._run("ceph-authtool", "-C", place, "--gen-key", "-n", entity, *caps)
        self._run(
            "ceph-authtool", "-C", "tmp/mon", "--gen-key", "-n", "mon.", "--cap", "mon", "allow *"
        )
        for _, place, *_ in (ADMIN_KEYS, *DAEMON_KEYS):
            self._run("ceph-authtool", "tmp/mon", "--import-keyring", place)

    def _make_monitor(self, fsid: str) -> None:
        self._run("monmaptool", "--create", "--fsid", fsid, "--addv", "a", self.mon_host, "monmap")
        conf, keys = str(self.conf), "tmp/mon"
        self._run(
            "ceph-mon", "--mkfs", "-i", "a", "-c", conf, "--monmap", "monmap", "--keyring", keys
        )

    def _run(self, *argv: str) -> None:
        done = subprocess.run(
            argv, cwd=self.root, capture_output=True, text=True, timeout=SECONDS, check=False
        )
        assert done.returncode == 0, f"{argv}: {done.stderr}"

    def _connect(self) -> None:
        """Nothing here hangs longer than a test may take."""
        limits = ("client_mount_timeout", "rados_mon_op_timeout", "rados_osd_op_timeout")
        self._admin = ending(bindings.rados().Rados)(
            conffile=str(self.conf),
            name="client.admin",
            conf=dict.fromkeys(limits, str(int(SECONDS))),
        )
        self._admin.connect()

    def _make_pools(self) -> None:
        for pool in (self.pool, "cephfs.meta", "cephfs.data"):
            self.mon("osd pool create", pool=pool, pg_num=4)
        self.mon("osd pool application enable", pool=self.pool, app="rbd")
        self.mon("fs new", fs_name=self.fs, metadata="cephfs.meta", data="cephfs.data")


def _processes(word: str) -> list[int]:
    """Living processes with `word` in their command line."""
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            line = (entry / "cmdline").read_bytes()
            state = (entry / "stat").read_bytes().rpartition(b") ")[2][:1]
        except OSError:
            continue
        if word.encode() in line and state != b"Z" and int(entry.name) != os.getpid():
            found.append(int(entry.name))
    return found
