"""python graft.py PID TREE TARGET: mount TREE, with all that is mounted below it, at TARGET as the
process PID sees paths.

A program of its own, because only a process without threads may enter another mount namespace.
The copy stays in TREE's peer group: what is mounted below TREE from now on appears below TARGET.
Needs Linux 5.2, CAP_SYS_ADMIN, CAP_SYS_CHROOT, and CAP_SYS_PTRACE to enter a process that may do
more than this one. Standard library only.
"""

import ctypes
import os
import sys

_OPEN_TREE, _MOVE_MOUNT = 428, 429
_AT_FDCWD, _AT_RECURSIVE = -100, 0x8000
_OPEN_TREE_CLONE, _F_EMPTY_PATH = 1, 4
_CLONE_NEWNS = 0x20000


def main(pid: str, tree: str, target: str) -> None:
    """Raises OSError with what the kernel refused."""
    libc = ctypes.CDLL(None, use_errno=True)
    flags = _OPEN_TREE_CLONE | os.O_CLOEXEC | _AT_RECURSIVE
    copy = _checked(libc.syscall(_OPEN_TREE, _AT_FDCWD, tree.encode(), flags), f"copy {tree}")
    namespace = os.open(f"/proc/{pid}/ns/mnt", os.O_RDONLY | os.O_CLOEXEC)
    _checked(libc.setns(namespace, _CLONE_NEWNS), f"enter the mounts of process {pid}")
    moved = libc.syscall(_MOVE_MOUNT, copy, b"", _AT_FDCWD, target.encode(), _F_EMPTY_PATH)
    _checked(moved, f"mount at {target}")


def _checked(outcome: int, what: str) -> int:
    if outcome < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number), what)
    return outcome


if __name__ == "__main__":
    try:
        main(*sys.argv[1:])
    except OSError as refused:
        sys.exit(str(refused))
