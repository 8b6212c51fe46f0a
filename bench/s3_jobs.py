"""What is measured in each place: fio's jobs, warm and cold, and sysbench on MariaDB."""

import json
import subprocess
import time
from collections.abc import Callable, Mapping

from bench import data_path
from bench.mariadb import transactions_per_second
from bench.s3_places import KedgePlace, Place

Job = Callable[[Place, int], float]
SYNCED = "4K random write + fsync, IOPS"
WARM = "4K random read, warm, IOPS"
COLD = "4K random read, cold, IOPS"
WRITE = "1M sequential write + one fsync, MiB/s"
STORED = "1M sequential write, until it is stored, MiB/s"
READ_COLD = "1M sequential read, cold, MiB/s"
SYSBENCH = "sysbench oltp_write_only, tps"
FILE = "256M"


def _synced(place: Place, seconds: int) -> float:
    options = ["--rw=randwrite", "--bs=4k", "--fsync=1", "--ioengine=psync"]
    return data_path.fio(place.path, options, seconds)


def _warm(place: Place, seconds: int) -> float:
    return data_path.fio(place.path, ["--rw=randread", "--bs=4k", "--direct=1"], seconds)


def _cold(place: Place, seconds: int) -> float:
    return _after_forgetting(place, "randread", "4k", ["--time_based", f"--runtime={seconds}"])


def _read_cold(place: Place, seconds: int) -> float:
    return _after_forgetting(place, "read", "1M", [])


def _write(place: Place, seconds: int) -> float:
    return data_path.fio(place.path, ["--rw=write", "--bs=1M", "--end_fsync=1"], seconds)


def _stored(place: Place, seconds: int) -> float:
    """Of kedge's volumes: how fast a stream reaches the store."""
    if not isinstance(place, KedgePlace):
        return _write(place, seconds)
    place.settle()
    began = time.monotonic()
    _fio(place, "write", "1M", ["--end_fsync=1"])
    place.settle()
    found = 256 / (time.monotonic() - began)
    (place.path / "cold.0.0").unlink()
    return found


def _sysbench(place: Place, seconds: int) -> float:
    return transactions_per_second(place.path, 2 * seconds)


JOBS: Mapping[str, Job] = {
    SYNCED: _synced,
    WARM: _warm,
    COLD: _cold,
    WRITE: _write,
    STORED: _stored,
    READ_COLD: _read_cold,
    SYSBENCH: _sysbench,
}


def _after_forgetting(place: Place, mode: str, block: str, options: list[str]) -> float:
    """Reads of a file that is only where the place keeps it for good."""
    _fio(place, "write", "1M", ["--end_fsync=1"])
    place.forget()
    side = _fio(place, mode, block, ["--direct=1", *options])["read"]
    (place.path / "cold.0.0").unlink()
    return float(side["bw_bytes"] / 2**20 if block == "1M" else side["iops"])


def _fio(place: Place, mode: str, block: str, options: list[str]) -> dict[str, dict[str, float]]:
    command = ["fio", "--name=cold", f"--directory={place.path}", f"--size={FILE}"]
    argv = [*command, f"--rw={mode}", f"--bs={block}", *options, "--output-format=json"]
    done = subprocess.run(argv, check=True, capture_output=True, text=True)
    found: dict[str, dict[str, float]] = json.loads(done.stdout)["jobs"][0]
    return found
