"""Figures that explain an error rate: over the threshold, over its cost, with its interval.

# N operating points
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from voxid.plots.canvas import COLORS, NONTARGET, TARGET, blank, plain

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from voxid.metrics import Det

POINTS = 2000  # more than the eye can tell apart
P_TARGETS = (0.01, 0.05)


def error_rates(det: Det, title: str = "Error rates") -> Figure:
    """Return FAR and FRR (per cent) over the threshold of `metrics.det(...)`; a dot where they are equal.

    >>> from voxid.metrics import det
    >>> type(error_rates(det([0.9, 0.2], [1, 0]))).__name__
    'Figure'
    """
    some_N = _some(det)
    figure = blank(7.0, 4.0)
    axes = figure.subplots()
    for rate_N, color, name in (
        (det.far, NONTARGET, "FAR: strangers let in"),
        (det.frr, TARGET, "FRR: speakers turned away"),
    ):
        axes.plot(det.thresholds[some_N], 100 * rate_N[some_N], color=color, linewidth=2, label=name)
    nearest = int(np.argmin(np.abs(det.far[:-1] - det.frr[:-1])))
    rate = (det.far[nearest] + det.frr[nearest]) / 2
    axes.plot(det.thresholds[nearest], 100 * rate, "o", color="black", label=f"equal: {100 * rate:.1f} %")
    axes.set(xlabel="threshold", ylabel="error rate (%)", title=plain(title), ylim=(0, 100))
    axes.legend(frameon=False)
    return figure


def cost_curve(det: Det, p_targets: Sequence[float] = P_TARGETS, title: str = "Detection cost") -> Figure:
    """Return the normalised detection cost over the threshold, one line a prior; a dot at each minimum.

    Both errors cost 1; a cost of 1 is that of deciding blindly (`metrics.min_dcf`).

    >>> from voxid.metrics import det
    >>> type(cost_curve(det([0.9, 0.2], [1, 0]))).__name__
    'Figure'
    """
    some_N = _some(det)
    figure = blank(7.0, 4.0)
    axes = figure.subplots()
    for p_target, color in zip(p_targets, COLORS, strict=False):
        scale = min(p_target, 1 - p_target)
        cost_N = (p_target * det.frr + (1 - p_target) * det.far) / scale
        axes.plot(
            det.thresholds[some_N],
            cost_N[some_N],
            color=color,
            linewidth=2,
            label=f"P(target) = {p_target:g}",
        )
        best = int(np.argmin(cost_N[:-1]))
        axes.plot(det.thresholds[best], cost_N[best], "o", color=color)
        axes.annotate(
            f"{cost_N[best]:.2f}", (det.thresholds[best], cost_N[best]), (0, -14), textcoords="offset points"
        )
    axes.axhline(1.0, color="0.6", linestyle=":", label="deciding blindly")
    axes.set(xlabel="threshold", ylabel="normalised cost", title=plain(title), ylim=(0, 1.6))
    axes.legend(frameon=False)
    return figure


def interval_bars(
    rows: Sequence[tuple[str, float, float, float]], xlabel: str, title: str = "", zero: bool = False
) -> Figure:
    """Return (name, value, low, high) as dots with bars, one row each; `zero` draws a line at 0.

    >>> type(interval_bars([("model", 5.0, 4.0, 6.0)], "EER %")).__name__
    'Figure'
    """
    figure = blank(7.0, 1.2 + 0.45 * len(rows))
    axes = figure.subplots()
    for place, (_, value, low, high) in enumerate(rows):
        axes.plot([low, high], [place, place], color=COLORS[0], linewidth=3, solid_capstyle="butt")
        axes.plot(value, place, "o", color="black")
    if zero:
        axes.axvline(0.0, color="0.6", linestyle=":")
    axes.set_yticks(range(len(rows)), [plain(row[0]) for row in rows])
    axes.set(xlabel=xlabel, title=plain(title), ylim=(len(rows) - 0.5, -0.5))
    axes.grid(axis="x", color="0.9")
    axes.set_axisbelow(True)
    return figure


def _some(det: Det) -> np.ndarray:
    """Return the numbers of the operating points to draw: even over the thresholds, without "reject all"."""
    last = det.thresholds.size - 2
    even = np.linspace(det.thresholds[0], det.thresholds[last], POINTS)
    return np.unique(np.append(np.searchsorted(det.thresholds[: last + 1], even).clip(0, last), last))
