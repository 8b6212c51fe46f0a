"""One catalog record: what it says and how it is written.

    volumes/<name>   creating ──> ready ──> removing ──> (gone)
                                   │ ^
                                   v │
                                  kept

    trash/<uuid>     trashed ──> restoring ──> (gone; `volumes/<name>` is ready again)
                        └──────> purging ────> (gone for good)

Only `ready` is a volume to anybody outside; the other states are work that some call has begun
and the next one finishes.
"""

import enum
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Generic

from backends.base import O, OnRemove, Volume
from backends.errors import Damaged, Invalid, InvalidOptions
from backends.options import parse, to_strings
from backends.records import Record

FORMAT = 1
_UUID = re.compile(r"[a-zA-Z0-9][a-zA-Z0-9-]{0,56}")


class State(enum.Enum):
    """Where a volume stands between two calls."""

    CREATING = "creating"
    READY = "ready"
    KEPT = "kept"
    REMOVING = "removing"
    TRASHED = "trashed"
    RESTORING = "restoring"
    PURGING = "purging"


@dataclass(frozen=True)
class Entry(Generic[O]):
    """One record as read. `version` is what the next change must expect."""

    volume: Volume[O]
    state: State
    version: str
    fate: OnRemove = OnRemove.DELETE
    """What a removal under way will do with the data."""
    removed: str = ""
    name: str = ""
    """The name a restoration under way gives the volume."""


def encode(entry: Entry[Any]) -> bytes:
    """The record's value."""
    volume = entry.volume
    content = {
        "format": FORMAT,
        "uuid": volume.uuid,
        "name": volume.name,
        "created": volume.created,
        "state": entry.state.value,
        "options": to_strings(volume.options),
        "fate": entry.fate.value if entry.state is State.REMOVING else None,
        "removed": entry.removed or None,
        "as": entry.name or None,
    }
    return json.dumps({k: v for k, v in content.items() if v is not None}).encode()


def decode(record: Record, options: type[O]) -> Entry[O]:
    """Read a record. Raises Damaged, naming it, when it is of a newer format or makes no sense:
    it may be all that is left of somebody's volume, so nobody overwrites it."""
    try:
        content = json.loads(record.value)
        if content["format"] != FORMAT:
            raise ValueError(
                f"has format {content['format']!r}; this version of kedge reads format {FORMAT}"
            )
        entry = _entry(content, record, options)
    except (ValueError, KeyError, TypeError, InvalidOptions) as error:
        detail = f"lacks {error}" if isinstance(error, KeyError) else str(error)
        raise Damaged(f"record {record.key} cannot be read: {detail}") from error
    expected = entry.volume.name if record.key.startswith("volumes/") else entry.volume.uuid
    if record.key.partition("/")[2] != expected:
        raise Damaged(f"record {record.key} describes another volume: {expected}")
    return entry


def _entry(content: Mapping[str, Any], record: Record, options: type[O]) -> Entry[O]:
    volume = Volume(
        name=str(content["name"]),
        uuid=checked_uuid(content["uuid"]),
        created=str(content["created"]),
        options=parse(options, dict(content["options"]), subject="options"),
    )
    return Entry(
        volume=volume,
        state=State(content["state"]),
        version=record.version,
        fate=OnRemove(content.get("fate", OnRemove.DELETE.value)),
        removed=str(content.get("removed", "")),
        name=str(content.get("as", "")),
    )


def checked_uuid(uuid: object) -> str:
    """Return `uuid` if it may become part of a path, else raise ValueError."""
    if not isinstance(uuid, str) or not _UUID.fullmatch(uuid):
        raise ValueError(f"uuid {str(uuid)[:60]!r} is not allowed")
    return uuid


def known_uuid(uuid: str) -> str:
    """Return `uuid` as a person gave it if it can be one, else raise Invalid."""
    try:
        return checked_uuid(uuid)
    except ValueError as error:
        raise Invalid(str(error)) from error
