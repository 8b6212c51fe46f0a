"""Who may write a volume: claims with an epoch that only rises."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Claim:
    """The right of one node to write one volume, as granted under `epoch`."""

    uuid: str
    node: str
    session: str
    epoch: int
