"""What a backend takes from its surroundings: the time for people, and new identities."""

import uuid
from datetime import UTC, datetime


def utc_now() -> str:
    """Now, as RFC 3339 in UTC with `Z`, to the second. Nothing is ever decided by it."""
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def new_id() -> str:
    """A name that nothing else ever had."""
    return str(uuid.uuid4())
