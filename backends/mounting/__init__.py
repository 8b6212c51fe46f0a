"""Volumes that appear as mounts of the kernel: what all backends share that mount for themselves.

What differs between them is whose a mount is (`mounted.Owners`) and how a volume is mounted.
"""

from backends.mounting.backend import MountingBackend

__all__ = ["MountingBackend"]
