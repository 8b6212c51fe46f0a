"""What `kedge doctor` says of a profile's bucket."""

from collections.abc import Iterator
from datetime import datetime
from email.utils import parsedate_to_datetime
from pathlib import Path

from backends.ambient import utc_now
from backends.base import Finding, Level
from backends.errors import KedgeError
from backends.s3.options import S3Settings
from backends.stores.bucket import Bucket, described

_ODD_SECONDS, _REFUSED_SECONDS = 30, 900
"""S3 refuses signatures that are older than a quarter of an hour."""


def examined(settings: S3Settings, bucket: Bucket) -> Iterator[Finding]:
    """Files, credentials, reachability and clocks. An error is the last finding."""
    subject = f"bucket {settings.bucket}"
    for name in ("credentials", "ca_file", "keys"):
        path = getattr(settings, name)
        if path is not None and (fault := _unreadable(path)):
            yield Finding(Level.ERROR, f"{name} {path}", fault, f"correct the profile's {name}=")
            return
    try:
        found = described(bucket)
    except KedgeError as error:
        yield Finding(Level.ERROR, subject, error.message, "correct the profile's settings")
        return
    yield Finding(Level.OK, subject, f"reachable, with credentials from {found.credentials}")
    yield from clocks(found.clock, datetime.fromisoformat(utc_now()))


def clocks(store: str, here: datetime) -> Iterator[Finding]:
    """Compare this machine's clock with the date in an answer."""
    try:
        apart = (here - parsedate_to_datetime(store)).total_seconds()
    except (TypeError, ValueError):
        return
    if abs(apart) > _ODD_SECONDS:
        level = Level.ERROR if abs(apart) > _REFUSED_SECONDS else Level.WARNING
        detail = f"{abs(apart):.0f} s {'ahead of' if apart > 0 else 'behind'} that of the store"
        advice = "set it right; stores refuse requests when it is off by a quarter of an hour"
        yield Finding(level, "this machine's clock", detail, advice)


def _unreadable(path: Path) -> str:
    try:
        next(path.iterdir(), None) if path.is_dir() else path.read_bytes()
    except OSError as error:
        return error.strerror or str(error)
    return ""
