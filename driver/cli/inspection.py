"""`kedge fsck`, `kedge export`, `kedge cut` and `kedge orphans`."""

import sys
from pathlib import Path
from typing import Any, BinaryIO

import click

from driver.cli.calling import REFUSED, UNWELL, USAGE, Caller, as_json, end, readable, show, table
from driver.cli.machine import findings

_BLOCK = 64 * 1024


@click.command("fsck")
@click.argument("volume")
@as_json
@click.pass_obj
def fsck(call: Caller, volume: str, as_json: bool) -> None:
    """Read everything that VOLUME consists of and say what is wrong; changes nothing."""
    found = call.follow("reading", "volumes", volume, "fsck")
    show(found, as_json, findings)
    if any(row["level"] == "error" for row in found):
        sys.exit(UNWELL)


@click.command("export")
@click.argument("volume", metavar="VOLUME[@SNAPSHOT]")
@click.option("-o", "--output", type=click.Path(path_type=Path), help="A file that is not there.")
@click.option("--orphan", default="", help="Instead, what `kedge orphans VOLUME` lists so.")
@click.option(
    "--damaged",
    is_flag=True,
    help="What is left: its last state before the damage, zeros for what cannot be read. Says what "
    "is lost; exit code 4 if anything is.",
)
@as_json
@click.pass_obj
def export(
    call: Caller, volume: str, output: Path | None, orphan: str, damaged: bool, as_json: bool
) -> None:
    """Write the content of VOLUME, which nobody may have mounted, or of a snapshot of it: a raw
    disk image, or a tar archive for plain directories. Goes to stdout without -o. Inside the
    managed plugin -o names a file of the plugin: use stdout (`kedge export db@x > db.img`)."""
    name, _, snapshot = volume.partition("@")
    segments, which = ("volumes", name, "export"), {"snapshot": snapshot, "orphan": orphan}
    which |= {"damaged": "yes"} if damaged else {}
    if output is None:
        if sys.stdout.isatty():
            end("an export does not go to a terminal; use -o FILE, or redirect it", USAGE)
        done = call.follow("exporting", *segments, data=sys.stdout.buffer.write, **which)
        sys.stdout.buffer.flush()
        _complain(done)
        return
    try:
        with output.open("xb") as file:
            sparse = Sparse(file)
            try:
                done = call.follow("exporting", *segments, data=sparse.write, **which)
            except SystemExit:
                output.unlink()  # refused, or cut short: it is no image
                raise
            sparse.finish()
    except FileExistsError:
        end(f"{output} is there already; remove it, or write to another file", REFUSED)
    except OSError as error:
        end(f"{output}: {error.strerror or error}; what was written is incomplete", REFUSED)

    def shown(row: Any) -> str:
        return f"{volume}: {row['size']} bytes ({row['form']}) in {output}"

    show(done, as_json, shown)
    _complain(done)


def _complain(done: Any) -> None:
    """Of what was damaged: what is not in it."""
    lost = done.get("lost", ())
    for words in lost:
        click.echo(f"kedge: NOT IN IT: {words}", err=True)
    if lost:
        sys.exit(UNWELL)


@click.command("cut")
@click.argument("volume")
@click.option(
    "--before",
    required=True,
    type=int,
    metavar="RECORD",
    help="The record that fsck or `export --damaged` names as missing or damaged.",
)
@click.option("--yes", is_flag=True, help="Do not ask.")
@as_json
@click.pass_obj
def cut(call: Caller, volume: str, before: int, yes: bool, as_json: bool) -> None:
    """Let VOLUME, whose log is damaged, go on as it was before RECORD, for good. What RECORD
    changed is lost. What later records say, on top of it, is kept as a snapshot: no state that
    VOLUME ever had, but all that can be found."""
    if not yes:
        click.confirm(
            f"{volume} goes back to before record {before}, and nothing undoes that; "
            "have you carried away what you need (`kedge export --damaged`)?",
            abort=True,
        )
    done = call.follow("cutting", "volumes", volume, "cut", before=str(before))

    def shown(row: Any) -> str:
        kept = f"; what later ones say is {volume}@{row['kept']}" if row["kept"] else ""
        return f"{volume} is as it was before record {before}{kept}"

    show(done, as_json, shown)


@click.command("orphans")
@click.argument("volume")
@as_json
@click.pass_obj
def orphans(call: Caller, volume: str, as_json: bool) -> None:
    """List what this node had written to VOLUME and not yet sent when another node took it."""
    columns = {"name": "NAME", "kept": "KEPT", "size": "SIZE"}
    empty = f"this node has no orphans of {volume}"
    rows = call("GET", "volumes", volume, "orphans")
    show(rows, as_json, lambda rows: table(readable(rows), columns, empty))


class Sparse:
    """A file in which blocks of zeros take no room."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file

    def write(self, data: bytes) -> None:
        """Append."""
        for start in range(0, len(data), _BLOCK):
            block = data[start : start + _BLOCK]
            if block.count(0) == len(block):
                self._file.seek(len(block), 1)
            else:
                self._file.write(block)

    def finish(self) -> None:
        """Give the file its length although it may end with zeros."""
        self._file.truncate(self._file.tell())
