"""The figures of the page, as SVG, each with a text alternative that holds its numbers.

# K trials
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from markupsafe import Markup

from voxid import metrics, plots
from voxid.evaluation.report.values import ModelReport
from voxid.evaluation.scores import Scores
from voxid.plots import COLORS

if TYPE_CHECKING:
    from matplotlib.figure import Figure


@dataclass(frozen=True, slots=True)
class ModelFigures:
    """The figures of one system as SVG; the last two are None for a system without a calibration."""

    name: str
    histogram: Markup
    calibration: Markup | None = None
    bayes_error: Markup | None = None


def det_figure(systems: Sequence[Scores], models: Sequence[ModelReport]) -> Markup:
    """Return the DET curves of all systems in one SVG."""
    curves = [(system.name, metrics.det(system.score_K, system.same_K)) for system in systems]
    rates = "; ".join(f"{m.model} {100 * m.eer:.2f} %" for m in models)
    figure = plots.det_curve(curves, title="")
    figure.set_size_inches(5.0, figure.get_figheight() - 1.0)
    return _svg(figure, "det", f"Detection error trade-off. Equal error rates: {rates}.")


def model_figures(number: int, system: Scores, model: ModelReport) -> ModelFigures:
    """Return the figures of system `number` of the report, in its colour."""
    scores = [("", system.score_K, system.same_K, model.eer_threshold)]
    figure = plots.score_histograms(scores, xlabel=f"score ({model.scoring})")
    figure.set_size_inches(5.0, 3.2)
    axes = figure.axes[0]
    axes.set_ylim(0, 1.25 * axes.get_ylim()[1])  # the legend stands above the bars
    about = f"Histograms of the scores of {model.model}: {model.targets:,} trials of one speaker, "
    histogram = _svg(
        figure,
        f"scores-{number}",
        f"{about}{model.nontargets:,} of different speakers, threshold {model.eer_threshold:.3f}.",
    )
    if system.llr_K is None:
        return ModelFigures(model.model, histogram)
    llrs = metrics.det(system.llr_K, system.same_K)
    color = COLORS[number % len(COLORS)]
    actual = "" if model.act_dcf is None else f", actual {model.act_dcf:.3f}"
    return ModelFigures(
        model.model,
        histogram,
        _svg(
            plots.calibration_plot(llrs, title="", color=color),
            f"calibration-{number}",
            f"Reliability of the LLRs of {model.model}: Cllr {model.cllr:.3f}, least {model.min_cllr:.3f}.",
        ),
        _svg(
            plots.bayes_error_plot(llrs, title="", color=color),
            f"cost-{number}",
            f"Cost of decisions by {model.model}: minimum DCF {model.min_dcf:.3f} at a prior of 1 %{actual}.",
        ),
    )


def _svg(figure: Figure, name: str, description: str) -> Markup:
    """Return `figure` as markup; matplotlib has escaped the names in it."""
    return Markup(plots.svg(figure, name, description))
