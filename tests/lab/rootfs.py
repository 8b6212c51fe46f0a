"""The managed plugin's root file system, built from this checkout by a real engine.

The engine that builds keeps its layers from session to session, so that only what changed is
built again; that engine is used by one session at a time.
"""

from __future__ import annotations

import fcntl
from pathlib import Path

from tests.lab.engine import Engine
from tests.lab.images import CACHE, PROJECT


def build(out: Path, backends: str = "") -> Path:
    """Write OUT/rootfs and OUT/config.json; OUT is what `docker plugin create` takes. `backends`:
    see Storage.plugin_backends."""
    CACHE.mkdir(parents=True, exist_ok=True)
    with (CACHE / "builder.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        engine = Engine("builder", data=CACHE / "builder")
        try:
            engine.start()
            build = [str(PROJECT / "packaging/plugin.sh"), "rootfs", str(out)]
            engine.script(["env", f"BACKENDS={backends}", *build] if backends else build)
            engine.docker("image", "prune", "-f", "--filter", "until=72h")
            engine.stop()
        finally:
            engine.close()
    return out
