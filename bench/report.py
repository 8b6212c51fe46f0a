"""What a benchmark leaves behind: FILE.txt for people, FILE.json to compute with, FILE.png."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any


def keep(out: Path, command: str, text: str, figures: object) -> None:
    """Write `text`, headed by the command that made it, and `figures` beside each other."""
    out.with_suffix(".txt").write_text(f"python -m {command}\n{text.rstrip()}\n")
    out.with_suffix(".json").write_text(json.dumps(figures, indent=2) + "\n")


@contextmanager
def plotted(out: Path, *, width: float = 8, height: float = 5) -> Iterator[Any]:
    """Axes to draw on during the block; then they get a legend and become FILE.png. What is drawn
    without a label is not in the legend."""
    from matplotlib import pyplot  # part of the extra `bench`

    figure, axes = pyplot.subplots(figsize=(width, height))
    yield axes
    axes.legend(fontsize=8)
    figure.tight_layout()
    figure.savefig(out.with_suffix(".png"), dpi=110)
    pyplot.close(figure)


def over_volumes(axes: Any, ylabel: str) -> None:
    """Something over the number of volumes, both on logarithmic scales."""
    axes.set(xscale="log", yscale="log", xlabel="volumes", ylabel=ylabel)
    axes.grid(visible=True, which="both", alpha=0.3)
