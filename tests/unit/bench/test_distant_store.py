"""The synthetic store of the benchmarks answers as S3 does, as far as kedge asks."""

from bench.distant_store import answered

HEADERS: dict[str, str] = {}


def stored() -> dict[str, bytes]:
    objects: dict[str, bytes] = {}
    for name in ("a/1", "a/2", "a/3", "b/1"):
        answered(objects, "PUT", f"/bucket/{name}", HEADERS, name.encode())
    return objects


def test_an_object_is_made_once_if_so_asked() -> None:
    objects, absent = stored(), {"if-none-match": "*"}
    assert answered(objects, "PUT", "/bucket/a/1", absent, b"other")[0] == 412
    assert answered(objects, "PUT", "/bucket/new", absent, b"new")[0] == 200
    assert answered(objects, "GET", "/bucket/a/1", HEADERS, b"")[2] == b"a/1"
    assert answered(objects, "DELETE", "/bucket/a/1", HEADERS, b"")[0] == 204
    assert answered(objects, "PUT", "/bucket/a/1", absent, b"other")[0] == 200


def test_what_is_not_there_is_not_found() -> None:
    status, _, body = answered({}, "GET", "/bucket/a", HEADERS, b"")
    assert (status, b"<Code>NoSuchKey</Code>" in body) == (404, True)
    assert answered({}, "HEAD", "/bucket/a", HEADERS, b"")[::2] == (404, b"")


def test_a_part_of_an_object() -> None:
    objects = {"bucket/a": bytes(range(100))}
    status, told, body = answered(objects, "GET", "/bucket/a", {"range": "bytes=90-200"}, b"")
    assert (status, told["Content-Range"]) == (206, "bytes 90-99/100")
    assert body == bytes(range(90, 100))
    assert answered(objects, "GET", "/bucket/a", {"range": "bytes=100-200"}, b"")[0] == 416


def test_listings_begin_where_they_are_told_and_go_on() -> None:
    def listed(query: str) -> bytes:
        return answered(stored(), "GET", f"/bucket?list-type=2&{query}", HEADERS, b"")[2]

    page = listed("prefix=a%2F&max-keys=2")
    assert b"<Key>a/1</Key>" in page
    assert b"<NextContinuationToken>a/2</NextContinuationToken>" in page
    assert b"b/1" not in page
    rest = listed("prefix=a%2F&max-keys=2&continuation-token=a%2F2")
    assert (b"a/3" in rest, b"a/2" in rest, b"<IsTruncated>false" in rest) == (True, False, True)
    assert b"a/1" not in listed("prefix=a%2F&start-after=a%2F1")
