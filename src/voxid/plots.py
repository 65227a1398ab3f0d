"""Figures, drawn without a screen and without pyplot's global state."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from voxid.files import atomic_write

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def training_curve(rows: Sequence[Any], path: Path, title: str) -> None:
    """Write a PNG of loss and share of active triplets over steps; `rows` have step, loss and active.

    Thin lines are the log's rows, thick ones their running mean. Raise DiskFull or NotWritable.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    steps = [row.step for row in rows]
    figure: Figure = Figure(figsize=(8, 4.5), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots()
    twin = axes.twinx()
    for axis, values, label, color in (
        (axes, [row.loss for row in rows], "loss", "tab:blue"),
        (twin, [row.active for row in rows], "share of triplets that violate the margin", "tab:orange"),
    ):
        axis.plot(steps, values, color=color, alpha=0.25, linewidth=0.8)
        axis.plot(steps, _running_mean(values, max(1, len(values) // 20)), color=color, linewidth=2)
        axis.set_ylabel(label, color=color)
        axis.set_ylim(bottom=0)
    axes.set_xlabel("step")
    axes.set_title(f"Training of {title}")
    axes.grid(alpha=0.3)
    with atomic_write(path) as file:
        figure.savefig(file, format="png", dpi=120)


def _running_mean(values: Sequence[float], width: int) -> list[float]:
    """Return the mean of each value and the up to `width` - 1 before it."""
    return [sum(values[max(0, i + 1 - width) : i + 1]) / min(i + 1, width) for i in range(len(values))]
