"""Pictures of what goes into an encoder and what comes out: waveforms, features, embeddings.

# S samples, T frames, F bins, N embeddings, D embedding
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from voxid.plots.canvas import COLORS, blank
from voxid.types import SAMPLE_RATE

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from numpy.typing import ArrayLike

HOP_S = 512 / SAMPLE_RATE  # seconds between frames, unless told otherwise


def waveform(wave_S: ArrayLike, title: str = "Waveform", sample_rate: int = SAMPLE_RATE) -> Figure:
    """Return amplitude over time of samples (S,) in -1..1.

    >>> type(waveform(voxid.audio.load("alice1.wav"))).__name__
    'Figure'
    """
    samples = np.asarray(wave_S)
    figure = blank(8.0, 2.6)
    axes = figure.subplots()
    axes.plot(np.arange(samples.size) / sample_rate, samples, color=COLORS[0], linewidth=0.5)
    limit = max(float(np.abs(samples).max(initial=0.0)) * 1.1, 1e-3)
    axes.set(xlabel="time (s)", ylabel="amplitude (1 = full scale)", title=title, ylim=(-limit, limit))
    axes.set_xlim(0, max(samples.size / sample_rate, 1e-3))
    axes.grid(color="0.92")
    return figure


def features_image(feat_TF: ArrayLike, title: str = "Features", hop_s: float = HOP_S) -> Figure:
    """Return features (T, F) as an image: time to the right, coefficients upwards; `hop_s` per frame.

    >>> type(features_image(np.zeros((50, 40)))).__name__
    'Figure'
    """
    return features_row([feat_TF], [title], hop_s)


def before_after(
    before_TF: ArrayLike,
    after_TF: ArrayLike,
    titles: Sequence[str] = ("before", "after"),
    hop_s: float = HOP_S,
) -> Figure:
    """Return two images of features (T, F) side by side on one colour scale.

    >>> type(before_after(np.zeros((50, 40)), np.ones((50, 40)))).__name__
    'Figure'
    """
    return features_row([before_TF, after_TF], titles, hop_s)


def features_row(feats_TF: Sequence[ArrayLike], titles: Sequence[str], hop_s: float = HOP_S) -> Figure:
    """Return images of several features (T, F) side by side on one colour scale.

    >>> type(features_row([np.zeros((50, 40)), np.ones((50, 40))], ["one", "two"])).__name__
    'Figure'
    """
    from matplotlib.colors import AsinhNorm

    images = [np.asarray(feat_TF, dtype=np.float64) for feat_TF in feats_TF]
    figure = blank(8.0 if len(images) == 1 else 1.2 + 3.6 * len(images), 3.2)
    values = np.concatenate([image.ravel() for image in images])
    # The first cepstral coefficients dwarf the others: colours are linear near zero, logarithmic far out.
    scale = AsinhNorm(
        linear_width=float(np.median(np.abs(values))) or 1.0,
        vmin=float(values.min()),
        vmax=float(values.max()) + 1e-6,
    )
    row = figure.subplots(1, len(images), squeeze=False, sharey=True)[0]
    for axes, image, title in zip(row, images, titles, strict=True):
        extent = (0, len(image) * hop_s, -0.5, image.shape[1] - 0.5)
        axes.imshow(image.T, origin="lower", aspect="auto", extent=extent, cmap="viridis", norm=scale)
        axes.set(xlabel="time (s)", title=title)
    row[0].set_ylabel("coefficient")
    marks = [mark for mark in (-100, -10, 0, 10, 100) if values.min() <= mark <= values.max()]
    bar = figure.colorbar(row[0].images[0], ax=list(row), label="value", pad=0.02, ticks=marks)
    bar.ax.set_yticks(marks, [str(mark) for mark in marks])
    bar.ax.minorticks_off()
    return figure


def principal_components(emb_ND: ArrayLike, components: int = 2) -> np.ndarray:
    """Return the rows projected on their directions of largest variance, (N, components) float64, centred.

    Each direction points the way in which its largest weight is positive: a picture comes out the same.

    >>> principal_components([[0.0, 0.0], [0.0, 2.0], [0.0, 4.0]], 1).ravel().round(9).tolist()
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

    >>> type(embedding_scatter(np.eye(4), ["ann", "ann", "bob", "bob"])).__name__
    'Figure'
    """
    points = np.asarray(emb_ND, dtype=np.float64)
    if points.shape[1] > 2:
        lengths = np.linalg.norm(points, axis=1, keepdims=True)
        points = principal_components(points / np.where(lengths > 0, lengths, 1.0))
    figure = blank(6.5, 5.2)
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
