"""The log-structured virtual disk: a block device whose truth is a log in an object store."""
