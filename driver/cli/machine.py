"""`kedge doctor`, `version`, `options`."""

import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from typing import Any

import click

from backends.options import OptionHelp
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


def options_of(tables: Callable[[], Mapping[str, Sequence[OptionHelp]]]) -> click.Command:
    """`kedge options`, from the tables that only the composition root can make."""

    @click.command("options")
    @click.argument("backend", required=False)
    @as_json
    def options(backend: str | None, as_json: bool) -> None:
        """Explain the volume options (`-o KEY=VALUE`) of every backend, or of BACKEND."""
        known = tables()
        if backend is not None and backend not in known:
            end(f"backend {backend!r} is unknown; there are: {', '.join(known)}", USAGE)
        chosen = {backend: known[backend]} if backend else known
        shown = {name: [asdict(row) for row in rows] for name, rows in chosen.items()}
        columns = {"name": "OPTION", "values": "VALUES", "default": "DEFAULT", "help": "MEANING"}

        def tables_of(document: Any) -> str:
            return "\n\n".join(
                f"{name}\n{table(rows, columns, 'no options')}" for name, rows in document.items()
            )

        show(shown, as_json, tables_of)

    return options
