"""`kedge ...`: the operator's command line. Tables for people, --json for programs."""

import json
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, NoReturn

import click
from tabulate import tabulate

from backends.options import OptionHelp
from driver.client import Client, Refused, Unreachable
from driver.version import VERSION

REFUSED, USAGE, UNREACHABLE, UNWELL = 1, 2, 3, 4

EXIT_CODES = """Exit codes: 0 done; 1 refused, the message says why; 2 wrong usage; 3 no service
answers; 4 `doctor` found an error."""

as_json = click.option("--json", "as_json", is_flag=True, help="Print JSON instead of a table.")


def commands(
    admin_socket: Callable[[], Path],
    option_tables: Callable[[], Mapping[str, Sequence[OptionHelp]]],
) -> click.Group:
    """The operator's commands; `serve` and `init` are added by the composition root."""

    @click.group(context_settings={"help_option_names": ["-h", "--help"]}, epilog=EXIT_CODES)
    @click.option(
        "--socket", type=click.Path(path_type=Path), help="The operator's socket of the service."
    )
    @click.pass_context
    def kedge(context: click.Context, socket: Path | None) -> None:
        """Docker volumes that move with their service."""
        context.obj = _Caller(socket or admin_socket())

    kedge.add_command(_ls)
    kedge.add_command(_inspect)
    kedge.add_command(_resize)
    kedge.add_command(_takeover)
    kedge.add_command(_trash)
    kedge.add_command(_doctor)
    kedge.add_command(_version)
    kedge.add_command(_options(option_tables))
    return kedge


class _Caller:
    """A client whose failures end the program with the right code."""

    def __init__(self, path: Path) -> None:
        self._client = Client(path)

    def __call__(self, method: str, *segments: str, **fields: str) -> Any:
        try:
            return self._client.call(method, *segments, **fields)
        except Refused as error:
            _end(str(error), REFUSED)
        except Unreachable as error:
            _end(str(error), UNREACHABLE)


def _end(message: str, code: int) -> NoReturn:
    click.echo(f"kedge: {message}", err=True)
    sys.exit(code)


def _print(document: Any, as_json: bool, table: Callable[[Any], str]) -> None:
    click.echo(json.dumps(document, indent=2) if as_json else table(document))


def _table(rows: Sequence[Mapping[str, Any]], columns: Mapping[str, str], empty: str) -> str:
    if not rows:
        return empty
    body = [[row.get(key, "") for key in columns] for row in rows]
    return tabulate(body, headers=list(columns.values()), tablefmt="plain", disable_numparse=True)


@click.command("ls")
@as_json
@click.pass_obj
def _ls(call: _Caller, as_json: bool) -> None:
    """List the volumes of all profiles."""
    columns = {
        "name": "NAME",
        "backend": "BACKEND",
        "layout": "LAYOUT",
        "size": "SIZE",
        "used": "USED",
        "access": "ACCESS",
        "state": "STATE",
        "mountpoint": "MOUNTPOINT",
    }

    def table(volumes: Any) -> str:
        rows = [{**volume["status"], **volume} for volume in volumes]
        return _table(rows, columns, "no volumes; make one: docker volume create -d kedge NAME")

    _print(call("GET", "volumes"), as_json, table)


@click.command("inspect")
@click.argument("name")
@as_json
@click.pass_obj
def _inspect(call: _Caller, name: str, as_json: bool) -> None:
    """Show everything about the volume NAME."""

    def table(volume: Any) -> str:
        facts = {k: v for k, v in volume.items() if k != "status"} | volume["status"]
        return tabulate(list(facts.items()), tablefmt="plain", disable_numparse=True)

    _print(call("GET", "volumes", name), as_json, table)


@click.command("resize")
@click.argument("name")
@click.argument("size")
@as_json
@click.pass_obj
def _resize(call: _Caller, name: str, size: str, as_json: bool) -> None:
    """Let the volume NAME grow to SIZE (such as 20G); it never shrinks."""
    _print(
        call("POST", "volumes", name, "resize", size=size),
        as_json,
        lambda done: f"{done['name']}: {done['size']}, takes effect {done['takes_effect']}",
    )


@click.command("takeover")
@click.argument("name")
@click.option("--yes", is_flag=True, help="Do not ask.")
@as_json
@click.pass_obj
def _takeover(call: _Caller, name: str, yes: bool, as_json: bool) -> None:
    """Free the volume NAME from a node that is dead, without waiting for its lease.

    Only if you know that the node is dead or cut off: where the storage cannot fence it, its
    containers could go on writing."""
    if not yes:
        owner = call("GET", "volumes", name)["status"].get("owner") or "nobody"
        click.confirm(f"{name} is held by {owner}; is that node certainly dead?", abort=True)
    _print(
        call("POST", "volumes", name, "takeover"),
        as_json,
        lambda volume: f"{volume['name']} is free; the next mount gets it",
    )


@click.group("trash")
def _trash() -> None:
    """Removed volumes that can be brought back (on_remove=trash)."""


@_trash.command("ls")
@as_json
@click.pass_obj
def _trash_ls(call: _Caller, as_json: bool) -> None:
    """List what is in the trash."""
    columns = {"name": "NAME", "backend": "BACKEND", "uuid": "UUID", "removed": "REMOVED"}
    _print(call("GET", "trash"), as_json, lambda rows: _table(rows, columns, "the trash is empty"))


@_trash.command("restore")
@click.argument("which")
@click.option("--as", "name", help="The name it gets; by default its old one.")
@as_json
@click.pass_obj
def _trash_restore(call: _Caller, which: str, name: str | None, as_json: bool) -> None:
    """Bring back WHICH: a name, or a UUID where several have the same name."""
    trashed = _pick(call("GET", "trash"), which)
    restored = call("POST", "trash", trashed["uuid"], "restore", name=name or trashed["name"])
    _print(restored, as_json, lambda volume: f"volume {volume['name']} is back")


@_trash.command("empty")
@click.argument("which", required=False)
@click.option("--yes", is_flag=True, help="Do not ask.")
@click.pass_obj
def _trash_empty(call: _Caller, which: str | None, yes: bool) -> None:
    """Delete WHICH (or everything in the trash) for good."""
    rows = call("GET", "trash")
    doomed = [_pick(rows, which)] if which else rows
    if not doomed:
        click.echo("the trash is empty")
        return
    if not yes:
        names = ", ".join(row["name"] for row in doomed)
        click.confirm(f"delete {names} for good?", abort=True)
    with click.progressbar(doomed, label="deleting", file=sys.stderr) as progress:
        for row in progress:
            call("DELETE", "trash", row["uuid"])


def _pick(rows: Sequence[Mapping[str, str]], which: str) -> Mapping[str, str]:
    found = [row for row in rows if which in (row["uuid"], row["name"])]
    if not found:
        _end(f"nothing named {which!r} is in the trash; see `kedge trash ls`", REFUSED)
    if len(found) > 1:
        uuids = ", ".join(row["uuid"] for row in found)
        _end(f"{len(found)} removed volumes were named {which}; give one of: {uuids}", REFUSED)
    return found[0]


@click.command("doctor")
@as_json
@click.pass_obj
def _doctor(call: _Caller, as_json: bool) -> None:
    """Check this node and say what to do about what is wrong."""
    findings = call("GET", "doctor")

    def table(rows: Any) -> str:
        marks = {"ok": "ok", "warning": "WARNING", "error": "ERROR"}
        lines = []
        for row in rows:
            lines.append(f"{marks[row['level']]:8} {row['subject']}: {row['detail']}")
            if row["advice"]:
                lines.append(f"{'':8} -> {row['advice']}")
        return "\n".join(lines)

    _print(findings, as_json, table)
    if any(row["level"] == "error" for row in findings):
        sys.exit(UNWELL)


@click.command("version")
@as_json
def _version(as_json: bool) -> None:
    """Print the version."""
    _print({"version": VERSION}, as_json, lambda shown: f"kedge {shown['version']}")


def _options(tables: Callable[[], Mapping[str, Sequence[OptionHelp]]]) -> click.Command:
    @click.command("options")
    @click.argument("backend", required=False)
    @as_json
    def options(backend: str | None, as_json: bool) -> None:
        """Explain the volume options (`-o KEY=VALUE`) of every backend, or of BACKEND."""
        known = tables()
        if backend is not None and backend not in known:
            _end(f"backend {backend!r} is unknown; there are: {', '.join(known)}", USAGE)
        chosen = {backend: known[backend]} if backend else known
        shown = {name: [asdict(row) for row in rows] for name, rows in chosen.items()}
        columns = {"name": "OPTION", "values": "VALUES", "default": "DEFAULT", "help": "MEANING"}

        def table(document: Any) -> str:
            return "\n\n".join(
                f"{name}\n{_table(rows, columns, 'no options')}" for name, rows in document.items()
            )

        _print(shown, as_json, table)

    return options
