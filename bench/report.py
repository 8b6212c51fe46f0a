"""What a benchmark leaves behind: FILE.txt for people, FILE.json to compute with, FILE.png."""

import json
import statistics
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from textwrap import wrap
from typing import Any


def keep(out: Path, command: str, text: str, figures: object) -> None:
    """Write `text`, headed by the command that made it, and `figures` beside each other."""
    out.with_suffix(".txt").write_text(f"python -m {command}\n{text.rstrip()}\n")
    out.with_suffix(".json").write_text(json.dumps(figures, indent=2) + "\n")


def ratio(by_place: Mapping[str, list[float]], label: str, other: str) -> float:
    """How much of `other` the place `label` has: the median over the rounds."""
    pairs = zip(by_place[label], by_place[other], strict=True)
    return statistics.median(ours / theirs for ours, theirs in pairs)


def beside(found: Mapping[str, Mapping[str, list[float]]], pairs: Mapping[str, str]) -> str:
    """A table of job -> place -> what each round gave: medians, and for each place of `pairs` its
    ratio to the other one, where both were measured."""
    lines = []
    for job, by_place in found.items():
        lines.append(job)
        for label, values in by_place.items():
            shown, other = "", pairs.get(label, "")
            if other in by_place:
                shown = f"   {ratio(by_place, label, other):.2f} of {other}"
            lines.append(f"  {label:24} {statistics.median(values):10.2f}{shown}")
    return "\n".join(lines)


def plot_beside(
    out: Path, found: Mapping[str, Mapping[str, list[float]]], pairs: Mapping[str, str]
) -> None:
    """The ratios of `beside` as bars, of the jobs that all places have."""
    ratios = {
        job: {f"{label} / {other}": ratio(by, label, other) for label, other in pairs.items()}
        for job, by in found.items()
        if {*pairs, *pairs.values()} <= set(by)
    }
    with plotted(out, width=9) as axes:
        shares(axes, ratios)
        axes.set_ylabel("ratio (1.0: kedge adds nothing)")


@contextmanager
def plotted(out: Path, *, width: float = 8, height: float = 5) -> Iterator[Any]:
    """Axes to draw on during the block; then they get a legend at their side, where it hides
    nothing, and become FILE.png. What is drawn without a label is not in the legend."""
    from matplotlib import pyplot  # part of the extra `bench`

    figure, axes = pyplot.subplots(figsize=(width, height))
    yield axes
    axes.legend(fontsize=8, loc="upper left", bbox_to_anchor=(1.01, 1), borderaxespad=0)
    figure.tight_layout()
    figure.savefig(out.with_suffix(".png"), dpi=110)
    pyplot.close(figure)


def shares(
    axes: Any, found: Mapping[str, Mapping[str, float]], *, hatched: Collection[str] = ()
) -> None:
    """A group of bars for each job of `found`, one for each label; a line at 1.0, where what is
    measured is as fast as what it is compared with. A job may lack labels."""
    labels = list(dict.fromkeys(label for by_label in found.values() for label in by_label))
    width = 0.8 / len(labels)
    for number, label in enumerate(labels):
        bars = [
            (at + width * number, by_label[label])
            for at, by_label in enumerate(found.values())
            if label in by_label
        ]
        places, heights = [bar[0] for bar in bars], [bar[1] for bar in bars]
        hatch = "//" if label in hatched else ""
        axes.bar(places, heights, width=0.95 * width, label=label, hatch=hatch)
    axes.axhline(1.0, color="black", linewidth=0.8)
    middle = width * (len(labels) - 1) / 2
    room = 110 // len(found)
    names = [
        "\n".join(line for part in job.split(", ") for line in wrap(part, room)) for job in found
    ]
    axes.set_xticks([at + middle for at in range(len(found))], names, fontsize=7)


def over_volumes(axes: Any, ylabel: str) -> None:
    """Something over the number of volumes, both on logarithmic scales."""
    axes.set(xscale="log", yscale="log", xlabel="volumes", ylabel=ylabel)
    axes.grid(visible=True, which="both", alpha=0.3)
