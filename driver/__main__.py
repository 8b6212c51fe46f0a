"""The composition root: settings -> backends -> Volumes -> front ends. Console script `kedge`.

The only module that knows both sides of the seam, and one of the few that touch the ambient
clock, environment and randomness; everything else is handed them.
"""

import atexit
import logging
import os
import platform
import secrets
import sys
import time
import uuid
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any
from wsgiref.types import WSGIApplication

import click

import backends
from backends.base import Backend, Context
from backends.errors import HostError, Invalid, InvalidOptions, KedgeError
from backends.options import HelpTables, describe, parse
from driver import cli

if TYPE_CHECKING:
    from driver.ownership import Ownership

from driver.settings import HOST, MANAGED, Paths, Settings, load, relocated

TRY_AGAIN = 30.0
"""Seconds until a service that could not be put together is tried again."""
HANDOVER = 15.0
"""Seconds in which the service before this one may finish what it is doing."""


def main() -> None:
    """Run the command line."""
    group = cli.commands(admin_socket=lambda: _paths().admin_socket, option_tables=option_tables)
    group.add_command(serve)
    group(prog_name="kedge")


managed_flag = click.option("--managed", is_flag=True, help="Inside Docker's managed plugin.")


@click.command()
@managed_flag
def serve(managed: bool) -> None:
    """Run the service (systemd or the plugin's init call this)."""
    from driver.server import Server, prepare  # gunicorn: not for every `kedge ls`

    paths = _paths(managed)
    try:
        prepare([paths.socket, paths.admin_socket], inherited="LISTEN_FDS" in os.environ)
    except OSError as error:
        sys.exit(f"kedge: {error}")
    sys.argv = sys.argv[:1]  # gunicorn must not read ours
    Server(paths.socket, paths.admin_socket, lambda: compose(paths)).run()


def compose(paths: Paths) -> tuple[WSGIApplication, WSGIApplication]:
    """Put the service together and start its keeper; in the worker process, after the fork. What
    cannot be put together is a service that says why, and that is tried again."""
    from driver import broken, server

    say = logging.getLogger(__name__)
    try:
        return _service(_settings(paths))
    except KedgeError as error:
        problem = str(error)
    except Exception:
        say.exception("kedge cannot start by a fault of its own")
        problem = "kedge cannot start by a fault of its own; its log has the details"
    say.error("%s (tried again in %.0f s)", problem, TRY_AGAIN)
    server.renew_in(TRY_AGAIN)
    return broken.app(problem), broken.operator_app(problem)


def _settings(paths: Paths) -> Settings:
    from driver import log

    level = "info"
    try:
        settings = load(paths, os.environ, _hostname())
        level = settings.log_level
        return settings
    finally:
        log.set_up(level)


def _service(settings: Settings) -> tuple[WSGIApplication, WSGIApplication]:
    from backends.host.outside import Outside
    from driver import admin, docker, exclusive
    from driver.doctor import Doctor
    from driver.guard import Guards
    from driver.keeper import Keeper, Pace
    from driver.ledger import Ledger
    from driver.volumes import Volumes

    made = open_backends(settings)
    exclusive.hold(settings.paths.state / "service.lock", HANDOVER, time.sleep)
    _make(settings.paths.mounts)
    ledger = Ledger(settings.paths.state / "ledger.db")
    owners = {name: _ownership(settings, name, backend) for name, backend in made.items()}
    volumes = Volumes(
        settings,
        made,
        ledger,
        owners=owners,
        clock=time.monotonic,
        now=_now,
        new_uuid=uuid.uuid4,
        must_see=Outside(settings.paths.mounts).must_see,
    )
    Guards(volumes, time.monotonic).start()
    keeper = Keeper(volumes, Pace(), time.monotonic)
    keeper.start()
    atexit.register(ledger.close)
    atexit.register(keeper.stop)
    return docker.app(volumes), admin.app(volumes, Doctor(volumes, ledger, platform.release()))


def _ownership(settings: Settings, profile: str, backend: Backend[Any, Any]) -> "Ownership":
    from driver.ownership import Ownership
    from driver.sessions import Sessions

    boot_id = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    sessions = Sessions(settings.paths.state / "profiles" / f"{profile}.sessions", boot_id)
    return Ownership(
        backend,
        node=settings.node,
        terms=settings.terms(),
        clock=lambda: time.clock_gettime(time.CLOCK_BOOTTIME),
        sleep=time.sleep,
        now=_now,
        new_session=lambda: secrets.token_hex(8),
        own=sessions.own,
        remember=sessions.remember,
    )


def _make(directory: Path) -> None:
    try:
        directory.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise HostError(f"{error}; make its place writable") from error


def open_backends(settings: Settings) -> dict[str, Backend[Any, Any]]:
    """One backend per profile. InvalidOptions with the problems of all profiles."""
    made: dict[str, Backend[Any, Any]] = {}
    problems: list[str] = []
    for profile in settings.profiles.values():
        try:
            cls = backends.load(profile.backend)
            subject = f"profile {profile.name}"
            own = parse(cls.Settings, profile.settings, subject=subject, word="setting")
            parse(cls.Options, profile.defaults, subject=f"defaults of {profile.name}")
        except InvalidOptions as error:
            problems.append(str(error))
            continue
        except Invalid as error:
            problems.append(f"profile {profile.name}: {error}")
            continue
        context = Context(
            profile=profile.name,
            node=settings.node,
            mounts=settings.paths.mounts,
            state=settings.paths.state / "profiles" / profile.name,
            trust=settings.terms().trust - settings.lease_renew,
        )
        made[profile.name] = cls(own, context)
    if problems:
        raise InvalidOptions(f"settings in {settings.paths.config}", problems)
    return made


def option_tables() -> HelpTables:
    """The help tables of every backend whose libraries are here."""
    tables = {}
    for name in backends.known():
        try:
            found = backends.load(name)
        except Invalid:
            continue  # its client libraries are not installed on this node
        tables[name] = {"options": describe(found.Options), "settings": describe(found.Settings)}
    return tables


def _paths(managed: bool | None = None) -> Paths:
    """The preset of this packaging, moved by KEDGE_* variables."""
    if managed is None:
        managed = MANAGED.mounts.is_dir() and MANAGED.data.parent.is_dir()
    return relocated(MANAGED if managed else HOST, os.environ)


def _hostname() -> str:
    return platform.node() or "node"


def _now() -> str:
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


if __name__ == "__main__":
    main()
