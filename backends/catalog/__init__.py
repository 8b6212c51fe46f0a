"""The catalog: which volumes a profile has, kept in Records, the same for every backend."""

from backends.catalog.backend import CatalogedBackend
from backends.catalog.entry import Entry, State
from backends.catalog.removal import Data
from backends.catalog.volumes import Catalog

__all__ = ["Catalog", "CatalogedBackend", "Data", "Entry", "State"]
