"""The reference backend: volumes, nodes and their kernels, all simulated in this process.

For tests of everything that stands on the seam. It keeps the same contract as real storage, and a
test may look behind the curtain: set occupants, lose mounts, make a verb fail or wait, stop the
world between any two effects.
"""

from backends.memory.backend import MemoryBackend, MemoryOptions, MemorySettings
from backends.memory.world import Kernel, SimulatedMount, World, world

__all__ = [
    "Kernel",
    "MemoryBackend",
    "MemoryOptions",
    "MemorySettings",
    "SimulatedMount",
    "World",
    "world",
]
