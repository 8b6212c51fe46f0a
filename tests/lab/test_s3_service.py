"""A real service with a profile of s3, and the operator's command line: what `kedge` does with a
volume in a bucket while it is mounted, and afterwards."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from backends.host import mountinfo, mounts
from backends.stores.s3 import connect
from tests.lab.flushing import flush
from tests.lab.object_store import Moto, ObjectStore
from tests.lab.s3_nodes import BUCKET
from tests.lab.started import started
from tests.wire.service import ROOT, Service, until

pytestmark = pytest.mark.lab

OPTIONS = {"size": "64M", "log": "128M", "cache": "16M", "compress": "zstd", "encrypt": "old"}


@pytest.fixture(scope="module")
def server() -> Iterator[ObjectStore]:
    with started(Moto()) as made:
        made.bucket(BUCKET)
        yield made


@pytest.fixture
def keys(tmp_path: Path) -> Path:
    place = tmp_path / "keys"
    place.mkdir(0o700)
    for name in ("old", "new"):
        (place / name).write_bytes(os.urandom(32))
    return place


@pytest.fixture
def service(server: ObjectStore, tmp_path: Path, keys: Path) -> Iterator[Service]:
    home = tmp_path / "home"
    settings = (
        f'default_backend = "s3"\n[profiles.s3]\nbackend = "s3"\nbucket = "{BUCKET}"\n'
        f'prefix = "{tmp_path.name}"\nendpoint = "{server.endpoint.url}"\n'
        f'region = "{server.endpoint.region}"\npath_style = true\nkeys = "{keys}"\n'
        f'credentials = "{server.credentials(tmp_path / "credentials")}"\n'
        '[profiles.local]\nbackend = "local"\n'
    )
    made = Service(home, settings).start()
    try:
        yield made
        for mount in list(mountinfo.read()):
            if mount.point.startswith(f"{home}/mounts/"):
                made.ok("Unmount", Name=mount.point.rpartition("/")[2], ID="id")
    finally:
        made.stop()
        for mount in reversed(mountinfo.read()):
            if mount.point.startswith(f"{home}/"):
                mounts.unmount(Path(mount.point), lazily=True)


def kedge(service: Service, *arguments: str, code: int = 0) -> str:
    """What the command writes."""
    command = [sys.executable, "-m", "driver", "--socket", str(service.admin), *arguments]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, timeout=120, check=False)
    assert done.returncode == code, done
    return (done.stdout or done.stderr).decode()


def shown(service: Service, *arguments: str) -> Any:
    return json.loads(kedge(service, *arguments, "--json"))


def mounted(service: Service, name: str) -> Path:
    """Where its files are."""
    return Path(service.ok("Mount", Name=name, ID="id")["Mountpoint"])


def test_checked_and_carried_away_through_the_service(
    service: Service, server: ObjectStore, tmp_path: Path
) -> None:
    """`fsck` while it is mounted and written; `export` of a snapshot meanwhile, and of the volume
    when nobody has it any more."""
    service.ok("Create", Name="db", Opts=OPTIONS)
    text = os.urandom(3 << 20)
    (mounted(service, "db") / "f").write_bytes(text)
    assert "db@one is taken" in kedge(service, "snapshot", "create", "db", "one")
    (mounted(service, "db") / "g").write_bytes(text)
    assert shown(service, "fsck", "db")[-1]["level"] == "ok"
    refused = tmp_path / "refused"
    said = kedge(service, "export", "db", "-o", str(refused), code=1)
    assert "attached on this node" in said
    assert not refused.exists()
    names = []
    for which in ("db@one", "db"):
        image = tmp_path / f"{which}.img"
        if which == "db":
            for _ in range(2):
                service.ok("Unmount", Name="db", ID="id")
            until(lambda: shown(service, "inspect", "db")["status"]["state"] == "detached")
        done = shown(service, "export", which, "-o", str(image))
        assert (done["form"], done["size"]) == ("disk", 64 << 20)
        subprocess.run(["e2fsck", "-fn", image], check=True, capture_output=True)
        listed = ["debugfs", "-R", "ls -p /data", str(image)]
        found = subprocess.run(listed, check=True, capture_output=True, text=True).stdout
        names.append({name for name in ("f", "g") if f"/{name}/" in found})
    assert names == [{"f"}, {"f", "g"}]
    assert shown(service, "fsck", "db")[-1]["level"] == "ok"
    assert shown(service, "orphans", "db") == []
    what_is_left(service, server, tmp_path)
    service.ok("Remove", Name="db")


def what_is_left(service: Service, server: ObjectStore, home: Path) -> None:
    """Of a whole volume: all; without one of its objects: zeros, and which ones are said."""
    kedge(service, "export", "--damaged", "db", "-o", str(home / "left.img"))
    whole = (home / "db.img").read_bytes()
    assert (home / "left.img").read_bytes() == whole
    client = connect(server.endpoint)
    listed = client.list_objects_v2(Bucket=BUCKET, Prefix=f"{home.name}/disks/")["Contents"]
    sizes = {one["Key"]: one["Size"] for one in listed if "/data/" in one["Key"]}
    client.delete_object(Bucket=BUCKET, Key=max(sizes, key=lambda key: sizes[key]))
    refused = home / "refused.img"
    kedge(service, "export", "db", "-o", str(refused), code=1)
    assert not refused.exists()
    command = [sys.executable, "-m", "driver", "--socket", str(service.admin)]
    command += ["export", "--damaged", "db", "-o", str(home / "less.img")]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, timeout=120, check=False)
    assert done.returncode == 4, done
    ranges = re.findall(r"NOT IN IT: bytes (\d+) to (\d+) could", done.stderr.decode())
    assert ranges, done
    expected = bytearray(whole)
    for first, last in ranges:
        expected[int(first) : int(last) + 1] = bytes(int(last) + 1 - int(first))
    assert (home / "less.img").read_bytes() == expected != whole


def test_another_key_is_put_in_the_place_of_the_old_one(service: Service, keys: Path) -> None:
    """While the volume is mounted: it goes on, its next server reads the new key, and the old one
    is needed by nobody any more."""
    service.ok("Create", Name="db", Opts=OPTIONS)
    place = mounted(service, "db")
    (place / "f").write_text("before")
    assert "there is no key none" in kedge(service, "rewrap", "db", "none", code=1)
    assert shown(service, "rewrap", "db", "new") == {"name": "db", "encrypt": "new"}
    (keys / "old").unlink()
    (place / "g").write_text("after")
    flush(place)
    assert shown(service, "inspect", "db")["status"]["encrypt"] == "new"
    assert "opened by the key new" in kedge(service, "rewrap", "db", "new")
    service.ok("Unmount", Name="db", ID="id")
    until(lambda: shown(service, "inspect", "db")["status"]["state"] == "detached")
    again = mounted(service, "db")
    assert ((again / "f").read_text(), (again / "g").read_text()) == ("before", "after")
    service.ok("Unmount", Name="db", ID="id")
    until(lambda: shown(service, "inspect", "db")["status"]["state"] == "detached")
    right = (keys / "new").read_bytes()
    (keys / "new").write_bytes(os.urandom(32))
    assert "another one" in service.call("Mount", Name="db", ID="id").error
    (keys / "new").write_bytes(right)
    service.ok("Remove", Name="db")


def test_only_what_is_encrypted_has_a_key_to_change(service: Service) -> None:
    service.ok("Create", Name="plain", Opts={"size": "64M", "log": "128M"})
    assert "is not encrypted" in kedge(service, "rewrap", "plain", "new", code=1)
    service.ok("Remove", Name="plain")
