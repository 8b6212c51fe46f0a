"""Finding the loop device of a file among those of the whole machine."""

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from backends.host import loop

pytestmark = pytest.mark.lab


@pytest.fixture
def image(tmp_path: Path) -> Path:
    return _image(tmp_path / "one")


@pytest.fixture
def devices(image: Path, tmp_path: Path) -> Iterator[dict[str, int]]:
    """A device on the image and one on somebody else's file, by number."""
    with ExitStack() as stack:
        mine = stack.enter_context(loop.attached(image, label="mine"))
        other = stack.enter_context(loop.attached(_image(tmp_path / "other"), label="other"))
        yield {"mine": mine.number, "other": other.number}


def _image(directory: Path) -> Path:
    directory.mkdir()
    file = directory / "image"
    with file.open("wb") as opened:
        opened.truncate(1 << 20)
    return file


def test_the_device_of_a_file_is_found(image: Path, devices: dict[str, int]) -> None:
    found = loop.find(image)
    assert found is not None
    assert (found.number, found.label) == (devices["mine"], "mine")


def test_a_file_without_a_device(tmp_path: Path, devices: dict[str, int]) -> None:
    assert loop.find(_image(tmp_path / "third")) is None


def test_the_device_is_found_after_a_rename(image: Path, devices: dict[str, int]) -> None:
    moved = image.parent.rename(image.parent.with_name("moved")) / "image"
    found = loop.find(moved)
    assert found is not None
    assert found.number == devices["mine"]


def test_another_file_of_the_same_name_is_not_taken_for_it(
    image: Path, devices: dict[str, int]
) -> None:
    image.unlink()
    assert loop.find(_image_again(image)) is None


def _image_again(file: Path) -> Path:
    file.write_bytes(b"\0" * 4096)
    return file


def test_nobody_elses_device_is_asked(
    image: Path, devices: dict[str, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its storage may hang, and with it whoever asks."""
    asked = []
    ask = loop.status

    def status(number: int) -> loop.Status | None:
        asked.append(number)
        return ask(number)

    monkeypatch.setattr(loop, "status", status)
    assert loop.find(image) is not None
    assert asked == [devices["mine"]]
