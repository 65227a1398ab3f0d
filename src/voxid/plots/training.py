"""Pictures of a training: its loss over steps."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from voxid.plots.canvas import COLORS, blank, save

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def losses(values: Sequence[float], title: str = "Loss") -> Figure:
    """Return the loss over training steps, thin, with its running mean, thick.

    >>> type(losses([0.3, 0.2, 0.1])).__name__
    'Figure'
    """
    figure = blank(7.0, 3.4)
    axes = figure.subplots()
    steps = np.arange(1, len(values) + 1)
    axes.plot(steps, values, color=COLORS[0], alpha=0.35, linewidth=1)
    axes.plot(steps, _running_mean(values, max(1, len(values) // 10)), color=COLORS[0], linewidth=2)
    axes.set(xlabel="step", ylabel="loss", title=title, ylim=(0, None))
    axes.grid(color="0.92")
    return figure


def training_curve(rows: Sequence[Any], path: Path, title: str) -> None:
    """Write a PNG of loss and of the share that is still wrong over steps; `rows` have step, loss and active.

    Thin lines are the log's rows, thick ones their running mean. Raise DiskFull or NotWritable.

    >>> from voxid.training.run_folder import Row
    >>> rows = [Row(step, 0.5 / step, 1e-3, 9.0, step, 0.4) for step in (1, 2, 3)]
    >>> training_curve(rows, Path("curve.png"), "a training")
    """
    steps = [row.step for row in rows]
    figure = blank(8, 4.5)
    axes = figure.subplots()
    twin = axes.twinx()
    for axis, values, label, color in (
        (axes, [row.loss for row in rows], "loss", "tab:blue"),
        (twin, [row.active for row in rows], "share of the batches still wrong", "tab:orange"),
    ):
        axis.plot(steps, values, color=color, alpha=0.25, linewidth=0.8)
        axis.plot(steps, _running_mean(values, max(1, len(values) // 20)), color=color, linewidth=2)
        axis.set_ylabel(label, color=color)
        axis.set_ylim(bottom=0)
    axes.set_xlabel("step")
    axes.set_title(f"Training of {title}")
    axes.grid(alpha=0.3)
    save(figure, path)


def _running_mean(values: Sequence[float], width: int) -> list[float]:
    """Return the mean of each value and the up to `width` - 1 before it."""
    return [sum(values[max(0, i + 1 - width) : i + 1]) / min(i + 1, width) for i in range(len(values))]
