"""A local log's files in memory: killed processes lose nothing, power cuts lose and tear."""

import random
from collections.abc import Sequence
from dataclasses import dataclass, field

from backends.disk.log.locallog import Full
from backends.errors import HostError


@dataclass
class _File:
    durable: bytearray = field(default_factory=bytearray)
    present: bytearray = field(default_factory=bytearray)
    pending: list[tuple[int, bytes]] = field(default_factory=list)


class MemoryFiles:
    """As LogFiles. `fail_sync`: syncs fail, as those of a sick disk do, and what they were to write
    is taken for written. `full`: there is no space for another file."""

    def __init__(self) -> None:
        self.files: dict[str, _File] = {}
        self._durable_names: dict[str, _File] = {}
        self.fail_sync = False
        self.full = False

    def names(self) -> list[str]:
        return sorted(self.files)

    def read(self, name: str) -> bytes:
        return bytes(self._file(name).present)

    def allocate(self, name: str, size: int) -> None:
        if self.full:
            raise Full("no space left on device")
        file = self.files.setdefault(name, _File())
        for body in (file.durable, file.present):
            body.extend(bytes(max(0, size - len(body))))

    def rename(self, old: str, new: str) -> None:
        self.files[new] = self.files.pop(old)

    def remove(self, name: str) -> None:
        self.files.pop(name, None)
        self._durable_names.pop(name, None)

    def write(self, name: str, offset: int, parts: Sequence[bytes | memoryview]) -> None:
        file, body = self._file(name), b"".join(bytes(part) for part in parts)
        file.present[offset : offset + len(body)] = body
        file.pending.append((offset, body))

    def zero(self, name: str, offset: int, length: int) -> None:
        self.write(name, offset, [bytes(length)])

    def pread(self, name: str, offset: int, length: int) -> bytes:
        return bytes(self._file(name).present[offset : offset + length])

    def sync(self, names: Sequence[str], *, directory: bool = False) -> None:
        for file in [self.files[name] for name in names if name in self.files]:
            pending, file.pending = file.pending, []
            for offset, body in () if self.fail_sync else pending:
                file.durable[offset : offset + len(body)] = body
        if self.fail_sync:
            raise HostError("fdatasync: Input/output error")
        if directory:
            self._durable_names = dict(self.files)

    def put(self, name: str, content: bytes) -> None:
        file = _File(bytearray(content), bytearray(content))
        self.files[name] = self._durable_names[name] = file

    def close(self) -> None:
        pass

    def cut_power(self, chance: random.Random) -> None:
        """Unsynced writes survive or not, each for itself, whole or torn; names likewise."""
        if chance.random() < 0.5:
            self.files = dict(self._durable_names)
        for file in self.files.values():
            for offset, body in file.pending:
                fate = chance.random()
                kept = len(body) if fate < 0.4 else chance.randrange(len(body)) & ~511
                if fate < 0.7:
                    file.durable[offset : offset + kept] = body[:kept]
            file.present, file.pending = bytearray(file.durable), []
        self._durable_names = dict(self.files)

    def _file(self, name: str) -> _File:
        if name not in self.files:
            raise HostError(f"{name}: no such file")
        return self.files[name]
