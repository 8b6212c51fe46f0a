"""`kedge ls`, `inspect`, `resize`, `rewrap`, `takeover`."""

from typing import Any

import click
from tabulate import tabulate

from driver.cli.calling import Caller, as_json, show, table


@click.command("ls")
@as_json
@click.pass_obj
def ls(call: Caller, as_json: bool) -> None:
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

    listed, unheard = call("GET", "volumes"), call("GET", "unheard")
    none = "no volumes" if unheard else "no volumes; make one: docker volume create -d kedge NAME"

    def shown(volumes: Any) -> str:
        return table([{**volume["status"], **volume} for volume in volumes], columns, none)

    show(listed, as_json, shown)
    for profile, why in unheard.items():
        click.echo(f"kedge: profile {profile} may have others; it cannot be asked: {why}", err=True)


@click.command("inspect")
@click.argument("name")
@as_json
@click.pass_obj
def inspect(call: Caller, name: str, as_json: bool) -> None:
    """Show everything about the volume NAME."""

    def shown(volume: Any) -> str:
        facts = {k: v for k, v in volume.items() if k != "status"} | volume["status"]
        return tabulate(list(facts.items()), tablefmt="plain", disable_numparse=True)

    show(call("GET", "volumes", name), as_json, shown)


@click.command("resize")
@click.argument("name")
@click.argument("size")
@as_json
@click.pass_obj
def resize(call: Caller, name: str, size: str, as_json: bool) -> None:
    """Let the volume NAME grow to SIZE (such as 20G); it never shrinks."""
    show(
        call("POST", "volumes", name, "resize", size=size),
        as_json,
        lambda done: f"{done['name']}: {done['size']}, takes effect {done['takes_effect']}",
    )


@click.command("rewrap")
@click.argument("name")
@click.argument("key")
@as_json
@click.pass_obj
def rewrap(call: Caller, name: str, key: str, as_json: bool) -> None:
    """Let the key KEY open the encrypted volume NAME, instead of the one that does so now.

    KEY is the name of a file in the profile's `keys` directory. Put it there on every node first:
    a node without it cannot mount the volume, or start its server again, from then on. Data are
    not written again: whoever had the old key and a copy of the bucket can still read that copy.
    Snapshots open with the new key, too; a clone keeps the key that it has."""
    show(
        call("POST", "volumes", name, "rewrap", key=key),
        as_json,
        lambda done: f"{done['name']}: opened by the key {done['encrypt']} from now on",
    )


@click.command("takeover")
@click.argument("name")
@click.option("--yes", is_flag=True, help="Do not ask.")
@as_json
@click.pass_obj
def takeover(call: Caller, name: str, yes: bool, as_json: bool) -> None:
    """Free the volume NAME from a node that is dead, without waiting for its lease.

    Only if you know that the node is dead or cut off: where the storage cannot fence it, its
    containers could go on writing."""
    if not yes:
        owner = call("GET", "volumes", name)["status"].get("owner") or "nobody"
        click.confirm(f"{name} is held by {owner}; is that node certainly dead?", abort=True)
    show(
        call("POST", "volumes", name, "takeover"),
        as_json,
        lambda volume: f"{volume['name']} is free; the next mount gets it",
    )
