"""What a process has freed goes back to the host."""

from pathlib import Path

from backends.host.memory import give_back


def _resident() -> int:
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) << 10
    raise AssertionError("no VmRSS")


def test_what_was_freed_between_other_things_goes_back() -> None:
    taken = [bytearray(b"x" * 4000) for _ in range(16384)]
    full = _resident()
    taken = taken[::64]  # what stays keeps the heap from being cut at its end
    give_back()
    assert len(taken) == 256
    assert _resident() < full - (32 << 20)
