"""What a volume costs a month in requests and bytes, from what was counted. Pure.

The prices are AWS's list prices of S3 Standard in us-east-1, as known when this was written; look
them up before you rely on them. Requests within the region cost no traffic.
"""

from collections.abc import Mapping

DEAR = 0.005 / 1000
"""USD for a PUT, COPY, POST or LIST."""
CHEAP = 0.0004 / 1000
"""... for a GET, HEAD or any other; a DELETE costs nothing."""
GIB_MONTH = 0.023
"""... for keeping a GB a month (the first 50 TB); taken per GiB here."""
HOURS = 730
PRICES = (
    "USD 0.005 per 1,000 PUT or LIST, 0.0004 per 1,000 GET or HEAD, 0.023 per GB and month "
    "(S3 Standard, us-east-1, list prices)"
)


def requests_per_month(per_hour: Mapping[str, float]) -> float:
    """USD for requests by verb (`LIST` besides HTTP's own)."""
    dear = sum(per_hour.get(verb, 0) for verb in ("PUT", "POST", "COPY", "LIST"))
    cheap = sum(per_hour.get(verb, 0) for verb in ("GET", "HEAD"))
    return HOURS * (dear * DEAR + cheap * CHEAP)


def storage_per_month(stored: float) -> float:
    """USD for so many bytes."""
    return stored / 2**30 * GIB_MONTH
