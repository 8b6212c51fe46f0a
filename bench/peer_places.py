"""Other ways to have files in a bucket, mounted as their own documentation says, with their caches:
those that Debian has, and JuiceFS where it is on the PATH."""

import os
import shutil
import subprocess
import time
from abc import abstractmethod
from collections.abc import Mapping, Sequence
from contextlib import suppress

from bench.s3_places import Lab, Place
from tests.lab.object_store import KEY, SECRET, await_port, free_port

_SECONDS = 60.0


class Peer(Place):
    """A file system whose program runs while it is mounted. `safe`: whether what fsync confirmed
    outlives the node, as far as it is known."""

    name: str
    safe: str

    def __init__(self, lab: Lab) -> None:
        self.path = self._point = lab.home / self.name
        self._lab = lab
        self._url = lab.store.endpoint.url
        self._cache = lab.home / f"{self.name}-cache"
        self._process: subprocess.Popen[bytes] | None = None

    @abstractmethod
    def prepare(self) -> None:
        """What is done once, before it is mounted."""

    @abstractmethod
    def command(self) -> Sequence[str]:
        """The program, in the foreground."""

    def environment(self) -> Mapping[str, str]:
        """Besides our own."""
        return {}

    def open(self) -> None:
        """See Place."""
        self._point.mkdir()
        self._cache.mkdir()
        self._lab.store.bucket(f"bench-{self.name}")
        self.prepare()
        with (self._lab.home / f"{self.name}.log").open("wb") as log:
            self._process = subprocess.Popen(
                [*self.command()], stdout=log, stderr=log, env={**_clean(), **self.environment()}
            )
        until = time.monotonic() + _SECONDS
        while not self._point.is_mount():
            if self._process.poll() is not None or time.monotonic() > until:
                raise RuntimeError((self._lab.home / f"{self.name}.log").read_text()[-2000:])
            time.sleep(0.05)

    def close(self) -> None:
        """See Place. What is not in the bucket yet is given up."""
        subprocess.run(["umount", "-l", str(self._point)], check=False, capture_output=True)
        if self._process is not None:
            self._process.kill()
            self._process.wait(_SECONDS)
            self._process = None

    def forget(self) -> None:
        """See Place."""
        raise NotImplementedError("nothing is read cold here: it would wait for its uploads")


class Rclone(Peer):
    """rclone mount with the full cache."""

    name, safe = "rclone", "no: fsync does nothing"

    def prepare(self) -> None:
        """See Peer."""

    def environment(self) -> Mapping[str, str]:
        """See Peer."""
        facts = {"TYPE": "s3", "PROVIDER": "Ceph", "ENDPOINT": self._url}
        keys = {"ACCESS_KEY_ID": KEY, "SECRET_ACCESS_KEY": SECRET}
        return {f"RCLONE_CONFIG_S_{key}": value for key, value in {**facts, **keys}.items()}

    def command(self) -> Sequence[str]:
        """See Peer."""
        cache = ["--vfs-cache-mode", "full", "--cache-dir", str(self._cache)]
        return ["rclone", "mount", "s:bench-rclone", str(self._point), *cache]


class S3fs(Peer):
    """s3fs with a cache on the disk."""

    name, safe = "s3fs", "yes (but two may write)"

    def prepare(self) -> None:
        """See Peer."""
        self._password = self._lab.home / "s3fs-password"
        self._password.write_text(f"{KEY}:{SECRET}\n")
        self._password.chmod(0o600)

    def command(self) -> Sequence[str]:
        """See Peer."""
        options = f"url={self._url},use_path_request_style,passwd_file={self._password}"
        where = ["bench-s3fs", str(self._point), "-f"]
        return ["s3fs", *where, "-o", f"{options},use_cache={self._cache}"]


class S3backer(Peer):
    """s3backer in FUSE mode, a loop device and ext4 on it."""

    name, safe = "s3backer", "no: fsync is not passed on"

    def prepare(self) -> None:
        """See Peer."""
        self._access = self._lab.home / "s3backer-access"
        self._access.write_text(f"{KEY}:{SECRET}\n")
        self._access.chmod(0o600)
        self.path = self._lab.home / "s3backer-files"
        self.path.mkdir()

    def command(self) -> Sequence[str]:
        """See Peer."""
        size = ["--size=3g", "--blockSize=128k", f"--accessFile={self._access}"]
        where = [f"--baseURL={self._url}/", "bench-s3backer", str(self._point)]
        return ["s3backer", "-f", *size, *where]

    def open(self) -> None:
        """See Place."""
        super().open()
        image = str(self._point / "file")
        subprocess.run(["mkfs.ext4", "-q", "-F", "-E", "nodiscard", image], check=True)
        subprocess.run(["mount", "-o", "loop", image, str(self.path)], check=True)

    def close(self) -> None:
        """See Place."""
        if self.path.is_mount():
            subprocess.run(["umount", str(self.path)], check=False)
        super().close()


class JuiceFs(Peer):
    """JuiceFS with a Redis for what is no content."""

    name, safe = "juicefs", "yes, if its Redis is"

    def prepare(self) -> None:
        """See Peer."""
        port = free_port("127.0.0.1")
        options = ["--port", str(port), "--appendonly", "yes", "--dir", str(self._cache)]
        self._redis = subprocess.Popen(["redis-server", *options], stdout=subprocess.DEVNULL)
        await_port("127.0.0.1", port)
        self._meta = f"redis://127.0.0.1:{port}/1"
        bucket = ["--storage", "s3", "--bucket", f"{self._url}/bench-juicefs"]
        keys = ["--access-key", KEY, "--secret-key", SECRET]
        subprocess.run(
            ["juicefs", "format", *bucket, *keys, self._meta, "bench"],
            check=True,
            capture_output=True,
        )

    def command(self) -> Sequence[str]:
        """See Peer."""
        options = ["--cache-dir", str(self._cache), "--no-usage-report", "--no-syslog"]
        return ["juicefs", "mount", *options, self._meta, str(self._point)]

    def close(self) -> None:
        """See Place."""
        super().close()
        with suppress(AttributeError):
            self._redis.kill()
            self._redis.wait(_SECONDS)


def _clean() -> dict[str, str]:
    """Our environment without what is meant for other programs' ways to other stores."""
    return {key: value for key, value in os.environ.items() if not key.startswith("AWS_")}


def installed(lab: Lab) -> dict[str, Peer]:
    """Those that this machine has; RuntimeError for a package of Debian that is missing."""
    found: dict[str, Peer] = {}
    for kind in (Rclone, S3backer, S3fs, JuiceFs):
        if shutil.which(kind.name):
            found[kind.name] = kind(lab)
        elif kind is not JuiceFs:
            raise RuntimeError(f"{kind.name} is missing: apt-get install {kind.name}")
    return found
