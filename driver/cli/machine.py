"""`kedge doctor`, `version`, `options`."""

import sys
from collections.abc import Callable
from dataclasses import asdict
from typing import Any

import click

from backends.options import HelpTables
from driver.cli.calling import UNWELL, USAGE, Caller, as_json, end, show, table
from driver.version import VERSION


def findings(rows: Any) -> str:
    """What was found, a line each, as people read it."""
    marks = {"ok": "ok", "warning": "WARNING", "error": "ERROR"}
    lines = []
    for row in rows:
        lines.append(f"{marks[row['level']]:8} {row['subject']}: {row['detail']}")
        if row["advice"]:
            lines.append(f"{'':8} -> {row['advice']}")
    return "\n".join(lines)


@click.command("doctor")
@as_json
@click.pass_obj
def doctor(call: Caller, as_json: bool) -> None:
    """Check this node and say what to do about what is wrong."""
    found = call("GET", "doctor")

    show(found, as_json, findings)
    if any(row["level"] == "error" for row in found):
        sys.exit(UNWELL)


@click.command("version")
@as_json
def version(as_json: bool) -> None:
    """Print the version."""
    show({"version": VERSION}, as_json, lambda shown: f"kedge {shown['version']}")


HEADINGS = {
    "options": ("OPTION", "volumes, docker volume create -d kedge -o OPTION=VALUE"),
    "settings": ("SETTING", "profiles, in the settings file below [profiles.NAME]"),
}


def _explained(document: Any) -> str:
    """The tables of each backend, as people read them."""
    parts = []
    for name, found in document.items():
        for kind, rows in found.items():
            first, where = HEADINGS[kind]
            columns = {"name": first, "values": "VALUES", "default": "DEFAULT", "help": "MEANING"}
            parts.append(f"{name}: {where}\n{table(rows, columns, f'no {kind}')}")
    return "\n\n".join(parts)


def options_of(tables: Callable[[], HelpTables]) -> click.Command:
    """`kedge options`, from the tables that only the composition root can make."""

    @click.command("options")
    @click.argument("backend", required=False)
    @as_json
    def options(backend: str | None, as_json: bool) -> None:
        """Explain what can be said of volumes (`-o KEY=VALUE`) and of profiles, for every backend
        or for BACKEND."""
        known = tables()
        if backend is not None and backend not in known:
            end(f"backend {backend!r} is unknown; there are: {', '.join(known)}", USAGE)
        chosen = {backend: known[backend]} if backend else known
        shown = {
            name: {kind: [asdict(row) for row in rows] for kind, rows in found.items()}
            for name, found in chosen.items()
        }
        show(shown, as_json, _explained)

    return options
