"""Images for throw-away engines, from Debian's packages: made once per machine, then loaded."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

from tests.lab.engine import Engine
from tests.lab.namespace import run

PROJECT = Path(__file__).parents[2]
CACHE = Path(os.environ.get("KEDGE_CACHE", "/var/cache/kedge"))
SMALL = "small"
MARIADB = "kedge-mariadb"


def load_small(engine: Engine) -> None:
    """`small`: one static busybox, 2 MB; the shell and file programs that most tests need.

    It holds /seeded with two files of another owner, for Docker's copy into an empty volume.
    """
    with tempfile.TemporaryDirectory() as scratch:
        tree = Path(scratch) / "tree"
        (tree / "bin").mkdir(parents=True)
        (tree / "tmp").mkdir(mode=0o1777)
        seeded = tree / "seeded"
        seeded.mkdir(mode=0o750)
        for name in ("one", "two"):
            (seeded / name).write_text(f"{name}\n")
            os.chown(seeded / name, 999, 998)
        os.chown(seeded, 999, 998)
        run(["cp", "/bin/busybox", str(tree / "bin")])
        run(["/bin/busybox", "--install", "-s", str(tree / "bin")])
        for link in (tree / "bin").iterdir():
            if link.is_symlink():
                link.unlink()
                link.symlink_to("busybox")
        tar = f"{scratch}/small.tar"
        run(["tar", "-C", str(tree), "-cf", tar, "."])
        engine.docker("import", "--change", 'CMD ["sh"]', tar, SMALL)


def load_mariadb(engine: Engine) -> None:
    """`kedge-mariadb`: the database of the demo."""
    engine.script([str(PROJECT / "packaging/mariadb-image.sh")])
