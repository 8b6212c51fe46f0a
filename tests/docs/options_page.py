"""docs/options.md is made from the options dataclasses: `make docs` writes it, a test holds it."""

from pathlib import Path

from driver.__main__ import option_tables

PAGE = Path(__file__).parents[2] / "docs" / "options.md"

HEAD = """# Volume options

`docker volume create -d kedge -o KEY=VALUE ... NAME`. The same tables: `kedge options`.

`backend=PROFILE` chooses the profile; without it the default profile is used. Sizes are written
`512M`, `10G`, `1.5T`. Every problem is reported at once, before anything is made. Options of a
volume that exists are not changed by creating it again: Docker never asks a driver then. The
effective ones are in the `Status` of `docker volume inspect`.
"""


def render() -> str:
    """The whole page."""
    parts = [HEAD]
    for backend, rows in option_tables().items():
        parts.append(
            f"\n## {backend}\n\n| option | values | default | meaning |\n|---|---|---|---|\n"
        )
        parts += [
            f"| `{row.name}` | {_cell(row.values)} | {row.default} | {_cell(row.help)} |\n"
            for row in rows
        ]
    return "".join(parts)


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


if __name__ == "__main__":
    PAGE.write_text(render())
