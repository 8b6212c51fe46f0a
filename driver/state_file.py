"""Small documents of this node that are complete on disk, or as they were before."""

import json
import os
from pathlib import Path
from typing import Any


def write(path: Path, document: Any) -> None:
    """Durable when this returns. Raises OSError."""
    path.parent.mkdir(parents=True, exist_ok=True)
    new = path.with_name(path.name + ".new")
    with new.open("w") as file:
        json.dump(document, file)
        file.flush()
        os.fsync(file.fileno())
    new.rename(path)
    directory = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)
