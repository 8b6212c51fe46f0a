"""Servers that answer are asked first."""

import socket
import threading
from collections.abc import Iterator

import pytest

from backends.gluster import answering

LONG = 10.0


class Server:
    """At an address of its own, with one port for all. `answer`: what it says to a call; nothing
    at all: None."""

    def __init__(self, address: str, port: int, answer: bytes | None) -> None:
        self.socket = socket.create_server((address, port))
        self.address, self.port = self.socket.getsockname()
        self.asked: list[bytes] = []
        self._answer = answer
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        while True:
            try:
                connection, _ = self.socket.accept()
            except OSError:
                return
            self.asked.append(connection.recv(64))
            if self._answer is not None:
                connection.sendall(self._answer)
                connection.close()
            else:
                self._kept = connection


@pytest.fixture
def hung() -> Iterator[Server]:
    """Its kernel takes the call; it does not answer."""
    made = Server("127.0.0.1", 0, None)
    yield made
    made.socket.close()


@pytest.fixture
def alive(hung: Server) -> Iterator[Server]:
    """At another address."""
    made = Server("127.0.0.2", hung.port, b"\x80\0\0\x18")
    yield made
    made.socket.close()


def test_who_answers_comes_first(hung: Server, alive: Server) -> None:
    dead = "127.0.0.3"
    found = answering.first([dead, hung.address, alive.address], alive.port, LONG)
    assert found == [alive.address, dead, hung.address]


def test_the_order_of_the_list_stays_otherwise(hung: Server, alive: Server) -> None:
    assert answering.first(["127.0.0.4", "127.0.0.3"], alive.port, LONG) == [
        "127.0.0.4",
        "127.0.0.3",
    ]
    assert answering.first([hung.address, "127.0.0.3"], hung.port, 0.05)[0] == hung.address
    same = [alive.address, "127.0.0.3"]
    assert answering.first(same, alive.port, LONG) == same


def test_the_question_is_a_whole_call(alive: Server) -> None:
    """Length and content, as a server reads it: version 2 of RPC, Gluster's handshake, nothing."""
    assert answering.answers(alive.address, alive.port, LONG)
    (call,) = alive.asked
    assert int.from_bytes(call[:4], "big") == (1 << 31) | (len(call) - 4)
    words = [int.from_bytes(call[at : at + 4], "big") for at in range(4, len(call), 4)]
    assert words[1:6] == [0, 2, 14398633, 2, 0]
