"""Volumes in an S3 bucket: each a disk of its own that can carry a database."""

from backends.s3.backend import S3Backend

__all__ = ["S3Backend"]
