"""Settings: defaults in code, then /etc/kedge/kedge.toml, then KEDGE_* variables.

The defaults live here and not in a packaged file, because `docker plugin upgrade` keeps the old
plugin's environment: what a new version needs must come with its code. Every problem is found at
once; nothing is half applied.
"""

import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from types import MappingProxyType
from typing import Any

from backends.errors import Invalid, InvalidOptions
from backends.leases import Terms
from backends.names import MAX_LENGTH

LOG_LEVELS = ("debug", "info", "warning", "error")
_PROFILE_NAME = re.compile(r"[a-z0-9][a-z0-9_-]{0,31}")
_NODE_NAME = re.compile(r"[a-zA-Z0-9][a-zA-Z0-9_.-]*")


@dataclass(frozen=True)
class Paths:
    """Where things are on this node; depends on the packaging only."""

    config: Path
    data: Path
    mounts: Path
    socket: Path
    admin_socket: Path
    docker_root: Path
    """Docker's own data, to look for volumes of the driver `local` that bear our names."""

    @property
    def state(self) -> Path:
        """What this node remembers: the ledger, and a directory per profile."""
        return self.data / "state"


HOST = Paths(
    config=Path("/etc/kedge/kedge.toml"),
    data=Path("/var/lib/kedge"),
    mounts=Path("/var/lib/kedge/mounts"),
    socket=Path("/run/docker/plugins/kedge.sock"),
    admin_socket=Path("/run/kedge/admin.sock"),
    docker_root=Path("/var/lib/docker"),
)
"""The systemd service."""

MANAGED = Paths(
    config=Path("/host/kedge/kedge.toml"),
    data=Path("/host/kedge"),
    mounts=Path("/mnt/kedge"),
    socket=Path("/run/docker/plugins/kedge.sock"),
    admin_socket=Path("/run/kedge/admin.sock"),
    docker_root=Path("/host/docker"),
)
"""The managed plugin: /host is a directory of the host, /mnt/kedge its propagated mount."""


def relocated(paths: Paths, environ: Mapping[str, str]) -> Paths:
    """`paths` as moved by KEDGE_CONFIG, KEDGE_DATA, KEDGE_MOUNTS, KEDGE_SOCKET, ..."""
    names = Paths.__dataclass_fields__
    moved = {
        name: Path(environ.get(f"KEDGE_{name.upper()}") or getattr(paths, name)) for name in names
    }
    return Paths(**moved)


@dataclass(frozen=True)
class Profile:
    """A configured backend as it was written; its own settings are parsed by the backend."""

    name: str
    backend: str
    settings: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))
    defaults: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))
    """Volume options that this profile sets unless the user does."""


@dataclass(frozen=True)
class Settings:
    """Everything the service was told."""

    paths: Paths
    node: str
    log_level: str
    default_backend: str
    """The profile used when a volume is created without `backend=`."""
    call_seconds: float
    """How long a call of Docker's may take; must stay below the 30 s of a managed plugin."""
    lease_ttl: float
    """Seconds after which a silent node's volumes may be taken by another."""
    lease_renew: float
    """Seconds between two signs of life."""
    profiles: Mapping[str, Profile]

    def terms(self) -> Terms:
        """The lease of this node. Invalid when no renewal could fail without losing it."""
        return Terms(ttl=self.lease_ttl, renew=self.lease_renew)


def load(paths: Paths, environ: Mapping[str, str], hostname: str) -> Settings:
    """Read the settings. Raises InvalidOptions with every problem found.

    A missing file means defaults: one profile `local` below the data directory. A file that
    cannot be read or parsed is a problem, never ignored.
    """
    problems: list[str] = []
    document = _document(paths.config, problems)
    known = {field.name for field in fields(Settings)} - {"paths"}
    problems += [
        f"unknown key {key!r}; valid: {', '.join(sorted(known))}"
        for key in sorted(set(document) - known)
    ]

    def value(key: str, default: str) -> str:
        return environ.get(f"KEDGE_{key.upper()}") or str(document.get(key, default))

    def seconds(key: str, default: float) -> float:
        return _seconds(key, value(key, str(default)), default, problems)

    profiles = _profiles(document.get("profiles", {}), paths, problems)
    made = Settings(
        paths=paths,
        node=value("node", hostname),
        log_level=value("log_level", "info").lower(),
        default_backend=value("default_backend", next(iter(profiles), "local")),
        call_seconds=seconds("call_seconds", 25.0),
        lease_ttl=seconds("lease_ttl", Terms.ttl),
        lease_renew=seconds("lease_renew", Terms.renew),
        profiles=MappingProxyType(profiles),
    )
    problems += _inconsistencies(made)
    if problems:
        raise InvalidOptions(f"settings ({paths.config} and KEDGE_* variables)", problems)
    return made


def _document(path: Path, problems: list[str]) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, RecursionError) as error:
        problems.append(f"cannot be read: {error}")
        return {}


def _profiles(document: Any, paths: Paths, problems: list[str]) -> dict[str, Profile]:
    if not isinstance(document, dict):
        problems.append("profiles is not a table; write [profiles.NAME]")
        return {}
    if not document:
        document = {"local": {"backend": "local"}}
    profiles = {}
    for name, table in document.items():
        if not _PROFILE_NAME.fullmatch(name):
            problems.append(f"profile name {name!r} is not allowed; use a-z, 0-9, '-' and '_'")
        elif not isinstance(table, dict) or not isinstance(table.get("backend"), str):
            problems.append(f'profile {name} says no backend; add backend = "..."')
        else:
            profiles[name] = _profile(name, dict(table), paths, problems)
    return profiles


def _profile(name: str, table: dict[str, Any], paths: Paths, problems: list[str]) -> Profile:
    backend = table.pop("backend")
    defaults = table.pop("defaults", {})
    if not isinstance(defaults, dict):
        problems.append(f"profile {name}: defaults is not a table")
        defaults = {}
    if backend == "local":
        table.setdefault("root", str(paths.data / name))
    return Profile(
        name=name,
        backend=backend,
        settings=_texts(name, table, problems),
        defaults=_texts(f"{name}.defaults", defaults, problems),
    )


def _texts(where: str, table: Mapping[str, Any], problems: list[str]) -> Mapping[str, str]:
    texts = {}
    for key, value in table.items():
        if isinstance(value, bool):
            texts[key] = "true" if value else "false"
        elif isinstance(value, str | int | float):
            texts[key] = str(value)
        else:
            problems.append(f"profile {where}: {key} is neither text nor a number")
    return MappingProxyType(texts)


def _seconds(key: str, text: str, default: float, problems: list[str]) -> float:
    try:
        return float(text)
    except ValueError:
        problems.append(f"{key}={text!r} is not a number")
        return default


def _inconsistencies(settings: Settings) -> list[str]:
    found = [
        f"KEDGE_{each.name.upper()}={path} is not an absolute path"
        for each in fields(settings.paths)
        if not (path := getattr(settings.paths, each.name)).is_absolute()
    ]
    if settings.log_level not in LOG_LEVELS:
        found.append(f"log_level={settings.log_level!r} is not one of {', '.join(LOG_LEVELS)}")
    if not 1 <= settings.call_seconds <= 29:
        found.append("call_seconds must lie between 1 and 29: Docker gives up after 30")
    try:
        settings.terms()
    except Invalid as error:
        found.append(str(error))
    if not _NODE_NAME.fullmatch(settings.node) or len(settings.node) > MAX_LENGTH:
        found.append(
            f"node={settings.node!r} is not a name; set node or KEDGE_NODE "
            "to letters, digits, '_', '.', '-'"
        )
    if settings.profiles and settings.default_backend not in settings.profiles:
        found.append(
            f"default_backend={settings.default_backend!r} is not a profile; "
            f"there are: {', '.join(settings.profiles)}"
        )
    return found
