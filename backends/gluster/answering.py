"""Which servers of a list answer now.

glusterfs(8) asks one server after the other, and waits for one that is switched off behind a
router, or that hangs, for as long as TCP does: far longer than anybody waits for a mount.
"""

import socket
import struct
import threading
from collections.abc import Sequence

from backends.host.waiting import wait_until

PORT = 24007
SECONDS = 1.0
_LAST = 1 << 31
_CALL = struct.pack(">10I", 1, 0, 2, 14398633, 2, 0, 0, 0, 0, 0)
"""The procedure of Gluster's handshake that does nothing (RFC 5531). A refusal is an answer too."""


def first(servers: Sequence[str], port: int = PORT, seconds: float = SECONDS) -> list[str]:
    """All of `servers`, in the order given but for those that answer before anybody else does:
    they come first. Nobody is waited for longer than `seconds`."""
    answered: set[str] = set()

    def ask(server: str) -> None:
        if answers(server, port, seconds):
            answered.add(server)

    threads = [threading.Thread(target=ask, args=(one,), daemon=True) for one in servers]
    for thread in threads:
        thread.start()
    wait_until(lambda: bool(answered) or not any(one.is_alive() for one in threads), seconds)
    heard = set(answered)
    return sorted(servers, key=lambda server: server not in heard)


def answers(server: str, port: int, seconds: float) -> bool:
    """Whether a Gluster daemon is there and alive, not only its kernel."""
    try:
        with socket.create_connection((server, port), timeout=seconds) as connection:
            connection.sendall(struct.pack(">I", _LAST | len(_CALL)) + _CALL)
            return bool(connection.recv(4))
    except OSError:
        return False
