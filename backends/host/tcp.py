"""Resetting the TCP connections of another process (sock_diag(7), SOCK_DESTROY).

Closing a socket, and killing its process, leaves what it has written in the kernel, which goes on
sending it, for many seconds if the peer cannot be reached just now. A reset throws it away.
"""

import errno
import os
import re
import socket
import struct
from collections.abc import Iterator
from pathlib import Path

_NETLINK_SOCK_DIAG = 4
_SOCK_DESTROY = 21
_NLM_F_REQUEST_ACK = 1 | 4
_NLMSG_ERROR = 2
_HEADER = struct.Struct("=IHHII")
_REQUEST = struct.Struct("=BBBBI4s16s16sI8s")
_ANY_COOKIE = b"\xff" * 8
_INODE = re.compile(r"socket:\[(\d+)\]")


def destroy_all(pid: int) -> None:
    """Reset every TCP connection of a process. Raises OSError (EPERM, EOPNOTSUPP) when the kernel
    refuses; connections that are gone meanwhile are no error."""
    wanted = _sockets(pid)
    for family, table in ((socket.AF_INET, "tcp"), (socket.AF_INET6, "tcp6")):
        for ends, inode in _table(pid, table):
            if inode in wanted:
                _destroy(family, *ends)


def try_out() -> None:
    """Reset a connection made for that. Raises OSError as `destroy_all` would."""
    with (
        socket.create_server(("127.0.0.1", 0)) as server,
        socket.create_connection(server.getsockname(), timeout=2) as victim,
    ):
        inode = str(os.fstat(victim.fileno()).st_ino)
        for ends, found in _table(os.getpid(), "tcp"):
            if found == inode:
                _destroy(socket.AF_INET, *ends)


def _sockets(pid: int) -> set[str]:
    found = set()
    for entry in Path(f"/proc/{pid}/fd").iterdir():
        try:
            match = _INODE.fullmatch(os.readlink(entry))
        except FileNotFoundError:
            continue
        if match:
            found.add(match[1])
    return found


def _table(pid: int, name: str) -> Iterator[tuple[tuple[str, str], str]]:
    """(local end, remote end) and inode of every socket in the process's network."""
    try:
        lines = Path(f"/proc/{pid}/net/{name}").read_text().splitlines()[1:]
    except FileNotFoundError:
        return
    for line in lines:
        fields = line.split()
        yield (fields[1], fields[2]), fields[9]


def _destroy(family: int, local: str, remote: str) -> None:
    (source, sport), (target, dport) = _end(local), _end(remote)
    request = _REQUEST.pack(
        family, socket.IPPROTO_TCP, 0, 0, 0xFFFFFFFF, sport + dport, source, target, 0, _ANY_COOKIE
    )
    length = _HEADER.size + len(request)
    header = _HEADER.pack(length, _SOCK_DESTROY, _NLM_F_REQUEST_ACK, 1, 0)
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, _NETLINK_SOCK_DIAG) as link:
        link.settimeout(2)
        link.sendto(header + request, (0, 0))
        answer = link.recv(4096)
    if _HEADER.unpack_from(answer)[1] == _NLMSG_ERROR:
        number = -struct.unpack_from("=i", answer, _HEADER.size)[0]
        if number not in (0, errno.ENOENT):
            raise OSError(number, os.strerror(number))


def _end(text: str) -> tuple[bytes, bytes]:
    """Address (16 bytes, zeros behind a short one) and port of one end, in network order. The
    kernel prints addresses as 32-bit words in the machine's order."""
    address, port = text.split(":")
    words = [address[i : i + 8] for i in range(0, len(address), 8)]
    packed = b"".join(struct.pack("=I", int(word, 16)) for word in words)
    return packed.ljust(16, b"\0"), struct.pack(">H", int(port, 16))
