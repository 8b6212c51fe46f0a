"""What a client must do, and must not, while a database trusts it.

Each is an option of the Gluster volume, which concerns all who use it and is set on its servers.
All of them are read by clients, so a client can also be told on its command line.
"""

from collections.abc import Sequence

WANTED = {
    "cluster.post-op-delay-secs": "0",
    "performance.write-behind": "off",
    "performance.stat-prefetch": "off",
    "performance.quick-read": "off",
    "performance.io-cache": "off",
    "performance.read-ahead": "off",
    "performance.readdir-ahead": "off",
    "performance.strict-o-direct": "on",
    "performance.read-after-open": "yes",
}
"""From Gluster's own option group `db-workload`, those that decide what a database reads back, and
the delay that decides whether what was synced is kept. None of them is so by default."""

_LAYERS = ("write-behind", "md-cache", "quick-read", "io-cache", "read-ahead", "readdir-ahead")
"""The layers that these options switch off, by the names that clients have for them."""


def flags() -> Sequence[str]:
    """The same for glusterfs(8): layers are passed through, whether they are there or not."""
    told = {f"*-{layer}.pass-through": "true" for layer in (*_LAYERS, "open-behind")}
    told["*-replicate-*.post-op-delay-secs"] = "0"
    return [f"--xlator-option={option}={value}" for option, value in told.items()]
