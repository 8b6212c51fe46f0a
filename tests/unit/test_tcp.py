"""Resetting another process's connections: what it has written and not yet sent is gone."""

import multiprocessing
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing.connection import Connection

import pytest

from backends.host import tcp

pytestmark = pytest.mark.lab

PROCESSES = multiprocessing.get_context("fork")


def _fill(address: tuple[str, int], said: Connection) -> None:
    with socket.create_connection(address) as connection:
        connection.setblocking(False)
        written = 0
        try:
            while True:
                written += connection.send(bytes(1 << 16))
        except BlockingIOError:
            said.send(written)
        threading.Event().wait()


@contextmanager
def stuffed(family: socket.AddressFamily, host: str) -> Iterator[tuple[int, int, socket.socket]]:
    """A process that has written more than its peer will take just now: its pid, how many bytes
    it wrote, the peer's end."""
    with socket.socket(family) as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        listener.bind((host, 0))
        listener.listen()
        mine, theirs = PROCESSES.Pipe()
        process = PROCESSES.Process(target=_fill, args=(listener.getsockname()[:2], theirs))
        process.start()
        peer, _ = listener.accept()
        assert process.pid is not None
        try:
            with peer, mine, theirs:
                peer.settimeout(5)
                yield process.pid, mine.recv(), peer
        finally:
            process.kill()
            process.join()


def received(peer: socket.socket) -> int:
    """Everything that still arrives."""
    total = 0
    try:
        while chunk := peer.recv(1 << 16):
            total += len(chunk)
    except ConnectionResetError:
        pass
    return total


@pytest.mark.parametrize(
    ("family", "host"), [(socket.AF_INET, "127.0.0.1"), (socket.AF_INET6, "::1")], ids=["v4", "v6"]
)
def test_what_was_not_sent_never_arrives(family: socket.AddressFamily, host: str) -> None:
    with stuffed(family, host) as (pid, written, peer):
        tcp.destroy_all(pid)
        assert received(peer) < written


def test_death_alone_lets_everything_arrive() -> None:
    """Why the reset is needed: the kernel goes on sending for a process that was killed."""
    with stuffed(socket.AF_INET, "127.0.0.1") as (pid, written, peer):
        for process in multiprocessing.active_children():
            if process.pid == pid:
                process.kill()
                process.join()
        assert received(peer) == written


def test_a_process_without_connections_is_no_error() -> None:
    process = PROCESSES.Process(target=threading.Event().wait, args=(20,))
    process.start()
    assert process.pid is not None
    tcp.destroy_all(process.pid)
    assert process.is_alive()
    process.kill()
    process.join()


def test_a_trial_resets_nothing_but_its_own_connection() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        ours = socket.create_connection(server.getsockname())
        theirs, _ = server.accept()
        with ours, theirs:
            tcp.try_out()
            ours.sendall(b"still there")
            assert theirs.recv(32) == b"still there"


def test_a_trial_says_what_the_kernel_says(monkeypatch: pytest.MonkeyPatch) -> None:
    """A service that may not is told so before it has to cut a volume off."""

    def refused(*ends: object) -> None:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(tcp, "_destroy", refused)
    with pytest.raises(PermissionError):
        tcp.try_out()
