"""Pictures of calibration: whether log-likelihood ratios mean what they say, and what it costs if not.

Both take `metrics.det(llrs, labels)`: the sorted trials, which are all that is needed.

# N distinct LLRs, H corners of the convex hull
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from voxid.plots.canvas import COLORS, NONTARGET, TARGET, blank

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from voxid.metrics import Det

PRIORS = (0.01, 0.05)  # of the detection costs that reports name
STEPS = 241  # priors at which the cost is drawn
WIDEST = 25.0  # LLRs beyond e^25 to 1 are drawn at the edge


def calibration_plot(llrs: Det, title: str = "Calibration", color: str = COLORS[0]) -> Figure:
    """Return the LLRs that would have been right on these trials over the LLRs that were given.

    `llrs` is `metrics.det(llrs, labels)` with natural-log likelihood ratios. "Right" is the best calibration
    that keeps the order, found on the same trials by pooling adjacent violators (the slopes of the ROC's
    convex hull; Fawcett and Niculescu-Mizil 2007). A calibrated system follows the diagonal; below it the
    system is too sure. The lower panel shows where the trials are. The curve's ends rest on few trials.

    >>> from voxid.metrics import det
    >>> type(calibration_plot(det([2.0, 1.0, -1.0], [1, 0, 0]))).__name__
    'Figure'
    """
    corner_H = hull(llrs)
    with np.errstate(divide="ignore"):
        right = np.log(np.diff(llrs.frr[corner_H])) - np.log(-np.diff(llrs.far[corner_H]))
    first, last = llrs.thresholds[corner_H[:-1]], llrs.thresholds[corner_H[1:] - 1]
    low, high = _span(llrs)
    figure = blank(5.0, 5.4)
    axes, trials = figure.subplots(2, 1, sharex=True, height_ratios=(4, 1))
    axes.plot((low, high), (low, high), color="0.6", linewidth=1, linestyle=":", label="perfectly calibrated")
    known = np.isfinite(right)  # infinite where trials of one kind only lie: not drawn
    given = np.stack((first[known], last[known]), axis=1).ravel()
    axes.plot(given, np.repeat(right[known], 2), color=color, linewidth=2, label="this system")
    for line in (axes.axvline, axes.axhline):
        line(0, color="0.8", linewidth=1, zorder=0)
    axes.set(xlim=(low, high), ylim=(low, high), title=title)
    axes.set_ylabel("LLR that was right")
    axes.grid(color="0.92")
    axes.legend(loc="upper left", frameon=False)
    bins = np.linspace(low, high, 61)
    for share, part in ((-np.diff(llrs.far), NONTARGET), (np.diff(llrs.frr), TARGET)):
        inside, _ = np.histogram(llrs.thresholds[:-1].clip(low, high), bins, weights=share)
        trials.stairs(inside, bins, fill=True, color=part, alpha=0.45)
    trials.set(xlabel="LLR that was given (natural logarithm)", ylabel="trials", yticks=[])
    return figure


def bayes_error_plot(llrs: Det, title: str = "Cost of decisions", color: str = COLORS[0]) -> Figure:
    """Return the normalised detection cost over the prior for which decisions are made.

    `llrs` is `metrics.det(llrs, labels)` with natural-log likelihood ratios. Three lines (Brümmer and du
    Preez 2006): the actual cost, deciding at the Bayes threshold; the minimum, with the best threshold for
    each prior; and 1, the cost of deciding blindly. The difference between the first two is the loss from
    calibration.

    >>> from voxid.metrics import det
    >>> type(bayes_error_plot(det([2.0, 1.0, -1.0], [1, 0, 0]))).__name__
    'Figure'
    """
    odds = np.linspace(-7.0, 7.0, STEPS)  # a prior of 0.1 % to 99.9 %
    target, other = 1 / (1 + np.exp(-odds)), 1 / (1 + np.exp(odds))
    scale = np.minimum(target, other)
    at = np.searchsorted(llrs.thresholds, -odds)  # accept from the Bayes threshold up
    actual = (target * llrs.frr[at] + other * llrs.far[at]) / scale
    corner_H = hull(llrs)
    costs = np.outer(target, llrs.frr[corner_H]) + np.outer(other, llrs.far[corner_H])
    figure = blank(5.0, 4.2)
    axes = figure.subplots()
    axes.axhline(1.0, color="0.6", linewidth=1, linestyle=":", label="deciding blindly")
    axes.plot(odds, actual, color=color, linewidth=2, label="actual")
    axes.plot(odds, costs.min(axis=1) / scale, color="black", linewidth=1.3, linestyle="--", label="minimum")
    top = max(1.1, min(2.0, 1.05 * float(actual.max())))
    for prior in PRIORS:
        place = float(np.log(prior / (1 - prior)))
        axes.axvline(place, color="0.8", linewidth=1, zorder=0)
        mark = {"xytext": (3, -11), "textcoords": "offset points", "fontsize": 8}
        axes.annotate(f"{100 * prior:g} %", (place, top), **mark)
    axes.set(xlim=(odds[0], odds[-1]), ylim=(0, top))
    axes.set_title(title, pad=24 if title else None)  # the legend stands between
    axes.set_xlabel("log odds of the prior of “same speaker”")
    axes.set_ylabel("normalised cost (DCF)")
    axes.grid(color="0.92")
    axes.legend(loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=3, frameon=False)
    return figure


def hull(curve: Det) -> np.ndarray:
    """Return the numbers of the points (H,) on the lower left convex hull of (FAR, FRR), ends included.

    No other point is the best threshold of any prior. A point that is not below the line between its
    neighbours is on no hull, so all such points go at once; the few passes that shorten the curve well are
    vectorised, and a stack finishes the rest in one pass.

    >>> from voxid import metrics
    >>> hull(metrics.det([0.1, 0.2, 0.3, 0.4], [0, 1, 0, 1])).tolist()
    [0, 1, 3, 4]
    """
    keep_H = np.arange(curve.far.size)
    while keep_H.size > 2:
        far, frr = curve.far[keep_H], curve.frr[keep_H]
        below = _turn(far[:-2], frr[:-2], far[1:-1], frr[1:-1], far[2:], frr[2:]) < 0
        keep_H = keep_H[np.concatenate(([True], below, [True]))]
        if below.size - np.count_nonzero(below) <= below.size // 8:
            break
    points = list(zip(curve.far[keep_H].tolist(), curve.frr[keep_H].tolist(), keep_H.tolist(), strict=True))
    corners: list[tuple[float, float, int]] = []
    for point in points:
        while len(corners) > 1 and _turn(*corners[-2][:2], *corners[-1][:2], *point[:2]) >= 0:
            corners.pop()
        corners.append(point)
    return np.array([number for _, _, number in corners])


def _turn(x0: Any, y0: Any, x1: Any, y1: Any, x2: Any, y2: Any) -> Any:
    """Return a negative number where point 1 is below the line from point 0 to point 2 (leftwards)."""
    return (x1 - x0) * (y2 - y0) - (x2 - x0) * (y1 - y0)


def _span(llrs: Det) -> tuple[float, float]:
    """Return the LLRs between which all but 0.1 % of each kind of trial lie, 0 among them, as axis limits."""
    low = llrs.thresholds[max(int(np.searchsorted(-llrs.far, -0.999)) - 1, 0)]
    high = llrs.thresholds[min(int(np.searchsorted(llrs.frr, 0.999)), llrs.thresholds.size - 2)]
    low, high = max(min(float(low), -1.0), -WIDEST), min(max(float(high), 1.0), WIDEST)
    margin = 0.05 * (high - low)
    return low - margin, high + margin
