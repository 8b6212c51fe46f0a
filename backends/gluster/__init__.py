"""Volumes on a GlusterFS volume, as directories or as images.

    pool ── control client ── records, catalog, making and deleting data   (one per profile)
     └───── client of a volume ── bound at the target                      (one per attached volume)

A client is a FUSE process that outlives this service. Every attached volume has its own, so that
it can be cut off, crash and be replaced alone.
"""

from backends.gluster.backend import GlusterBackend

__all__ = ["GlusterBackend"]
