"""When the storage is away, slow or broken, and when the caller goes away."""

import socket
import threading
import time

import pytest

from tests.wire.service import Dropped, Service, encoded, framed, until

ID = "a" * 64


def status(service: Service, name: str) -> dict[str, str]:
    found: dict[str, str] = service.ok("Get", Name=name)["Volume"]["Status"]
    return found


@pytest.mark.parametrize("trouble", ["fail", "fault"])
def test_get_is_dropped_while_nobody_knows(service: Service, trouble: str) -> None:
    service.hook("get", trouble)
    for body in (encoded(Name="db"), b"", b"", b"", b""):  # the call and Docker's four repeats
        with pytest.raises(Dropped):
            service.raw("VolumeDriver.Get", body)
    service.unhook()
    assert service.call("Get", Name="db").error == "no such volume: db"


def test_what_is_known_is_answered_while_the_storage_is_away(service: Service) -> None:
    service.ok("Create", Name="db", Opts=None)
    for verb in ("get", "volumes", "attachments", "occupants"):
        service.hook(verb, "fail")
    assert service.ok("Get", Name="db")["Volume"]["Name"] == "db"
    assert service.names() == ["db"]
    assert "cannot get now" in service.call("Mount", Name="db", ID=ID).error
    assert "cannot get now" in service.call("Remove", Name="db").error
    service.unhook()
    service.ok("Mount", Name="db", ID=ID)


@pytest.mark.parametrize("method", ["Create", "Mount", "Remove"])
def test_a_fault_of_ours_is_one_sentence_and_logged(service: Service, method: str) -> None:
    service.ok("Create", Name="db", Opts=None)
    for verb in ("create", "attach", "remove"):
        service.hook(verb, "fault")
    name = "web" if method == "Create" else "db"
    answer = service.call(method, Name=name, ID=ID, Opts=None)
    assert answer.status == 200
    assert (
        answer.error == f"VolumeDriver.{method} failed by a fault in kedge; its log has the details"
    )
    until(lambda: "ZeroDivisionError" in service.said)
    service.unhook()
    (service.home / "err").write_text("")  # this traceback was wanted
    service.call("Remove", Name=name)


def test_unmount_succeeds_though_the_storage_refuses(service: Service) -> None:
    service.ok("Create", Name="db", Opts=None)
    service.ok("Mount", Name="db", ID=ID)
    service.hook("detach", "fail")
    service.ok("Unmount", Name="db", ID=ID)
    assert status(service, "db")["holders"] == "0"
    service.unhook()
    until(lambda: status(service, "db")["state"] == "detached")


def test_a_caller_that_leaves_during_mount_leaves_no_reference(service: Service) -> None:
    """No Unmount follows a Mount whose answer the engine did not read."""
    service.ok("Create", Name="db", Opts=None)
    service.hook("attach", "block")
    with service.connect() as caller:
        caller.sendall(framed("VolumeDriver.Mount", encoded(Name="db", ID=ID)))
        until(lambda: status(service, "db")["state"] == "attaching")
    service.unhook()
    until(lambda: status(service, "db")["state"] == "detached")
    until(lambda: "the engine left before its Mount was done; undone" in service.said)


def test_a_caller_that_leaves_takes_only_its_own_reference(service: Service) -> None:
    service.ok("Create", Name="db", Opts=None)
    service.ok("Mount", Name="db", ID=ID)
    service.hook("attachments", "block")
    with service.connect() as caller:
        caller.sendall(framed("VolumeDriver.Mount", encoded(Name="db", ID=ID)))
        time.sleep(0.3)
    service.unhook()
    until(lambda: service.said.count("the engine left before its Mount was done; undone") >= 1)
    until(lambda: status(service, "db")["holders"] == "1")
    assert status(service, "db")["state"] == "attached"


def test_a_caller_that_sends_half_a_request(service: Service) -> None:
    whole = framed("VolumeDriver.Create", encoded(Name="db", Opts=None))
    for length in (1, 20, len(whole) // 2, len(whole) - 1):
        with service.connect() as caller:
            caller.sendall(whole[:length])
    for moment in (0, 0.3):  # the second time whoever reads it has begun before it breaks off
        with service.connect() as caller:
            caller.sendall(whole[:-1])
            time.sleep(moment)
            caller.shutdown(socket.SHUT_WR)
            assert b'"Err":""' not in caller.recv(9999)
    assert service.names() == []


def test_an_unmount_is_carried_out_though_its_caller_left(service: Service) -> None:
    service.ok("Create", Name="db", Opts=None)
    service.ok("Mount", Name="db", ID=ID)
    with service.connect() as caller:
        caller.sendall(framed("VolumeDriver.Unmount", encoded(Name="db", ID=ID)))
    until(lambda: status(service, "db")["state"] == "detached")


def test_other_volumes_go_on_while_one_hangs(service: Service) -> None:
    for name in ("stuck", "db"):
        service.ok("Create", Name=name, Opts=None)
    service.hook("attach", "block")
    stuck = threading.Thread(
        target=service.call, args=("Mount",), kwargs={"Name": "stuck", "ID": ID}
    )
    stuck.start()
    until(lambda: status(service, "stuck")["state"] == "attaching")
    assert sorted(service.names()) == ["db", "stuck"]
    service.ok("Unmount", Name="db", ID=ID)
    service.ok("Remove", Name="db")
    service.unhook()
    stuck.join(20)
    assert status(service, "stuck")["holders"] == "1"
