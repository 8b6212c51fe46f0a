"""What a person may write into a `gluster` profile, and what the doctor makes of a pool."""

from pathlib import Path

import pytest

from backends.base import Finding, Level
from backends.errors import InvalidOptions, NotSupported
from backends.gluster import databases, doctor, pool
from backends.gluster.client import Export
from backends.gluster.options import GlusterOptions, GlusterSettings, Servers
from backends.gluster.quota import Quota
from backends.host import tcp
from backends.options import parse, to_strings

GOOD = {"servers": "gfs1, 10.0.0.2", "volume": "r3"}
INFO = """
Volume Name: r3
Type: {type}
Volume ID: 2a6f0468-90e6-4209-b9f9-c19ae64c85c9
Status: {status}
Snapshot Count: 0
Number of Bricks: {bricks}
Transport-type: tcp
Bricks:
Brick1: 127.1.1.1:/bricks/r3
Options Reconfigured:
{options}
"""
IN_TIME = "network.ping-timeout: 10\nserver.tcp-user-timeout: 10\nserver.keepalive-time: 5\n"
SOUND = IN_TIME + "\n".join(f"{k}: {v}" for k, v in databases.WANTED.items())


def settings(**changed: str) -> GlusterSettings:
    return parse(GlusterSettings, GOOD | changed, subject="profile pool")


def findings(
    options: str = SOUND,
    *,
    kind: str = "Replicate",
    bricks: str = "1 x 3 = 3",
    status: str = "Started",
) -> list[Finding]:
    facts = pool.read(INFO.format(type=kind, status=status, bricks=bricks, options=options))
    return list(doctor.findings("r3", facts, "pool"))


def test_settings_are_read_and_shown() -> None:
    read = settings(mount_options="acl, attribute-timeout=5")
    assert read.servers == ("gfs1", "10.0.0.2")
    assert read.mount_options == ("acl", "attribute-timeout=5")
    assert parse(GlusterSettings, to_strings(read), subject="again") == read


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("servers", ""),
        ("servers", "gfs1,,gfs2"),
        ("servers", "-o"),
        ("servers", "gfs1 --log-file=/etc/passwd"),
        ("volume", "r3/../x"),
        ("volume", "--help"),
        ("subdirectory", "/"),
        ("subdirectory", "../x"),
        ("subdirectory", "a/../b"),
        ("mount_options", "client-pid=-5"),
        ("mount_options", "log-file=/etc/passwd"),
        ("mount_options", "log-level=a b"),
        ("patience", "60"),
    ],
)
def test_what_would_reach_a_command_line_is_checked(name: str, value: str) -> None:
    with pytest.raises(InvalidOptions, match=name):
        settings(**{name: value})


def test_a_directory_may_have_a_size() -> None:
    raw = {"layout": "directory", "size": "1G"}
    assert to_strings(parse(GlusterOptions, raw, subject="volume"))["size"] == "1G"


def test_a_size_without_quota_names_both_ways_out(tmp_path: Path) -> None:
    """And nothing is mounted for it: there is no pool here."""
    off = pool.read(INFO.format(type="Replicate", status="Started", bricks="3", options=""))
    export = Export(Servers("gfs1"), "r3")
    quota = Quota(export, "kedge/volumes", tmp_path / "quota", lambda: off, 1.0)
    with pytest.raises(NotSupported) as refused:
        quota.limit("0-1-2", 2**30)
    said = str(refused.value)
    assert "size=1G" in said
    assert "gluster volume quota r3 enable" in said
    assert "layout=image" in said


def test_a_sound_pool_has_one_good_finding() -> None:
    assert [found.level for found in findings()] == [Level.OK]


def test_a_pool_as_it_comes_names_every_option_and_the_command() -> None:
    text = " ".join(found.detail + found.advice for found in findings("nfs.disable: on"))
    assert "gluster volume set r3 network.ping-timeout 10" in text
    assert all(f"{key} {value}" in text for key, value in databases.WANTED.items())


def test_a_delay_that_can_lose_what_was_synced_is_an_error() -> None:
    late = SOUND.replace("post-op-delay-secs: 0", "post-op-delay-secs: 1")
    for options in (late, SOUND.replace("cluster.post-op-delay-secs: 0\n", "")):
        (found,) = (one for one in findings(options) if one.level is Level.ERROR)
        assert "may be lost" in found.detail
        assert "gluster volume set r3 cluster.post-op-delay-secs 0" in found.advice


def test_clients_that_see_to_it_themselves_are_not_warned_about() -> None:
    facts = pool.read(
        INFO.format(type="Replicate", status="Started", bricks="1 x 3 = 3", options="")
    )
    found = list(doctor.findings("r3", facts, "pool", for_databases=True))
    assert [one.level for one in found] == [Level.OK, Level.WARNING, Level.WARNING]
    assert "ping-timeout" in found[1].detail
    assert "for up to 62 s" in found[2].detail


@pytest.mark.parametrize(
    ("changed", "level", "word"),
    [
        ({"status": "Stopped"}, Level.ERROR, "not started"),
        ({"kind": "Distribute", "bricks": "3"}, Level.WARNING, "one copy"),
        ({"bricks": "1 x 2 = 2"}, Level.WARNING, "two copies"),
        ({"options": SOUND + "\ncluster.quorum-type: none"}, Level.ERROR, "quorum-type"),
        ({"options": SOUND + "\nfeatures.quota: on"}, Level.WARNING, "soft-timeout"),
        ({"options": SOUND + "\nserver.keepalive-time: 20"}, Level.WARNING, "for up to 30 s"),
        ({"options": SOUND + "\nserver.tcp-user-timeout: 0"}, Level.WARNING, "cable is pulled"),
    ],
)
def test_what_is_wrong_with_a_pool_is_said(
    changed: dict[str, str], level: Level, word: str
) -> None:
    arguments = dict(changed)
    bad = findings(arguments.pop("options", SOUND), **arguments)
    assert any(found.level is level and word in found.detail for found in bad)


def test_an_arbiter_counts_as_a_third_copy() -> None:
    assert len(findings(bricks="1 x (2 + 1) = 3")) == 1


def test_a_node_that_cannot_cut_for_certain_is_told_so(monkeypatch: pytest.MonkeyPatch) -> None:
    def refused() -> None:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(tcp, "try_out", refused)
    (found,) = doctor.fence("node a")
    assert found.level is Level.WARNING
    assert "Operation not permitted" in found.detail
    assert "CAP_NET_ADMIN" in found.advice
    monkeypatch.setattr(tcp, "try_out", lambda: None)
    assert not list(doctor.fence("node a"))
