"""Figures, drawn without a screen and without pyplot's global state.

Functions return a matplotlib `Figure`; `save` writes it whole or not at all, `svg` returns it for a page, and
`figure.savefig` works too.
"""

from voxid.plots.calibration import bayes_error_plot, calibration_plot
from voxid.plots.canvas import COLORS, NONTARGET, TARGET, save
from voxid.plots.errors import cost_curve, error_rates, interval_bars
from voxid.plots.inline import svg
from voxid.plots.signals import (
    HOP_S,
    before_after,
    embedding_scatter,
    features_image,
    features_row,
    principal_components,
    waveform,
)
from voxid.plots.training import losses, training_curve
from voxid.plots.verification import DET_TICKS, det_curve, score_histogram, score_histograms

__all__ = [
    "COLORS",
    "DET_TICKS",
    "HOP_S",
    "NONTARGET",
    "TARGET",
    "bayes_error_plot",
    "before_after",
    "calibration_plot",
    "cost_curve",
    "det_curve",
    "embedding_scatter",
    "error_rates",
    "features_image",
    "features_row",
    "interval_bars",
    "losses",
    "principal_components",
    "save",
    "score_histogram",
    "score_histograms",
    "svg",
    "training_curve",
    "waveform",
]
