"""How boto3 is used: what it sends, over which connections, and what it does not do by itself."""

import re
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

import backends
from backends.errors import Unavailable
from backends.stores.base import Store
from backends.stores.retrying import Patience, Retrying
from backends.stores.s3 import Endpoint, S3Store, Tuning, connect
from backends.stores.settled import Taken, create
from tests.unit.stores.recording_server import NOTHING_LISTED, Recording, recording

CLIENT = Path(backends.__file__).parent / "stores" / "s3.py"


@pytest.fixture
def server() -> Iterator[Recording]:
    with recording(body=NOTHING_LISTED) as made:
        yield made


def store(server: Recording, tuning: Tuning | None = None) -> S3Store:
    who = {"access_key": "test", "secret_key": "test"}
    client = connect(Endpoint(url=server.url, region="x", path_style=True, **who), tuning)  # type: ignore[arg-type]
    return S3Store(lambda: client, "there")


VERBS: list[Callable[[Store], object]] = [
    lambda asked: asked.get("a"),
    lambda asked: asked.get_range("a", 0, 1),
    lambda asked: asked.put("a", b"body"),
    lambda asked: asked.put_if_absent("a", b"body"),
    lambda asked: asked.delete("a"),
    lambda asked: asked.list("a"),
    lambda asked: asked.head("a"),
]


@pytest.mark.parametrize(
    ("url", "styled", "start"),
    [
        ("https://s3.example", None, "https://s3.example/there/"),
        ("https://s3.example", True, "https://s3.example/there/"),
        ("https://s3.example", False, "https://there.s3.example/"),
        ("", None, "https://there.s3."),
        ("", True, "https://s3."),
    ],
)
def test_the_bucket_is_named_in_the_host_or_in_the_path(
    url: str, styled: bool | None, start: str
) -> None:
    """`path_style`."""
    client = connect(Endpoint(url, "eu-west-1", "test", "test", path_style=styled))
    made = client.generate_presigned_url("get_object", Params={"Bucket": "there", "Key": "a"})
    assert made.startswith(start)


@pytest.mark.parametrize("verb", VERBS)
def test_what_fails_is_not_asked_again_behind_our_back(
    server: Recording, verb: Callable[[Store], object]
) -> None:
    """A second try of a conditional PUT would be told that the key is taken."""
    server.status = 503
    with pytest.raises(Unavailable):
        verb(store(server))
    assert len(server.asked) == 1


def test_who_may_ask_again_does_so_with_growing_pauses(server: Recording) -> None:
    """Our own policy."""
    server.status = 503
    pauses: list[float] = []
    with pytest.raises(Unavailable):
        Retrying(store(server), Patience(pauses.append, lambda: 1.0, attempts=4)).get("a")
    assert len(server.asked) == 4
    assert pauses == sorted(set(pauses))


@pytest.mark.parametrize(
    ("status", "code"), [(412, ""), (409, "ConditionalRequestConflict"), (500, "")]
)
def test_whoever_lost_a_race_is_told_what_won(server: Recording, status: int, code: str) -> None:
    """AWS says 412, or 409 while another request is under way; a radosgw answers some with 500."""
    server.statuses["PUT"] = status
    server.body = f"<Error><Code>{code}</Code></Error>".encode()
    taken = create(store(server), "a", b"mine")
    assert taken == Taken(server.body)
    assert create(store(server), "a", server.body) is None
    assert [request.verb for request in server.asked] == ["PUT", "GET"] * 2


def test_nothing_is_summed_twice_and_only_creation_is_conditional(server: Recording) -> None:
    """Every object has checksums of its own. `If-Match` is missing or racy on some stores."""
    asked = store(server)
    for verb in VERBS:
        verb(asked)
    sent = [request.headers for request in server.asked]
    assert [one["if-none-match"] for one in sent if "if-none-match" in one] == ["*"]
    names = {name for one in sent for name in one}
    assert not [n for n in names if re.search("checksum|content-md5|trailer|if-match", n)]
    assert "aws-chunked" not in {one.get("content-encoding") for one in sent}


def test_connections_are_as_many_as_ask_at_once_and_are_kept(server: Recording) -> None:
    asked, many = store(server), Tuning().connections
    for _ in range(2):
        server.meeting = threading.Barrier(many)
        with ThreadPoolExecutor(many) as pool:
            list(pool.map(asked.get, ["a"] * many))
    assert len(server.asked) == 2 * many
    assert len({request.caller for request in server.asked}) == many


def test_a_reply_that_does_not_come_is_not_waited_for_without_end(server: Recording) -> None:
    server.meeting = threading.Barrier(2)  # nobody else comes
    with pytest.raises(Unavailable, match=r"timed out|timeout"):
        store(server, Tuning(read_seconds=0.1)).get("a")
    server.meeting.abort()


def test_one_module_knows_the_client_and_it_never_compares_etags() -> None:
    """`If-Match` is needed nowhere."""
    for path in Path(backends.__file__).parent.rglob("*.py"):
        text = path.read_text()
        assert "IfMatch" not in text, path
        assert bool(re.search(r"^ *(import|from) boto", text, re.M)) == (path == CLIENT), path
