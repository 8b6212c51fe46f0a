"""Versions of a record kept as a file name: numbered, never repeated, with their ancestors.

A version is written `7.<nonce>.<a6>.<a5>...`: a number, 64 random bits, and the first 32 bits of
the nonces of up to eight versions before it. The random part makes a version unique for ever, also
when a key is removed and made again and the numbers start anew. The ancestors answer the question
that a lost reply leaves behind: "was mine among those that came before the present one?"
"""

import re
from dataclasses import dataclass

ANCESTORS = 8
_SHORT = 8
_FORM = re.compile(
    rf"([1-9][0-9]{{0,15}})\.([0-9a-f]{{16}})((?:\.[0-9a-f]{{{_SHORT}}}){{0,{ANCESTORS}}})"
)


@dataclass(frozen=True)
class Version:
    """One state of one key. `ancestors`: shortened nonces, the youngest first."""

    number: int
    nonce: str
    ancestors: tuple[str, ...] = ()

    @classmethod
    def parse(cls, text: str) -> "Version | None":
        """The version written as `text`, or None when `text` is not one."""
        found = _FORM.fullmatch(text)
        if not found:
            return None
        ancestors = tuple(found[3].split(".")[1:])
        return cls(int(found[1]), found[2], ancestors)

    def __str__(self) -> str:
        return ".".join((str(self.number), self.nonce, *self.ancestors))

    def child(self, nonce: str) -> "Version":
        """The version that replaces this one."""
        line = (self.nonce[:_SHORT], *self.ancestors)
        return Version(self.number + 1, nonce, line[:ANCESTORS])

    def descends(self, older: "Version") -> bool:
        """Whether `older` is this version or one of its known ancestors."""
        distance = self.number - older.number
        line = (self.nonce[:_SHORT], *self.ancestors)
        return 0 <= distance < len(line) and line[distance] == older.nonce[:_SHORT]
