"""What this kernel can do: what is in it, and what it could load."""

import os
from pathlib import Path

_LISTS = ("modules.builtin", "modules.dep")


def available(module: str, root: Path = Path("/")) -> bool:
    """Whether a module is in the kernel, loaded, or on this machine's disk to be loaded. Inside
    a container that is shown no /lib/modules: only whether it is in the kernel already."""
    if (root / "sys/module" / module).exists():
        return True
    directory = root / "lib/modules" / os.uname().release
    return any(f"/{module}.ko" in _text(directory / name) for name in _LISTS)


def file_system(name: str, root: Path = Path("/")) -> bool:
    """Whether the kernel can mount this type of file system, or load what can."""
    lines = _text(root / "proc/filesystems").splitlines()
    return name in (line.split()[-1] for line in lines if line.strip()) or available(name, root)


def _text(path: Path) -> str:
    try:
        return path.read_text(errors="replace")
    except OSError:
        return ""
