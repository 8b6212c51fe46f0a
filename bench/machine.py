"""What a figure was measured on, for the head of a table."""

import os
import platform
from pathlib import Path


def described() -> dict[str, str | int]:
    """Processor, its count, memory, kernel and Python of this machine; its load a minute ago."""
    processor = next(
        (
            line.partition(":")[2].strip()
            for line in Path("/proc/cpuinfo").read_text().splitlines()
            if line.startswith("model name")
        ),
        platform.machine(),
    )
    memory = int(Path("/proc/meminfo").read_text().split()[1]) // 1024
    return {
        "processor": processor,
        "cpus": os.cpu_count() or 0,
        "memory_mib": memory,
        "kernel": platform.release(),
        "python": platform.python_version(),
        "load": f"{os.getloadavg()[0]:.1f}",
    }
