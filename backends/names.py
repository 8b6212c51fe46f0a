"""Names that come from outside: the one rule for what a volume may be called.

Docker validates nothing for plugin drivers: `../x`, NUL bytes, spaces and 4 KiB of unicode all
arrive here. The alphabet is that of Docker's own `local` driver, so a volume can move between
drivers; the length keeps a name usable as one path component, one object key and one mount point.
"""

import re

from backends.errors import InvalidName

MAX_LENGTH = 128
_ALLOWED = re.compile(r"[a-zA-Z0-9][a-zA-Z0-9_.-]*")


def volume_name(name: object) -> str:
    """Return `name` unchanged if it may name a volume, else raise InvalidName."""
    if not isinstance(name, str) or not name:
        raise InvalidName("the request names no volume; give a name")
    if len(name) > MAX_LENGTH:
        raise InvalidName(
            f"volume name {name[:40]!r}... has {len(name)} characters; use at most {MAX_LENGTH}"
        )
    if not _ALLOWED.fullmatch(name):
        raise InvalidName(
            f"volume name {name!r} is not allowed; use letters, digits, '_', '.' and '-', "
            "starting with a letter or digit"
        )
    return name
