"""What may be said about a volume of `local`, and what the answer is."""

import pytest

from backends.errors import InvalidOptions
from backends.host.filesystems import FileSystem
from backends.local.options import LocalOptions
from backends.options import parse, to_strings
from backends.tree.options import Layout


def options(**raw: str) -> LocalOptions:
    return parse(LocalOptions, raw, subject="volume db")


@pytest.mark.parametrize(
    ("raw", "layout", "fs"),
    [
        ({}, Layout.DIRECTORY, None),
        ({"layout": "directory"}, Layout.DIRECTORY, None),
        ({"size": "1G"}, Layout.IMAGE, FileSystem.EXT4),
        ({"size": "1G", "fs": "xfs"}, Layout.IMAGE, FileSystem.XFS),
        ({"layout": "image", "size": "1G"}, Layout.IMAGE, FileSystem.EXT4),
    ],
)
def test_what_is_left_out_is_filled_in(
    raw: dict[str, str], layout: Layout, fs: FileSystem | None
) -> None:
    settled = options(**raw).settled()
    assert (settled.layout, settled.fs) == (layout, fs)
    assert options(**to_strings(settled)) == settled
    assert settled.settled() == settled


@pytest.mark.parametrize(
    ("raw", "words"),
    [
        ({"layout": "directory", "size": "1G"}, "size=1G .*use layout=image, or leave size out"),
        ({"fs": "xfs"}, "fs=xfs needs layout=image and a size"),
        ({"layout": "directory", "fs": "ext4"}, "fs=ext4 needs layout=image"),
        ({"layout": "image"}, "needs a size, for example size=10G"),
        ({"size": "1M"}, "size=1M is too small for ext4; use at least 32M"),
        ({"size": "299M", "fs": "xfs"}, "size=299M is too small for xfs; use at least 300M"),
        ({"size": "100000001"}, "not a multiple of 4096"),
        ({"size": "1G", "access": "shared"}, "access=shared is not possible with layout=image"),
    ],
)
def test_contradictions_are_explained(raw: dict[str, str], words: str) -> None:
    with pytest.raises(InvalidOptions, match=words):
        options(**raw)


def test_a_shared_directory_is_fine() -> None:
    assert options(access="shared").settled().layout is Layout.DIRECTORY
