"""Object stores: the few verbs that records and the virtual disk need, over memory or S3."""

from backends.stores.base import Listed, Store

__all__ = ["Listed", "Store"]
