"""Requests and replies as Docker writes them: bytes in, checked values out. Pure.

Docker sends no Content-Type, escapes freely, sends `null` for no options, and repeats a request
whose connection broke with an EMPTY body. So a body is read raw, and an empty or nameless one is
an error, never a volume without a name.
"""

import json
from dataclasses import dataclass
from typing import Any

from backends.errors import Invalid

MAX_BODY = 1024 * 1024
MAX_ID = 256
MAX_OPTIONS = 100


@dataclass(frozen=True)
class Request:
    """The fields of any request; those it does not carry are empty."""

    name: str = ""
    mount_id: str = ""
    options: tuple[tuple[str, str], ...] = ()


def decode(body: bytes, *, needs_id: bool = False) -> Request:
    """Read the body of a request that names a volume. Invalid says what is wrong with it."""
    document = _document(body)
    name = document.get("Name")
    if not isinstance(name, str) or not name:
        raise Invalid("the request names no volume; give a name")
    mount_id = document.get("ID", "")
    if needs_id and not (isinstance(mount_id, str) and 0 < len(mount_id) <= MAX_ID):
        raise Invalid(f"the request for volume {name[:40]!r} has no usable mount ID")
    return Request(name, mount_id if needs_id else "", _options(document.get("Opts")))


def _document(body: bytes) -> dict[str, Any]:
    if not body.strip():
        raise Invalid("the request is empty; a repeat of a lost request is not carried out")
    if len(body) > MAX_BODY:
        raise Invalid(f"the request is longer than {MAX_BODY} bytes")
    try:
        document = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise Invalid(f"the request is not JSON ({str(error)[:100]})") from None
    if not isinstance(document, dict):
        raise Invalid("the request is not a JSON object")
    return document


def _options(raw: object) -> tuple[tuple[str, str], ...]:
    if raw is None:
        return ()
    if not isinstance(raw, dict):
        raise Invalid("Opts is not an object of text values")
    if len(raw) > MAX_OPTIONS:
        raise Invalid(f"the request has {len(raw)} options; at most {MAX_OPTIONS} are read")
    for key, value in raw.items():
        if not isinstance(value, str):
            raise Invalid(f"option {key[:60]!r} is not text")
    return tuple(raw.items())
