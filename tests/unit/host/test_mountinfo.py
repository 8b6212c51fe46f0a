"""Reading the kernel's mount table."""

import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backends.host import mountinfo
from backends.host.mountinfo import Mount

TABLE = rb"""22 27 0:21 / /proc rw,relatime - proc proc rw
27 1 254:0 / / rw,relatime shared:1 - ext4 /dev/vda rw,discard
40 27 7:3 /data /mnt/a\040b\011c\134d rw,nosuid shared:7 master:3 propagate_from:2 - ext4 /dev/l3 rw
41 27 0:50 / /mnt/stack rw - tmpfs  rw,size=4k
42 41 0:51 /sub /mnt/stack rw unbindable - tmpfs none ro
43 42 0:52 / /mnt/stack/below rw - fuse.glusterfs host:/vol rw
"""


def test_every_field_is_read() -> None:
    mount = mountinfo.parse(TABLE)[2]
    assert mount == Mount(
        id=40,
        parent=27,
        device="7:3",
        root="/data",
        point="/mnt/a b\tc\\d",
        options=frozenset({"rw", "nosuid"}),
        propagation=("shared:7", "master:3", "propagate_from:2"),
        type="ext4",
        source="/dev/l3",
        super_options=frozenset({"rw"}),
    )


def test_optional_fields_may_be_missing() -> None:
    assert [len(mount.propagation) for mount in mountinfo.parse(TABLE)] == [0, 1, 3, 0, 1, 0]


def test_an_empty_source_is_read() -> None:
    assert mountinfo.parse(TABLE)[3].source == ""


def test_the_topmost_of_a_stack_is_found_in_any_order() -> None:
    table = mountinfo.parse(TABLE)
    for order in (table, table[::-1]):
        top = mountinfo.top(order, "/mnt/stack")
        assert top is not None
        assert top.id == 42
    assert mountinfo.top(table, "/mnt") is None


@pytest.mark.parametrize(
    ("path", "mount", "inside"),
    [
        ("/", 27, "/"),
        ("/var/lib", 27, "/var/lib"),
        ("/mnt/stackX", 27, "/mnt/stackX"),
        ("/mnt/stack", 42, "/sub"),
        ("/mnt/stack/x/y", 42, "/sub/x/y"),
        ("/mnt/stack/below/z", 43, "/z"),
    ],
)
def test_what_a_path_lies_on(path: str, mount: int, inside: str) -> None:
    found = mountinfo.covering(mountinfo.parse(TABLE), path)
    assert (found.id, found.inside(path)) == (mount, inside)


def escaped(text: str) -> bytes:
    """As the kernel's mangle_path does."""
    return re.sub(
        rb"[ \t\n\\#]", lambda m: b"\\%03o" % m[0][0], text.encode("utf8", "surrogateescape")
    )


names = st.text(st.characters(min_codepoint=1, exclude_characters="/", exclude_categories=["Cs"]))


@given(st.lists(names.filter(bool), min_size=1, max_size=4))
def test_any_path_is_read_back(parts: list[str]) -> None:
    path = "/" + "/".join(parts)
    line = b"1 0 0:1 " + escaped(path) + b" " + escaped(path) + b" rw - x " + escaped(path) + b" rw"
    mount = mountinfo.parse_line(line)
    assert (mount.root, mount.point, mount.source) == (path, path, path)


def test_this_process_has_a_root() -> None:
    assert mountinfo.covering(mountinfo.read(), "/").point == "/"


def test_the_mount_that_a_lookup_reaches_is_in_the_table(tmp_path: Path) -> None:
    reached = mountinfo.reached(tmp_path)
    assert mountinfo.covering(mountinfo.read(), str(tmp_path)).id == reached
