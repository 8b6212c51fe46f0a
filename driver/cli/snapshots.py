"""`kedge snapshot`."""

import click

from driver.cli.calling import Caller, as_json, readable, show, table


@click.group("snapshot")
def snapshot() -> None:
    """What a volume held at one moment: take it, go back to it, make a new volume from it."""


@snapshot.command("create")
@click.argument("volume")
@click.argument("name", required=False)
@as_json
@click.pass_obj
def create(call: Caller, volume: str, name: str | None, as_json: bool) -> None:
    """Keep what VOLUME holds now as NAME (by default named after the moment)."""
    taken = call.follow("copying", "volumes", volume, "snapshots", name=name or "")
    show(taken, as_json, lambda one: f"{volume}@{one['name']} is taken")


@snapshot.command("ls")
@click.argument("volume")
@as_json
@click.pass_obj
def list_(call: Caller, volume: str, as_json: bool) -> None:
    """List the snapshots of VOLUME, oldest first."""
    columns = {"name": "NAME", "created": "CREATED", "by": "BY", "size": "SIZE", "used": "USED"}
    empty = f"no snapshots; take one: kedge snapshot create {volume}"
    rows = call("GET", "volumes", volume, "snapshots")
    show(rows, as_json, lambda rows: table(readable(rows), columns, empty))


@snapshot.command("rm")
@click.argument("volume")
@click.argument("name")
@as_json
@click.pass_obj
def remove(call: Caller, volume: str, name: str, as_json: bool) -> None:
    """Remove the snapshot NAME of VOLUME."""
    path = ("volumes", volume, "snapshots", name)
    removed = call.follow("removing", *path, method="DELETE")
    show(removed, as_json, lambda one: f"{volume}@{one['removed']} is removed")


@snapshot.command("restore")
@click.argument("volume")
@click.argument("name")
@click.option("--yes", is_flag=True, help="Do not ask.")
@as_json
@click.pass_obj
def restore(call: Caller, volume: str, name: str, yes: bool, as_json: bool) -> None:
    """Let VOLUME hold again what it held when NAME was taken. What it holds now is lost."""
    if not yes:
        click.confirm(f"what {volume} holds now will be lost; go back to {name}?", abort=True)
    restored = call.follow("copying", "volumes", volume, "snapshots", name, "restore")
    show(restored, as_json, lambda one: f"{volume} is as it was at {one['restored']}")


@snapshot.command("clone")
@click.argument("source", metavar="VOLUME[@NAME]")
@click.argument("volume", metavar="NEW")
@as_json
@click.pass_obj
def clone(call: Caller, source: str, volume: str, as_json: bool) -> None:
    """Make the volume NEW from VOLUME, or from its snapshot NAME. The same as
    `docker volume create -d kedge -o from=VOLUME@NAME NEW`, and like that it needs the other no
    longer once it is there."""
    made = call.follow("copying", "volumes", volume, "clone", source=source)
    show(made, as_json, lambda one: f"volume {one['name']} is made from {source}")
