"""The protocol, byte by byte; the golden bytes were written from include/uapi/linux/fuse.h."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backends.disk.fuse import wire
from backends.disk.fuse.wire import Feature, Negotiated, Opcode

U32 = st.integers(0, 2**32 - 1)
U64 = st.integers(0, 2**64 - 1)


def request(opcode: int, body: bytes = b"", *, unique: int = 6, node: int = 2) -> bytes:
    """A request as the kernel makes it."""
    head = wire.IN_HEADER.pack(40 + len(body), opcode, unique, node, 0, 0, 0, 0, 0)
    return head + body


def test_sizes_are_the_kernels() -> None:
    assert wire.IN_HEADER.size == 40
    assert wire.OUT_HEADER.size == 16
    assert wire.TRANSFER.size == 40
    assert wire.WRITTEN.size == 24
    assert len(wire.initialised(Negotiated(40, 0))) == 64
    assert len(wire.entry(4096)) == 128
    assert len(wire.attributes(2, 4096)) == 104
    assert len(wire.opened(2)) == 16
    assert len(wire.statistics(4096)) == 80


def test_write_request_golden() -> None:
    raw = bytes.fromhex(
        "50100000" "10000000" "0a00000000000000" "0200000000000000"
        "00000000" "00000000" "00000000" "0000" "0000"
        "0200000000000000" "0030000000000000" "00100000" "00000000" "0000000000000000"
        "02c00000" "00000000"
    )  # fmt: skip
    assert wire.header(raw) == wire.Header(0x1050, Opcode.WRITE, 10, 2)
    assert wire.transfer(raw) == wire.Transfer(0x3000, 4096)


def test_fallocate_request_golden() -> None:
    raw = request(43, bytes.fromhex("0200000000000000" "0010000000000000" "0000010000000000"
                                    "03000000" "00000000"))  # fmt: skip
    assert wire.allocation(raw) == wire.Allocation(4096, 65536, wire.PUNCH)


def test_answers_golden() -> None:
    assert wire.answer(6) == bytes.fromhex("10000000000000000600000000000000")
    assert wire.refusal(6, 5) == bytes.fromhex("10000000fbffffff0600000000000000")
    assert wire.written(6, 4096) == bytes.fromhex(
        "180000000000000006000000000000000010000000000000"
    )
    assert wire.probe(6) == bytes.fromhex("10000000000000000700000000000000")
    assert wire.forget_size() == bytes.fromhex(
        "28000000" "02000000" "0000000000000000"
        "0200000000000000" "ffffffffffffffff" "0000000000000000"
    )  # fmt: skip


def test_init_answer_golden() -> None:
    agreed = Negotiated(40, int(Feature.BIG_WRITES | Feature.MAX_PAGES))
    assert wire.initialised(agreed) == bytes.fromhex(
        "07000000" "28000000" "00001000" "20004000" "4000" "4000" "00001000" "01000000"
        "0001" "0000" "00000000" "00000000" "0000"
    ) + bytes(22)  # fmt: skip


def test_init_takes_only_what_is_offered_and_wanted() -> None:
    offered = int(Feature.BIG_WRITES | Feature.MAX_PAGES | Feature.ASYNC_DIO) | 1 << 16
    body = wire._INIT_IN.pack(7, 36, 131072, offered) + bytes(48)
    assert wire.negotiate(request(26, body)) == Negotiated(36, offered & ~(1 << 16))


@pytest.mark.parametrize(
    ("major", "minor", "flags", "words"),
    [(7, 30, 0xFFFFFFFF, "Linux 5.4"), (8, 1, 0xFFFFFFFF, "Linux 5.4"), (7, 40, 1, "MAX_PAGES")],
)
def test_init_refuses_an_old_kernel(major: int, minor: int, flags: int, words: str) -> None:
    body = wire._INIT_IN.pack(major, minor, 0, flags) + bytes(48)
    with pytest.raises(ValueError, match=words):
        wire.negotiate(request(26, body))


@given(offset=U64, size=U32, unique=U64, node=U64)
def test_transfer_round_trip(offset: int, size: int, unique: int, node: int) -> None:
    body = wire.TRANSFER.pack(1, offset, size, 2, 3, 4, 0)
    raw = request(15, body, unique=unique, node=node)
    assert wire.transfer(memoryview(raw)) == wire.Transfer(offset, size)
    assert wire.header(raw) == wire.Header(80, 15, unique, node)


@given(name=st.binary(min_size=1, max_size=255).filter(lambda name: b"\0" not in name))
def test_names(name: bytes) -> None:
    assert wire.name(request(1, name + b"\0")) == name
    assert wire.name(memoryview(request(1, name + b"\0") + b"garbage")) == name


@given(body=st.binary(max_size=64), unique=U64)
def test_answer_says_its_length(body: bytes, unique: int) -> None:
    raw = wire.answer(unique, body)
    assert wire.OUT_HEADER.unpack_from(raw) == (len(raw), 0, unique)
    assert raw[16:] == body


def test_listing_names_the_file_once() -> None:
    first = wire.listing(0)
    assert first.count(b"disk") == 1
    assert len(first) % 8 == 0
    assert wire.listing(3) == b""
