"""What the verbs of this node share: who stores, what is known and promised, and who may act."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from backends.base import Backend
from driver.attachments import Attachments
from driver.inventory import Inventory
from driver.ledger import Ledger
from driver.locks import Locks
from driver.ownership import Ownership
from driver.settings import Settings


@dataclass(frozen=True)
class Parts:
    """Made once, by `Volumes`; each part is thread-safe. `backends` and `owners` by profile."""

    settings: Settings
    backends: Mapping[str, Backend[Any, Any]]
    owners: Mapping[str, Ownership]
    ledger: Ledger
    inventory: Inventory
    attachments: Attachments
    locks: Locks
    now: Callable[[], str]

    def moment(self) -> datetime:
        """Now, for people."""
        return datetime.fromisoformat(self.now())
