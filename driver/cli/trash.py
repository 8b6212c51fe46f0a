"""`kedge trash`."""

import sys
from collections.abc import Mapping, Sequence

import click

from driver.cli.calling import REFUSED, Caller, as_json, end, show, table


@click.group("trash")
def trash() -> None:
    """Removed volumes that can be brought back (on_remove=trash)."""


@trash.command("ls")
@as_json
@click.pass_obj
def _trash_ls(call: Caller, as_json: bool) -> None:
    """List what is in the trash."""
    columns = {"name": "NAME", "backend": "BACKEND", "uuid": "UUID", "removed": "REMOVED"}
    show(call("GET", "trash"), as_json, lambda rows: table(rows, columns, "the trash is empty"))


@trash.command("restore")
@click.argument("which")
@click.option("--as", "name", help="The name it gets; by default its old one.")
@as_json
@click.pass_obj
def _trash_restore(call: Caller, which: str, name: str | None, as_json: bool) -> None:
    """Bring back WHICH: a name, or a UUID where several have the same name."""
    trashed = _pick(call("GET", "trash"), which)
    restored = call("POST", "trash", trashed["uuid"], "restore", name=name or trashed["name"])
    show(restored, as_json, lambda volume: f"volume {volume['name']} is back")


@trash.command("empty")
@click.argument("which", required=False)
@click.option("--yes", is_flag=True, help="Do not ask.")
@click.pass_obj
def _trash_empty(call: Caller, which: str | None, yes: bool) -> None:
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
        end(f"nothing named {which!r} is in the trash; see `kedge trash ls`", REFUSED)
    if len(found) > 1:
        uuids = ", ".join(row["uuid"] for row in found)
        end(f"{len(found)} removed volumes were named {which}; give one of: {uuids}", REFUSED)
    return found[0]
