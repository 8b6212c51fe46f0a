"""docs/options.md is made from the options dataclasses: `make docs` writes it, a test holds it."""

from collections.abc import Sequence
from pathlib import Path

from backends.options import OptionHelp
from driver.__main__ import option_tables

PAGE = Path(__file__).parents[2] / "docs" / "options.md"

HEAD = """# Options of volumes, settings of profiles

`docker volume create -d kedge -o KEY=VALUE ... NAME`. The same tables: `kedge options`.

`backend=PROFILE` chooses the profile; without it the default profile is used. Sizes are written
`512M`, `10G`, `1.5T`. Every problem is reported at once, before anything is made. Options of a
volume that exists are not changed by creating it again: Docker never asks a driver then. The
effective ones are in the `Status` of `docker volume inspect`.

Settings of a profile are lines below `[profiles.NAME]` in the settings file
([install](install.md)), beside `backend = "..."`.
"""


def render() -> str:
    """The whole page."""
    parts = [HEAD]
    for backend, tables in option_tables().items():
        parts.append(f"\n## {backend}\n")
        for kind, rows in tables.items():
            if rows:
                parts.append(_table(kind.removesuffix("s"), rows))
    return "".join(parts)


def _table(first: str, rows: Sequence[OptionHelp]) -> str:
    lines = [
        f"| `{row.name}` | {_cell(row.values)} | {row.default} | {_cell(row.help)} |\n"
        for row in rows
    ]
    return f"\n| {first} | values | default | meaning |\n|---|---|---|---|\n{''.join(lines)}"


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


if __name__ == "__main__":
    PAGE.write_text(render())
