"""What every figure shares: colours, an empty canvas, and the way onto the disk."""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from voxid.files import atomic_write

if TYPE_CHECKING:
    from matplotlib.figure import Figure

# Okabe and Ito (2008): told apart by colour-blind readers too.
COLORS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000", "#8C6D1F")
TARGET, NONTARGET = COLORS[0], COLORS[1]
LONGEST = 40  # letters of a name in a legend
LINES = ("-", "--", ":", "-.")  # for the ninth system and those after it


def save(figure: Figure, path: str | os.PathLike[str]) -> None:
    """Write `figure` as a PNG, whole or not at all; raise DiskFull, NotWritable or OutputError.

    >>> from voxid.plots import waveform
    >>> save(waveform(voxid.audio.load("alice1.wav")), "alice1.png")
    """
    with atomic_write(path) as file, any_letters():
        figure.savefig(file, format="png", dpi=120)


@contextmanager
def any_letters() -> Iterator[None]:
    """A context in which a letter that matplotlib's font lacks (an emoji, say) is no warning."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph .* missing from", category=UserWarning)
        yield


def blank(width: float, height: float) -> Figure:
    """Return an empty figure of that size in inches, which needs neither a screen nor pyplot."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def plain(name: str) -> str:
    """Return a name as matplotlib shows it letter by letter: a dollar is no formula, `_x` is no secret.

    The middle of a name of more than 40 letters is left out: a legend as wide as the figure hides it.

    >>> plain("_a$b$")
    ' _a\\\\$b\\\\$'
    """
    if len(name) > LONGEST:
        name = f"{name[: LONGEST // 2]}…{name[-LONGEST // 2 + 1 :]}"
    name = name.replace("$", r"\$")
    return f" {name}" if name.startswith("_") else name  # matplotlib leaves labels like "_x" out of legends


def look(number: int) -> tuple[str, str]:
    """Return the (colour, line style) of system `number`, so that all figures of a page agree.

    >>> look(0), look(8)
    (('#0072B2', '-'), ('#0072B2', '--'))
    """
    return COLORS[number % len(COLORS)], LINES[number // len(COLORS) % len(LINES)]
