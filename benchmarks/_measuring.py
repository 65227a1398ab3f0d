"""What the experiments of this folder share: an EER that remembers its draws of the speakers.

Figures of one condition or training are compared with those of another on the same draws, so that the draws
of every system of a trial list are kept, not its interval alone.

# K trials, R draws
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from voxid import metrics
from voxid.evaluation import EvaluationData
from voxid.evaluation.measure import LEVEL, RESAMPLES
from voxid.evaluation.scores import Scores
from voxid.metrics.confidence import FEWEST_SPEAKERS
from voxid.metrics.resampling import draws, figures_of_draws, judged


@dataclass(frozen=True, eq=False)
class SampledEer:
    """An EER, and what it would be for other draws of as many speakers, (R,); no draws: too few speakers."""

    rate: float
    rate_R: np.ndarray
    trials: int
    targets: int
    speakers: int

    @property
    def interval(self) -> tuple[float, float] | None:
        """The middle 95 % of the draws, widened to hold the rate itself as `metrics.intervals` does."""
        return interval(self.rate, self.rate_R)


def sampled_eer(
    scored: Scores, data: EvaluationData, *, resamples: int = RESAMPLES, seed: int = 0, threads: int = 1
) -> SampledEer:
    """Return the EER of scored trials of `data` with its draws: one seed draws alike for every system."""
    speaker_N = data.speakers()
    sides_2K = np.stack((speaker_N[scored.left_K], speaker_N[scored.right_K]))
    known, number_2K = np.unique(sides_2K, return_inverse=True)
    left_K, right_K = number_2K.reshape(sides_2K.shape).astype(np.int32)
    rate = metrics.eer(scored.score_K, scored.same_K).rate
    drawn_R = np.empty(0)
    if known.size >= FEWEST_SPEAKERS and resamples:
        system = judged(scored.score_K, scored.same_K, left_K, right_K)
        drawn_R = figures_of_draws(system, draws(known.size, resamples, seed), ["eer"], threads)["eer"]
    return SampledEer(rate, drawn_R, scored.same_K.size, int(scored.same_K.sum()), known.size)


def interval(value: float, drawn_R: np.ndarray) -> tuple[float, float] | None:
    """Return the percentile interval of a figure's draws, None where there are none.

    >>> interval(0.5, np.arange(101) / 100)
    (0.025, 0.975)
    """
    usable_R = drawn_R[~np.isnan(drawn_R)]
    if not usable_R.size:
        return None
    low, high = np.quantile(usable_R, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return float(min(low, value)), float(max(high, value))


def percent(rate: float, ends: tuple[float, float] | None = None, signed: bool = False) -> str:
    """Return a rate as people read it.

    >>> percent(0.1234, (0.1, 0.15)), percent(0.02, signed=True)
    ('12.34 (10.00 to 15.00)', '+2.00')
    """
    sign = "+" if signed else ""
    text = f"{100 * rate:{sign}.2f}"
    return text if ends is None else f"{text} ({100 * ends[0]:{sign}.2f} to {100 * ends[1]:{sign}.2f})"


def markdown(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return a Markdown table.

    >>> print(markdown(["a", "b"], [["1", "2"]]))
    | a | b |
    |---|---|
    | 1 | 2 |
    """
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(
        "|---" * len(head) + "|" if row is lines[1] else f"| {' | '.join(row)} |" for row in lines
    )
