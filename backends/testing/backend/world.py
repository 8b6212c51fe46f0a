"""What a backend's tests must know of its world. Override what differs."""

import contextlib
import os
import tempfile
import uuid
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

import pytest

from backends.base import Attachment, Backend, Context, Spec, Volume
from backends.options import parse
from backends.testing.faulty import dies_at
from backends.testing.occupying import mounted_elsewhere

AnyBackend = Backend[Any, Any]
CREATED = "2026-02-03T04:05:06Z"


class BackendWorld:
    """The knobs. The defaults suit a backend whose volumes are real mounts on this machine."""

    options: ClassVar[Mapping[str, str]] = {}
    """Options of every volume that the tests make."""
    different: ClassVar[Mapping[str, str]] = {"mode": "0700"}
    """Options that contradict `options`."""
    grown: ClassVar[str] = ""
    """A size larger than that in `options`; empty when volumes have no size."""

    @pytest.fixture
    def backend(self) -> AnyBackend:
        """A profile without volumes. Attached ones are detached for you afterwards."""
        raise NotImplementedError

    @pytest.fixture(autouse=True)
    def _detached_afterwards(self, backend: AnyBackend) -> Iterator[None]:
        yield
        for node in (backend, self.elsewhere(backend)):
            for attachment in node.attachments():
                node.detach(attachment)

    def reopen(self, backend: AnyBackend) -> AnyBackend:
        """The same profile on the same node, in a process that has just started."""
        return type(backend)(backend.settings, backend.context)

    def elsewhere(self, backend: AnyBackend) -> AnyBackend:
        """The same profile on another node."""
        return type(backend)(backend.settings, self.another_node(backend.context))

    def another_node(self, context: Context) -> Context:
        """Where that one runs."""
        return replace(
            context,
            node=f"{context.node}-2",
            mounts=context.mounts.with_name(f"{context.mounts.name}-2"),
            state=context.state.with_name(f"{context.state.name}-2"),
        )

    def dies_at(
        self, backend: AnyBackend, effect: int, verb: Callable[[AnyBackend], object]
    ) -> bool:
        """Run `verb` in a process of its own on a fresh backend, killed before that effect."""
        return dies_at(effect, lambda: verb(self.reopen(backend)))

    def write(self, backend: AnyBackend, attachment: Attachment, name: str, text: str) -> None:
        """Write a file into an attached volume, durably."""
        path = attachment.target / name
        path.write_text(text)
        with path.open() as written:
            os.fsync(written.fileno())

    def read(self, backend: AnyBackend, attachment: Attachment) -> dict[str, str]:
        """All files at the top of an attached volume."""
        entries = sorted(attachment.target.iterdir())
        return {path.name: path.read_text() if path.is_file() else "" for path in entries}

    def dirty(self, backend: AnyBackend, target: Path) -> Callable[[], bool]:
        """Put a file where a volume will be attached; the result says whether it is still
        there and takes it away."""
        target.mkdir(parents=True)
        (target / "stray").write_text("precious")

        def still_there() -> bool:
            text = (target / "stray").read_text()
            (target / "stray").unlink()
            target.rmdir()
            return text == "precious"

        return still_there

    def exists(self, backend: AnyBackend, target: Path) -> bool:
        """Whether there is anything at a path where volumes are attached."""
        return os.path.lexists(target)

    @contextlib.contextmanager
    def occupied(self, backend: AnyBackend, attachment: Attachment) -> Iterator[int]:
        """A process outside that has the volume mounted for the block; its pid."""
        with (
            tempfile.TemporaryDirectory() as somewhere,
            mounted_elsewhere(attachment.target, Path(somewhere)) as pid,
        ):
            yield pid

    # -- shorthand for the tests ------------------------------------------------------------

    def spec(self, backend: AnyBackend, name: str = "db", **options: str) -> Spec[Any]:
        """A wish for a volume, with a uuid of its own."""
        raw = {**self.options, **options}
        parsed = parse(backend.Options, raw, subject=f"volume {name}")
        return Spec(name, parsed, str(uuid.uuid4()), CREATED)

    def create(self, backend: AnyBackend, name: str = "db", **options: str) -> Volume[Any]:
        """A new volume."""
        return backend.create(self.spec(backend, name, **options))

    def target(self, backend: AnyBackend, name: str = "db") -> Path:
        """Where the driver attaches it."""
        return backend.context.mounts / name

    def attach(
        self, backend: AnyBackend, volume: Volume[Any], *, read_only: bool = False
    ) -> Attachment:
        """Attached at its place."""
        place = self.target(backend, volume.name)
        return backend.attach(volume, place, claim=None, read_only=read_only)

    def stored(self, backend: AnyBackend, volume: Volume[Any]) -> dict[str, str]:
        """The files of a volume that is not attached."""
        attachment = self.attach(backend, volume)
        try:
            return self.read(backend, attachment)
        finally:
            backend.detach(attachment)

    def store(self, backend: AnyBackend, volume: Volume[Any], name: str, text: str) -> None:
        """Put a file into a volume that is not attached."""
        attachment = self.attach(backend, volume)
        try:
            self.write(backend, attachment, name, text)
        finally:
            backend.detach(attachment)
