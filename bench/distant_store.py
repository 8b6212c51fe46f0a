"""A store in memory that speaks S3 and answers every request after a given time.

    python -m bench.distant_store ADDRESS PORT SECONDS

As much of the dialect as kedge uses: PUT (also only if absent), GET (also a range), HEAD, DELETE,
listings. It computes little, so that what is measured is who asks it; nobody is authenticated, and
everything is forgotten with the process. What it answers is decided in `answered`, which is pure
but for the objects it keeps; one request at a time, so conditions hold.
"""

import asyncio
import shutil
import subprocess
import sys
import tempfile
from bisect import bisect_right
from collections.abc import Mapping, MutableMapping
from email.utils import formatdate
from hashlib import md5
from pathlib import Path
from urllib.parse import parse_qs, unquote, urlsplit
from xml.sax.saxutils import escape

from backends.errors import Unavailable
from backends.stores.s3 import Endpoint
from tests.lab.object_store import KEY, ROOT, SECRET, ObjectStore, await_port, free_port

Objects = MutableMapping[str, bytes]
Answer = tuple[int, Mapping[str, str], bytes]
_REASONS = {200: "OK", 204: "No Content", 206: "Partial Content", 404: "Not Found"}
_BEGAN = "2026-01-01T00:00:00.000Z"


def answered(
    objects: Objects, verb: str, target: str, headers: Mapping[str, str], body: bytes
) -> Answer:
    """Status, headers and body for one request; `objects` are those of all buckets, by path.
    Names of `headers` are in lower case."""
    split = urlsplit(target)
    path, query = unquote(split.path).strip("/"), parse_qs(split.query, keep_blank_values=True)
    if "/" not in path:
        return (200, {}, _listing(objects, path, query)) if verb == "GET" else (200, {}, b"")
    if verb == "PUT":
        if headers.get("if-none-match") == "*" and path in objects:
            return 412, {}, _error("PreconditionFailed")
        objects[path] = body
        return 200, {"ETag": _etag(body)}, b""
    if verb == "DELETE":
        objects.pop(path, None)
        return 204, {}, b""
    if path not in objects:
        return 404, {}, b"" if verb == "HEAD" else _error("NoSuchKey")
    return _read(objects[path], headers.get("range", ""))


def _read(body: bytes, asked: str) -> Answer:
    told = {"ETag": _etag(body), "Last-Modified": formatdate(usegmt=True)}
    if not asked:
        return 200, told, body
    first, _, last = asked.removeprefix("bytes=").partition("-")
    if int(first) >= len(body):
        return 416, {}, _error("InvalidRange")
    part = body[int(first) : int(last) + 1]
    told["Content-Range"] = f"bytes {first}-{int(first) + len(part) - 1}/{len(body)}"
    return 206, told, part


def _listing(objects: Objects, bucket: str, query: Mapping[str, list[str]]) -> bytes:
    def asked(name: str, default: str = "") -> str:
        return query.get(name, [default])[0]

    most, start = int(asked("max-keys", "1000")), bucket + "/" + asked("prefix")
    names = sorted(name for name in objects if name.startswith(start))
    after = asked("continuation-token") or asked("start-after")
    names = names[bisect_right(names, f"{bucket}/{after}") if after else 0 :]
    shown = [name.removeprefix(bucket + "/") for name in names[:most]]
    cut = len(names) > most
    token = f"<NextContinuationToken>{escape(shown[-1])}</NextContinuationToken>" if cut else ""
    items = "".join(
        f"<Contents><Key>{escape(key)}</Key><Size>{len(objects[f'{bucket}/{key}'])}</Size>"
        f"<LastModified>{_BEGAN}</LastModified></Contents>"
        for key in shown
    )
    return _xml(
        f"<ListBucketResult><Name>{bucket}</Name><KeyCount>{len(shown)}</KeyCount>"
        f"<IsTruncated>{str(cut).lower()}</IsTruncated>{token}{items}</ListBucketResult>"
    )


def _error(code: str) -> bytes:
    return _xml(f"<Error><Code>{code}</Code><Message>{code}</Message></Error>")


def _xml(text: str) -> bytes:
    return f'<?xml version="1.0" encoding="UTF-8"?>{text}'.encode()


def _etag(body: bytes) -> str:
    return f'"{md5(body[:4096], usedforsecurity=False).hexdigest()}"'


class DistantStore(ObjectStore):
    """That server, in a process of its own."""

    def __init__(self, seconds: float) -> None:
        """`seconds`: after which it answers."""
        self._seconds = seconds
        self._process: subprocess.Popen[bytes] | None = None
        self._home = Path(tempfile.mkdtemp(prefix="kedge-distant-", dir="/var/tmp"))

    def start(self, address: str = "127.0.0.1") -> None:
        port = free_port(address)
        argv = [sys.executable, "-m", "bench.distant_store", address, str(port)]
        with self.access_log.open("wb") as log:
            self._process = subprocess.Popen(
                ["setpriv", "--pdeathsig", "KILL", *argv, str(self._seconds)],
                cwd=ROOT,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
        url = f"http://{address}:{port}"
        self.endpoint = Endpoint(url, "us-east-1", KEY, SECRET, path_style=True)
        await_port(address, port, self._alive)

    def _alive(self) -> None:
        if self._process is None or self._process.poll() is not None:
            raise Unavailable(f"the store has ended: {self.access_log.read_text()[-2000:]}")

    @property
    def access_log(self) -> Path:
        return self._home / "log"

    @property
    def mark(self) -> str:
        return "bench.distant_store"

    def close(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait(60)
            self._process = None
        shutil.rmtree(self._home, ignore_errors=True)


class _Server:
    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._objects: dict[str, bytes] = {}

    async def talk(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection, until it ends."""
        try:
            while True:
                await self._one(reader, writer)
        except (asyncio.IncompleteReadError, ConnectionError):
            writer.close()

    async def _one(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        first, *lines = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
        verb, target, _ = first.split(" ")
        pairs = (line.partition(":") for line in lines if line)
        headers = {name.lower(): value.strip() for name, _, value in pairs}
        if headers.get("expect") == "100-continue":
            writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        body = await reader.readexactly(int(headers.get("content-length", 0)))
        await asyncio.sleep(self._seconds)
        status, told, answer = answered(self._objects, verb, target, headers, body)
        told = {"Content-Length": str(len(answer)), "Date": formatdate(usegmt=True), **told}
        head = "".join(f"{name}: {value}\r\n" for name, value in told.items())
        writer.write(f"HTTP/1.1 {status} {_REASONS.get(status, 'Error')}\r\n{head}\r\n".encode())
        writer.write(b"" if verb == "HEAD" else answer)
        print(f'"{verb} {target} HTTP/1.1" {status}', flush=True)
        await writer.drain()


async def main(address: str, port: str, seconds: str) -> None:
    """Serve until killed."""
    served = _Server(float(seconds))
    server = await asyncio.start_server(served.talk, address, int(port), limit=1 << 22)
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
