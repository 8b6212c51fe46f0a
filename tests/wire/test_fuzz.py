"""Whatever is sent: an answer or a sentence that says why not, never a fault.

`HYPOTHESIS=long python -m pytest tests/wire/test_fuzz.py` tries many more.
"""

import json
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

import backends
from backends.errors import Invalid, InvalidName, InvalidOptions
from backends.names import volume_name
from backends.options import describe, parse, to_strings
from driver.wire import MAX_ID, MAX_OPTIONS, Request, decode
from tests.wire.service import Dropped, Service

METHODS = ("Create", "Remove", "Mount", "Unmount", "Path", "Get", "List", "Capabilities")
ANYTHING: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=6,
)
NAMES = st.sampled_from(["db", "web", "x" * 128, "", 7, ["db"]]) | st.text(max_size=200) | ANYTHING
IDS = st.sampled_from(["a" * 64, "", 7, "x" * 257]) | st.text(max_size=300) | ANYTHING
OPTIONS = st.sampled_from(["size", "mode", "uid", "access", "backend", "from", "layout"])
VALUES = st.sampled_from(["1G", "0", "1.5K", "0750", "5", "prod", "db@one", "single"]) | st.text(
    max_size=90
)
CHOSEN = st.dictionaries(OPTIONS | st.text(max_size=70), VALUES, max_size=4)
FIELDS = {"Name": NAMES, "ID": IDS, "Opts": CHOSEN | ANYTHING, "X": ANYTHING}
DOCUMENTS = st.fixed_dictionaries(FIELDS) | st.fixed_dictionaries({}, optional=FIELDS)
WHOLE = DOCUMENTS.map(lambda document: json.dumps(document).encode())


@st.composite
def damaged(draw: st.DrawFn) -> bytes:
    """A document as Docker would write it, with some of its bytes lost or changed."""
    body = bytearray(draw(WHOLE))
    for _ in range(draw(st.integers(1, 3))):
        at = draw(st.integers(0, len(body)))
        body[at : at + draw(st.integers(0, 4))] = draw(st.binary(max_size=4))
    return bytes(body)


BODIES = WHOLE | damaged() | st.binary(max_size=60)


def a_sentence(error: Invalid, of: str = "") -> None:
    """One that can be shown, however much was sent."""
    assert str(error).startswith(of)
    assert 10 < len(str(error)) < 2000


@given(BODIES, st.booleans())
@example(b"[" * 100_000, False)
@example(b'{"Name": ' + b"9" * 5000 + b"}", False)
@example(b'{"Name": "db", "ID": "%s"}' % (b"x" * 257), True)
def test_the_decoder_reads_it_or_says_why_not(body: bytes, needs_id: bool) -> None:
    try:
        read = decode(body, needs_id=needs_id)
    except Invalid as error:
        a_sentence(error)
        return
    assert isinstance(read, Request)
    assert isinstance(read.name, str)
    assert read.name
    assert isinstance(read.mount_id, str)
    assert bool(read.mount_id) == needs_id
    assert len(read.mount_id) <= MAX_ID
    assert len(read.options) <= MAX_OPTIONS
    assert all(isinstance(part, str) for pair in read.options for part in pair)


@given(st.text())
def test_a_name_is_taken_unchanged_or_refused(name: str) -> None:
    try:
        assert volume_name(name) == name
    except InvalidName as error:
        a_sentence(error)
    else:
        assert name.isascii()
        assert "/" not in name
        assert name not in (".", "..")


@pytest.mark.parametrize("backend", backends.REGISTRY)
@given(data=st.data())
def test_the_parser_reads_it_back_the_same_or_says_why_not(
    backend: str, data: st.DataObject
) -> None:
    cls = backends.load(backend).Options
    known = st.sampled_from([row.name for row in describe(cls)])
    raw = data.draw(st.dictionaries(known | st.text(max_size=70), VALUES, max_size=5))
    try:
        options = parse(cls, raw, subject="volume db")
    except InvalidOptions as error:
        a_sentence(error, of="volume db: ")
        return
    again = parse(cls, to_strings(options), subject="volume db")
    assert to_strings(again) == to_strings(options)
    assert again == options


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.sampled_from(METHODS), BODIES)
def test_the_service_has_an_answer(service: Service, method: str, body: bytes) -> None:
    """Status 200 and, unless it was done, a sentence; only a nameless Get is dropped. (That the
    service has logged no traceback is looked at when it ends.)"""
    try:
        answer = service.raw(f"VolumeDriver.{method}", body)
    except Dropped:
        assert method == "Get"
        with pytest.raises(Invalid):
            decode(body)
        return
    assert answer.status == 200
    assert "fault in kedge" not in answer.error
    assert all(volume_name(name) == name for name in service.names())
