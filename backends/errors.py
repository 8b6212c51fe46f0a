"""Everything that can go wrong at the seam, as one tree.

    KedgeError
     ├── Invalid            the request is wrong; the caller must change it
     │    ├── InvalidName
     │    └── InvalidOptions    .problems: every problem at once
     ├── NotFound           no such volume, and this is certain
     ├── Exists             the name is taken by a volume with other options
     ├── InUse              somebody holds the volume; wait, or stop them
     │    └── Claimed           another node may write it
     ├── NotSupported       this backend or layout cannot do that, ever
     ├── NoSpace            the storage is full, or a quota is reached
     ├── Conflict           a compare-and-swap lost; read again and decide anew
     ├── Unavailable        the answer is not known now; nothing is implied; try again
     │    ├── Busy              another call works on this volume
     │    └── DeadlineExceeded  the work goes on, the caller stops waiting
     ├── Fenced             this node has lost the volume; stop writing
     ├── Damaged            what was read contradicts itself; never repaired in silence
     └── HostError          the machine refused: a mount, a device, a program

A class exists only where the caller acts differently. `code` is stable (API, exit codes, metrics);
the message is one sentence for a person: what is wrong, with what, what to do.
"""

from collections.abc import Sequence
from typing import ClassVar


class KedgeError(Exception):
    """Root of the tree. `retryable`: the same call may succeed later without any change."""

    code: ClassVar[str] = "error"
    retryable: ClassVar[bool] = False

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.message = message


class Invalid(KedgeError):
    """The request can never succeed as it stands."""

    code = "invalid"


class InvalidName(Invalid):
    """The volume name is outside the allowed alphabet or length."""

    code = "invalid-name"


class InvalidOptions(Invalid):
    """One or more options or settings are wrong; `problems` lists every one of them."""

    code = "invalid-options"

    def __init__(self, subject: str, problems: Sequence[str]) -> None:
        super().__init__(f"{subject}: " + "; ".join(problems))
        self.problems = tuple(problems)


class NotFound(KedgeError):
    """There is certainly no such volume. Never raised when the storage could not be asked."""

    code = "not-found"


class Exists(KedgeError):
    """The name belongs to a volume that differs from what was asked for."""

    code = "exists"


class InUse(KedgeError):
    """The volume is held; the message names the holders."""

    code = "in-use"
    retryable = True


class Claimed(InUse):
    """Another node has the right to write the volume; the message names it and its lease age.

    `retry_after`: in so many seconds the lease may be over; None when only a release helps."""

    code = "claimed"

    def __init__(self, message: str, *, retry_after: float | None = None) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class NotSupported(KedgeError):
    """The backend or layout cannot do this; the message says which one can."""

    code = "not-supported"


class NoSpace(KedgeError):
    """The storage has no room, or a quota is reached. Nothing was half-done."""

    code = "no-space"


class Conflict(KedgeError):
    """The expected version is not the current one. Nothing was written."""

    code = "conflict"
    retryable = True


class Unavailable(KedgeError):
    """The storage cannot be asked now. Says nothing about whether the volume exists."""

    code = "unavailable"
    retryable = True


class Busy(Unavailable):
    """Another call holds this volume's lock."""

    code = "busy"


class DeadlineExceeded(Unavailable):
    """The caller's time is over; the work goes on and its outcome will be recorded."""

    code = "deadline"


class Fenced(KedgeError):
    """This node lost its claim: nothing it writes from now on belongs to the volume."""

    code = "fenced"


class Damaged(KedgeError):
    """Stored data contradicts itself (checksum, format, identity)."""

    code = "damaged"


class HostError(KedgeError):
    """A system call or program on this machine failed; the message holds its own words."""

    code = "host"
