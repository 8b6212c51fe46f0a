"""Volumes below one directory of this node, or of a file system that many nodes share."""

from backends.local.backend import LocalBackend

__all__ = ["LocalBackend"]
