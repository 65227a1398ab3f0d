"""Pictures of a verifier's errors: DET curves and histograms of scores.

# K trials
"""

from __future__ import annotations

from collections.abc import Sequence
from statistics import NormalDist
from typing import TYPE_CHECKING

import numpy as np

from voxid.metrics.rates import crossing
from voxid.plots.canvas import NONTARGET, TARGET, blank, look, plain

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from numpy.typing import ArrayLike

    from voxid.metrics import Det

DET_TICKS = (0.0001, 0.001, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.8, 0.9)
DET_POINTS = 2000  # more than the eye can tell apart


def det_curve(curves: Sequence[tuple[str, Det]], title: str = "Detection error trade-off") -> Figure:
    """Return the DET curves of (name, `metrics.det(...)`) pairs on normal-deviate axes (Martin et al. 1997).

    A system whose two score distributions are normal with one variance is a straight line. The dot is the
    equal error rate, which the legend gives in per cent.

    >>> from voxid.metrics import det
    >>> type(det_curve([("model", det([0.9, 0.3, 0.4, 0.2], [1, 1, 0, 0]))])).__name__
    'Figure'
    """
    figure = blank(6.0, 6.0)
    axes = figure.subplots()
    highest = 0.6
    lowest = min(_rate_opposite(det, highest) for _, det in curves)
    lowest = min(max(lowest / 2, 1e-5), 0.05)
    for number, (name, det) in enumerate(curves):
        points = np.unique(np.linspace(0, det.far.size - 1, DET_POINTS).round().astype(int))
        points = np.union1d(points, _even_points(det))
        far, frr = det.far[points].clip(lowest / 2, 1 - 1e-6), det.frr[points].clip(lowest / 2, 1 - 1e-6)
        rate = float(crossing(det.far, det.frr)[0])
        color, line = look(number)
        label = f"{plain(name)}: EER {100 * rate:.2f} %"
        axes.plot(_probit(far), _probit(frr), color=color, linestyle=line, linewidth=2, label=label)
        axes.plot(*_probit(np.full((2, 1), rate).clip(lowest, highest)), "o", color=color, markersize=6)
    ends = _probit(np.array([lowest, highest]))
    axes.plot(ends, ends, color="0.6", linewidth=1, linestyle=":", zorder=0)
    ticks = [tick for tick in DET_TICKS if lowest <= tick <= highest]
    places, labels = _probit(np.array(ticks)), [f"{100 * tick:g}" for tick in ticks]
    axes.set_xticks(places, labels)
    axes.set_yticks(places, labels)
    axes.set(xlim=tuple(ends), ylim=tuple(ends), aspect="equal", title=title)
    axes.set_xlabel("false acceptance rate (%): strangers let in")
    axes.set_ylabel("false rejection rate (%): speakers turned away")
    axes.grid(color="0.9")
    if len(curves) <= 4 and max(len(name) for name, _ in curves) <= 24:
        axes.legend(loc="lower left", frameon=True, framealpha=0.95, edgecolor="none")
    else:  # below the curves, which it would hide
        figure.set_figheight(6.0 + 0.25 * len(curves))
        figure.legend(loc="outside lower left", frameon=False)
    return figure


def _rate_opposite(det: Det, rate: float) -> float:
    """Return the smallest error rate above zero of a curve where its other rate is at most `rate`."""
    rates = np.concatenate((det.far[det.frr <= rate], det.frr[det.far <= rate]))
    return float(rates[rates > 0].min(initial=rate))


def _even_points(det: Det) -> np.ndarray:
    """Return the points of a curve that lie evenly along each probit axis: its rare ends need them most."""
    levels = np.array([NormalDist().cdf(z) for z in np.linspace(-4.5, 1.5, DET_POINTS // 2)])
    on_far = det.far.size - 1 - np.searchsorted(det.far[::-1], levels)
    return np.concatenate((on_far.clip(0), np.searchsorted(det.frr, levels).clip(0, det.frr.size - 1)))


def _probit(rates: np.ndarray) -> np.ndarray:
    """Return the normal deviate of each rate: 0.5 is 0, 0.02275 is -2."""
    inverse = NormalDist().inv_cdf
    return np.array([inverse(rate) for rate in rates.ravel().tolist()]).reshape(rates.shape)


def score_histogram(
    scores: ArrayLike, labels: ArrayLike, threshold: float | None = None, title: str = "Scores"
) -> Figure:
    """Return histograms of the scores (K,) of target and non-target trials, each with area 1.

    >>> type(score_histogram([0.9, 0.8, 0.3, 0.2], [1, 1, 0, 0], threshold=0.5)).__name__
    'Figure'
    """
    return score_histograms([(title, np.asarray(scores), np.asarray(labels).astype(bool), threshold)])


def score_histograms(
    panels: Sequence[tuple[str, np.ndarray, np.ndarray, float | None]], xlabel: str = "score (cosine)"
) -> Figure:
    """Return one histogram of (name, scores (K,), labels (K,), threshold or None) under the other.

    >>> type(score_histograms([("a", np.array([0.9, 0.2]), np.array([1, 0]), 0.5)])).__name__
    'Figure'
    """
    figure = blank(7.5, 0.6 + 3.2 * len(panels))
    low = min(float(scores.min()) for _, scores, _, _ in panels)
    high = max(float(scores.max()) for _, scores, _, _ in panels)
    margin = 0.02 * (high - low) or 0.05
    bins = np.linspace(low - margin, high + margin, 81)
    column = figure.subplots(len(panels), squeeze=False, sharex=True)[:, 0]
    for axes, (name, scores, labels, threshold) in zip(column, panels, strict=True):
        for part, color, word in (
            (scores[~labels], NONTARGET, "different speakers"),
            (scores[labels], TARGET, "same speaker"),
        ):
            density, _ = np.histogram(part, bins, density=True)
            axes.stairs(density, bins, fill=True, color=color, alpha=0.45)
            axes.stairs(density, bins, color=color, linewidth=1.5, label=f"{word} ({part.size:,} trials)")
        if threshold is not None:
            axes.axvline(
                threshold, color="0.2", linestyle="--", linewidth=1.5, label=f"threshold {threshold:.3f}"
            )
        axes.set(ylabel="density", title=plain(name), xlim=(bins[0], bins[-1]), ylim=(0, None))
        axes.legend(loc="upper left", frameon=False)
        axes.grid(axis="y", color="0.92")
        axes.set_axisbelow(True)
    column[-1].set_xlabel(xlabel)
    return figure
