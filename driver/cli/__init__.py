"""`kedge ...`: the operator's command line. Tables for people, --json for programs."""

from collections.abc import Callable, Sequence
from pathlib import Path

import click

from backends.options import HelpTables
from driver.cli import inspection, machine, snapshots, trash, volumes
from driver.cli.calling import EXIT_CODES, Caller

COMMANDS: Sequence[click.Command] = (
    volumes.ls,
    volumes.inspect,
    volumes.resize,
    volumes.rewrap,
    volumes.takeover,
    snapshots.snapshot,
    trash.trash,
    inspection.fsck,
    inspection.export,
    inspection.cut,
    inspection.orphans,
    machine.doctor,
    machine.version,
)


def commands(
    admin_socket: Callable[[], Path],
    option_tables: Callable[[], HelpTables],
) -> click.Group:
    """The operator's commands; `serve` and `init` are added by the composition root."""

    @click.group(context_settings={"help_option_names": ["-h", "--help"]}, epilog=EXIT_CODES)
    @click.option(
        "--socket", type=click.Path(path_type=Path), help="The operator's socket of the service."
    )
    @click.pass_context
    def kedge(context: click.Context, socket: Path | None) -> None:
        """Docker volumes that move with their service."""
        context.obj = Caller(socket or admin_socket())

    for command in COMMANDS:
        kedge.add_command(command)
    kedge.add_command(machine.options_of(option_tables))
    return kedge
