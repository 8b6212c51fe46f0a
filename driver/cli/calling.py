"""What every command needs: a caller of the service, and the way to show what it answers."""

import json
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NoReturn

import click
from tabulate import tabulate

from backends.options import Size
from driver.client import Client, Refused, Unreachable

REFUSED, USAGE, UNREACHABLE, UNWELL = 1, 2, 3, 4

EXIT_CODES = """Exit codes: 0 done; 1 refused, the message says why; 2 wrong usage; 3 no service
answers; 4 `doctor` or `fsck` found an error, or
something is lost of what was exported."""

as_json = click.option("--json", "as_json", is_flag=True, help="Print JSON instead of a table.")


class Caller:
    """A client whose failures end the program with the right code."""

    def __init__(self, path: Path) -> None:
        self._client = Client(path)

    def __call__(self, method: str, *segments: str, **fields: str) -> Any:
        try:
            return self._client.call(method, *segments, **fields)
        except Refused as error:
            end(str(error), REFUSED)
        except Unreachable as error:
            end(str(error), UNREACHABLE)

    def follow(
        self,
        label: str,
        *segments: str,
        method: str = "POST",
        data: Callable[[bytes], object] = lambda content: None,
        **fields: str,
    ) -> Any:
        """The answer to a request that takes long, with a bar on stderr for as long as it does."""
        with _bar(label) as progress:
            try:
                return self._client.follow(
                    method, *segments, progress=progress, data=data, **fields
                )
            except Refused as error:
                end(str(error), REFUSED)
            except Unreachable as error:
                end(str(error), UNREACHABLE)


@contextmanager
def _bar(label: str) -> Iterator[Callable[[int, int], None]]:
    """A progress bar that appears with the first progress and only for people."""
    with click.progressbar(
        length=1, label=label, file=sys.stderr, show_pos=False, hidden=not sys.stderr.isatty()
    ) as bar:

        def progress(done: int, total: int) -> None:
            if total:
                bar.length = total
                bar.update(max(0, done - bar.pos))

        yield progress


def end(message: str, code: int) -> NoReturn:
    """Say it on stderr and exit."""
    click.echo(f"kedge: {message}", err=True)
    sys.exit(code)


def show(document: Any, as_json: bool, table: Callable[[Any], str]) -> None:
    """Print what the service answered."""
    click.echo(json.dumps(document, indent=2) if as_json else table(document))


def readable(rows: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """The same, numbers of bytes as people write them."""
    return [
        {k: Size(v) if k in ("size", "used") and isinstance(v, int) else v for k, v in row.items()}
        for row in rows
    ]


def table(rows: Sequence[Mapping[str, Any]], columns: Mapping[str, str], empty: str) -> str:
    """Rows as people read them; `columns`: key and heading; `empty`: said when there are none."""
    if not rows:
        return empty
    body = [[row.get(key, "") for key in columns] for row in rows]
    return tabulate(body, headers=list(columns.values()), tablefmt="plain", disable_numparse=True)
