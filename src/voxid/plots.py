"""Figures, drawn without a screen and without pyplot's global state.

Functions return a matplotlib `Figure`; `save` writes it whole or not at all, and `figure.savefig` works too.

# S samples, T frames, F bins, K trials, N embeddings, D embedding
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from statistics import NormalDist
from typing import TYPE_CHECKING, Any

import numpy as np

from voxid.files import atomic_write
from voxid.types import SAMPLE_RATE

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from numpy.typing import ArrayLike

    from voxid.metrics import Det

# Okabe and Ito (2008): told apart by colour-blind readers too.
COLORS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000", "#8C6D1F")
TARGET, NONTARGET = COLORS[0], COLORS[1]
HOP_S = 512 / SAMPLE_RATE  # seconds between frames, unless told otherwise
DET_TICKS = (0.0001, 0.001, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.8, 0.9)
DET_POINTS = 2000  # more than the eye can tell apart


def save(figure: Figure, path: str | os.PathLike[str]) -> None:
    """Write `figure` as a PNG, whole or not at all; raise DiskFull, NotWritable or OutputError."""
    with atomic_write(path) as file:
        figure.savefig(file, format="png", dpi=120)


def det_curve(curves: Sequence[tuple[str, Det]], title: str = "Detection error trade-off") -> Figure:
    """Return the DET curves of (name, `metrics.det(...)`) pairs on normal-deviate axes (Martin et al. 1997).

    A system whose two score distributions are normal with one variance is a straight line. The dot is the
    equal error rate, which the legend gives in per cent.
    """
    figure = _figure(6.0, 6.0)
    axes = figure.subplots()
    highest = 0.6
    lowest = min(_rate_opposite(det, highest) for _, det in curves)
    lowest = min(max(lowest / 2, 1e-5), 0.05)
    for number, (name, det) in enumerate(curves):
        points = np.unique(np.linspace(0, det.far.size - 1, DET_POINTS).round().astype(int))
        points = np.union1d(points, _even_points(det))
        far, frr = det.far[points].clip(lowest / 2, 1 - 1e-6), det.frr[points].clip(lowest / 2, 1 - 1e-6)
        rate = _equal_error(det)
        color = COLORS[number % len(COLORS)]
        axes.plot(
            _probit(far), _probit(frr), color=color, linewidth=2, label=f"{name}: EER {100 * rate:.2f} %"
        )
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
    axes.legend(loc="lower left", frameon=True, framealpha=0.95, edgecolor="none")
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


def _equal_error(det: Det) -> float:
    right = int(np.argmax(det.far <= det.frr))
    before, after = det.far[right - 1] - det.frr[right - 1], det.far[right] - det.frr[right]
    return float(det.far[right - 1] + before / (before - after) * (det.far[right] - det.far[right - 1]))


def _probit(rates: np.ndarray) -> np.ndarray:
    """Return the normal deviate of each rate: 0.5 is 0, 0.02275 is -2."""
    inverse = NormalDist().inv_cdf
    return np.array([inverse(rate) for rate in rates.ravel().tolist()]).reshape(rates.shape)


def score_histogram(
    scores: ArrayLike, labels: ArrayLike, threshold: float | None = None, title: str = "Scores"
) -> Figure:
    """Return histograms of the scores (K,) of target and non-target trials, each with area 1."""
    return score_histograms([(title, np.asarray(scores), np.asarray(labels).astype(bool), threshold)])


def score_histograms(panels: Sequence[tuple[str, np.ndarray, np.ndarray, float | None]]) -> Figure:
    """Return one histogram of (name, scores (K,), labels (K,), threshold or None) under the other."""
    figure = _figure(7.5, 0.6 + 3.2 * len(panels))
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
        axes.set(ylabel="density", title=name, xlim=(bins[0], bins[-1]), ylim=(0, None))
        axes.legend(loc="upper left", frameon=False)
        axes.grid(axis="y", color="0.92")
        axes.set_axisbelow(True)
    column[-1].set_xlabel("score (cosine)")
    return figure


def waveform(wave_S: ArrayLike, title: str = "Waveform", sample_rate: int = SAMPLE_RATE) -> Figure:
    """Return amplitude over time of samples (S,) in -1..1."""
    samples = np.asarray(wave_S)
    figure = _figure(8.0, 2.6)
    axes = figure.subplots()
    axes.plot(np.arange(samples.size) / sample_rate, samples, color=COLORS[0], linewidth=0.5)
    limit = max(float(np.abs(samples).max(initial=0.0)) * 1.1, 1e-3)
    axes.set(xlabel="time (s)", ylabel="amplitude (1 = full scale)", title=title, ylim=(-limit, limit))
    axes.set_xlim(0, max(samples.size / sample_rate, 1e-3))
    axes.grid(color="0.92")
    return figure


def features_image(feat_TF: ArrayLike, title: str = "Features", hop_s: float = HOP_S) -> Figure:
    """Return features (T, F) as an image: time to the right, coefficients upwards; `hop_s` per frame."""
    return features_row([feat_TF], [title], hop_s)


def before_after(
    before_TF: ArrayLike,
    after_TF: ArrayLike,
    titles: Sequence[str] = ("before", "after"),
    hop_s: float = HOP_S,
) -> Figure:
    """Return two images of features (T, F) side by side on one colour scale."""
    return features_row([before_TF, after_TF], titles, hop_s)


def features_row(feats_TF: Sequence[ArrayLike], titles: Sequence[str], hop_s: float = HOP_S) -> Figure:
    """Return images of several features (T, F) side by side on one colour scale."""
    from matplotlib.colors import AsinhNorm

    images = [np.asarray(feat_TF, dtype=np.float64) for feat_TF in feats_TF]
    figure = _figure(8.0 if len(images) == 1 else 1.2 + 3.6 * len(images), 3.2)
    values = np.concatenate([image.ravel() for image in images])
    # The first cepstral coefficients dwarf the others: colours are linear near zero, logarithmic far out.
    scale = AsinhNorm(
        linear_width=float(np.median(np.abs(values))) or 1.0,
        vmin=float(values.min()),
        vmax=float(values.max()) + 1e-6,
    )
    row = figure.subplots(1, len(images), squeeze=False, sharey=True)[0]
    shown = None
    for axes, image, title in zip(row, images, titles, strict=True):
        extent = (0, len(image) * hop_s, -0.5, image.shape[1] - 0.5)
        shown = axes.imshow(image.T, origin="lower", aspect="auto", extent=extent, cmap="viridis", norm=scale)
        axes.set(xlabel="time (s)", title=title)
    row[0].set_ylabel("coefficient")
    if shown is not None:
        marks = [mark for mark in (-100, -10, 0, 10, 100) if values.min() <= mark <= values.max()]
        bar = figure.colorbar(shown, ax=list(row), label="value", pad=0.02, ticks=marks)
        bar.ax.set_yticks(marks, [str(mark) for mark in marks])
        bar.ax.minorticks_off()
    return figure


def losses(values: Sequence[float], title: str = "Loss") -> Figure:
    """Return the loss over training steps, thin, with its running mean, thick."""
    figure = _figure(7.0, 3.4)
    axes = figure.subplots()
    steps = np.arange(1, len(values) + 1)
    axes.plot(steps, values, color=COLORS[0], alpha=0.35, linewidth=1)
    axes.plot(steps, _running_mean(values, max(1, len(values) // 10)), color=COLORS[0], linewidth=2)
    axes.set(xlabel="step", ylabel="loss", title=title, ylim=(0, None))
    axes.grid(color="0.92")
    return figure


def principal_components(emb_ND: ArrayLike, components: int = 2) -> np.ndarray:
    """Return the rows projected on their directions of largest variance, (N, components) float64, centred.

    Each direction points the way in which its largest weight is positive: a picture comes out the same.

    >>> principal_components([[0.0, 0.0], [0.0, 2.0], [0.0, 4.0]], 1).ravel().tolist()
    [-2.0, 0.0, 2.0]
    """
    rows = np.asarray(emb_ND, dtype=np.float64)
    centred = rows - rows.mean(axis=0)
    directions = np.linalg.svd(centred, full_matrices=False)[2][:components]
    largest = directions[np.arange(len(directions)), np.abs(directions).argmax(axis=1)]
    return centred @ (directions * np.where(largest < 0, -1.0, 1.0)[:, None]).T


def embedding_scatter(
    emb_ND: ArrayLike, speakers: Sequence[Any] | np.ndarray, title: str = "Embeddings"
) -> Figure:
    """Return embeddings (N, D) as points in two dimensions, a colour and a marker for each speaker (N,).

    Embeddings of more than two dimensions are scaled to length 1, as the cosine sees them, and projected on
    their two principal components.
    """
    points = np.asarray(emb_ND, dtype=np.float64)
    if points.shape[1] > 2:
        lengths = np.linalg.norm(points, axis=1, keepdims=True)
        points = principal_components(points / np.where(lengths > 0, lengths, 1.0))
    figure = _figure(6.5, 5.2)
    axes = figure.subplots()
    of = np.asarray(speakers)
    names = np.unique(of)
    markers = "osD^vP*X"
    for number, name in enumerate(names):
        rows = of == name
        axes.scatter(
            points[rows, 0],
            points[rows, 1],
            s=34,
            color=COLORS[number % len(COLORS)],
            marker=markers[number // len(COLORS) % len(markers)],
            edgecolors="white",
            linewidths=0.5,
            label=str(name),
        )
    axes.set(xlabel="first principal component", ylabel="second principal component", title=title)
    axes.grid(color="0.92")
    axes.set_axisbelow(True)
    if names.size <= 24:
        axes.legend(title="speaker", loc="center left", bbox_to_anchor=(1.0, 0.5), frameon=False, fontsize=8)
    return figure


def _figure(width: float, height: float) -> Figure:
    """Return an empty figure of that size in inches, which needs neither a screen nor pyplot."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(figure)
    return figure


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
