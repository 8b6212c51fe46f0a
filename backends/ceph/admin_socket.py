"""The socket on which ceph-fuse answers questions about itself, without touching its mount."""

import json
import socket
import struct
from dataclasses import dataclass
from pathlib import Path

_SECONDS = 1.0


@dataclass(frozen=True)
class ClientState:
    """What a client says of itself. `address` is what the cluster would blocklist."""

    address: str
    blocklisted: bool


def ask(path: Path) -> ClientState | None:
    """The state of the client at this socket; None when it is too busy to answer, or about to
    end. ConnectionError or FileNotFoundError when there is no client."""
    try:
        answer = json.loads(_exchange(path))
        return ClientState(str(answer["addr_str"]), bool(answer["blocklisted"]))
    except (TimeoutError, ValueError, KeyError):
        return None


def _exchange(path: Path) -> bytes:
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(_SECONDS)
        connection.connect(str(path))
        connection.sendall(b'{"prefix": "status"}\0')
        (length,) = struct.unpack(">I", _receive(connection, 4))
        return _receive(connection, length)


def _receive(connection: socket.socket, length: int) -> bytes:
    received = b""
    while len(received) < length:
        piece = connection.recv(length - len(received))
        if not piece:
            raise ConnectionError("the client hung up")
        received += piece
    return received
