"""Ceph: volumes as CephFS subvolumes (`layout=filesystem`) or RBD images (`layout=disk`)."""

from backends.ceph.backend import CephBackend

__all__ = ["CephBackend"]
