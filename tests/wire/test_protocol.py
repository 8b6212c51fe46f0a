"""Docker's protocol as Docker speaks it, call by call, over the socket."""

import json
from datetime import datetime

import pytest

from tests.wire.service import Dropped, Service, encoded, framed

ID = "a" * 64
OTHER = "b" * 64
NAMED = ["Create", "Remove", "Mount", "Unmount", "Path", "Get"]


def test_activate_says_what_it_is(service: Service) -> None:
    assert service.raw("Plugin.Activate", b"").document == {"Implements": ["VolumeDriver"]}


def test_capabilities(service: Service) -> None:
    assert service.ok("Capabilities") == {"Capabilities": {"Scope": "global"}}


def test_the_whole_way(service: Service) -> None:
    service.ok("Create", Name="db", Opts={"mode": "0700"})
    service.ok("Create", Name="db", Opts=None)
    target = service.ok("Mount", Name="db", ID=ID)["Mountpoint"]
    assert target == str(service.home / "mounts" / "db")
    assert service.ok("Path", Name="db")["Mountpoint"] == target
    shown = service.ok("Get", Name="db")["Volume"]
    assert (shown["Name"], shown["Mountpoint"]) == ("db", target)
    assert shown["Status"]["mode"] == "0700"
    assert shown["Status"]["state"] == "attached"
    assert datetime.fromisoformat(shown["CreatedAt"]).tzinfo is not None
    assert service.ok("List")["Volumes"] == [{"Name": "db", "Mountpoint": target}]
    service.ok("Unmount", Name="db", ID=ID)
    assert service.ok("List")["Volumes"] == [{"Name": "db", "Mountpoint": ""}]
    service.ok("Remove", Name="db")
    assert service.call("Get", Name="db").error == "no such volume: db"


def test_every_value_of_status_is_text(service: Service) -> None:
    """Docker passes numbers through floating point."""
    service.ok("Create", Name="db", Opts={"size": "123456789012345", "uid": "999"})
    status = service.ok("Get", Name="db")["Volume"]["Status"]
    assert status
    assert all(isinstance(value, str) for value in status.values())


@pytest.mark.parametrize(
    "headers",
    [
        [],
        ["Content-Type: application/json"],
        ["Content-Type: text/plain; charset=utf-16"],
        ["Content-Type: application/x-www-form-urlencoded"],
        ["Content-Type: multipart/form-data; boundary=x"],
        ["Content-Type: "],
        ["Connection: keep-alive"],
        ["Expect: 100-continue"],
    ],
    ids=lambda headers: headers[0] if headers else "none",
)
def test_headers_do_not_matter(service: Service, headers: list[str]) -> None:
    service.ok("Create", Name="db", Opts={})
    for method, more in [("Mount", {"ID": ID}), ("Get", {}), ("Unmount", {"ID": ID})]:
        raw = service.exchange(
            framed(f"VolumeDriver.{method}", encoded(Name="db", **more), headers)
        )
        raw = raw.removeprefix(b"HTTP/1.1 100 Continue\r\n\r\n")
        assert raw.startswith(b"HTTP/1.1 200 ")
        assert b'"Err":""' in raw


@pytest.mark.parametrize(
    "host", ["", "plugin.moby.localhost", "%2Frun%2Fx.sock", "a b", "[::", ":::", "é", "x" * 300]
)
def test_the_host_does_not_matter(service: Service, host: str) -> None:
    """Empty in engines before mid-2023; a refusal of Get would make Docker forget the volume."""
    service.ok("Create", Name="db", Opts={})
    assert service.raw("VolumeDriver.Get", encoded(Name="db"), host=host).status == 200


def test_connections_are_not_kept(service: Service) -> None:
    """Else the engine may send its next call into a connection that is just being closed."""
    two = framed("VolumeDriver.List", b"{}\n", ["Connection: keep-alive"]) * 2
    raw = service.exchange(two)
    assert raw.count(b"HTTP/1.1 200") == 1
    assert b"Connection: close" in raw


@pytest.mark.parametrize("method", [name for name in NAMED if name != "Get"])
@pytest.mark.parametrize(
    "body", [b"", b"\n", b"{}", b"null", b"[]", b'{"Name":""}', b'{"Name":null}', b'{"name":"db"}']
)
def test_a_nameless_request_is_an_error(service: Service, method: str, body: bytes) -> None:
    """Docker repeats a lost request with an EMPTY body: a lost Create must not read as done."""
    answer = service.raw(f"VolumeDriver.{method}", body)
    assert answer.status == 200
    assert answer.error
    assert service.names() == []


@pytest.mark.parametrize(
    "body", [b"", b"\n", b"{}", b"null", b'{"Name":""}', b'{"Na', b"\xff", b"x" * 2_000_000]
)
def test_a_nameless_get_is_dropped(service: Service, body: bytes) -> None:
    """Any answer, also an error, would make Docker forget the volume it had asked for."""
    for _ in range(5):
        with pytest.raises(Dropped):
            service.raw("VolumeDriver.Get", body)


@pytest.mark.parametrize("method", ["Mount", "Unmount"])
@pytest.mark.parametrize("id_", [None, "", 7, "x" * 257, ["x"]])
def test_a_mount_without_a_usable_id_is_an_error(
    service: Service, method: str, id_: object
) -> None:
    service.ok("Create", Name="db", Opts={})
    assert "mount ID" in service.call(method, Name="db", ID=id_).error
    assert service.ok("Get", Name="db")["Volume"]["Mountpoint"] == ""


@pytest.mark.parametrize("options", [None, {}])
def test_no_options(service: Service, options: object) -> None:
    service.ok("Create", Name="db", Opts=options)
    service.ok("Create", Name="web")
    assert service.names() == ["db", "web"]


@pytest.mark.parametrize(
    "options",
    [[], "size=1G", {"size": 1}, {"size": None}, {"size": {}}, {"": ""}, {"x" * 9999: ""}],
)
def test_wrong_options_are_refused(service: Service, options: object) -> None:
    assert service.call("Create", Name="db", Opts=options).error
    assert service.names() == []


def test_a_flood_of_options_is_refused_at_once(service: Service) -> None:
    flood = {f"o{n}": "" for n in range(50_000)}
    answer = service.call("Create", Name="db", Opts=flood)
    assert "50000 options" in answer.error
    assert len(answer.body) < 500


HOSTILE = [
    "../x",
    "..",
    ".",
    "/etc",
    "a/b",
    "a\0b",
    "a b",
    "é",
    "\U0001f433",
    "\udcff",
    "x" * 129,
    "x" * 4096,
    "<script>&",
    "-rf",
    "a\nb",
    "%2e%2e",
]


@pytest.mark.parametrize("name", HOSTILE, ids=lambda name: ascii(name)[:20])
def test_hostile_names_are_refused_and_answered(service: Service, name: str) -> None:
    for method in NAMED:
        answer = service.call(method, Name=name, ID=ID, Opts=None)
        assert answer.status == 200
        assert "volume name" in answer.error
        assert len(answer.body) < 6000
    assert service.names() == []


def test_the_longest_name_is_served(service: Service) -> None:
    name = "x" * 128
    service.ok("Create", Name=name, Opts=None)
    assert service.ok("Mount", Name=name, ID=ID)["Mountpoint"].endswith(name)


def test_repeated_ids_are_counted(service: Service) -> None:
    """docker cp on a running container mounts under the container's own ID, and unmounts."""
    service.ok("Create", Name="db", Opts=None)
    for mount_id in (ID, ID, OTHER):
        service.ok("Mount", Name="db", ID=mount_id)
    for left, mount_id in [("2", ID), ("1", OTHER)]:
        service.ok("Unmount", Name="db", ID=mount_id)
        status = service.ok("Get", Name="db")["Volume"]["Status"]
        assert (status["state"], status["holders"]) == ("attached", left)
    service.ok("Unmount", Name="db", ID=ID)
    assert service.ok("Get", Name="db")["Volume"]["Status"]["state"] == "detached"


def test_unknown_ids_and_volumes_are_unmounted_with_success(service: Service) -> None:
    service.ok("Unmount", Name="nothing", ID=ID)
    service.ok("Create", Name="db", Opts=None)
    service.ok("Unmount", Name="db", ID=ID)


def test_unknown_volumes(service: Service) -> None:
    for method in ("Get", "Mount", "Remove", "Path"):
        assert service.call(method, Name="nothing", ID=ID).error == "no such volume: nothing"


def test_a_path_is_never_made_up(service: Service) -> None:
    service.ok("Create", Name="db", Opts=None)
    assert "not mounted on this node" in service.call("Path", Name="db").error


def test_unknown_calls_and_methods(service: Service) -> None:
    assert service.raw("VolumeDriver.Resize", b"{}").status == 404
    assert "no such call" in service.raw("VolumeDriver.Resize", b"{}").error
    raw = service.exchange(b"GET /VolumeDriver.List HTTP/1.1\r\nHost: \r\n\r\n")
    assert raw.startswith(b"HTTP/1.1 405")
    for method in ("create", "VolumeDriver.create", "volumedriver.Create", "VolumeDriver.Create/"):
        assert service.raw(method, encoded(Name="db")).status == 404
    assert service.names() == []


def test_chunked_bodies_are_read(service: Service) -> None:
    body = encoded(Name="db", Opts=None)
    head = "POST /VolumeDriver.Create HTTP/1.1\r\nHost: \r\nTransfer-Encoding: chunked\r\n\r\n"
    chunks = b"".join(b"%x\r\n%s\r\n" % (len(part), part) for part in (body[:5], body[5:]))
    assert b'"Err":""' in service.exchange(head.encode() + chunks + b"0\r\n\r\n")
    assert service.names() == ["db"]


def test_keys_may_come_in_any_order_and_number(service: Service) -> None:
    document: dict[str, object] = {
        "Opts": None,
        "Unknown": [1, {"x": None}],
        "Name": "db",
        "Labels": {},
    }
    assert service.raw("VolumeDriver.Create", json.dumps(document).encode()).error == ""
    assert service.names() == ["db"]
