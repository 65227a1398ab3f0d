"""Weighted logistic regression by Newton's method, in blocks: memory does not grow with the trials.

# K trials, P columns of the design (the score, the qualities, and a constant 1 at the end)
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

STEPS = 100
BLOCK = 1 << 18  # trials


@dataclass(frozen=True, slots=True, eq=False)
class Predictor:
    """One explanatory variable (K,), its mean and standard deviation, and how strongly its weight is held.

    `ridge` weighs the squared distance of its weight (of the standardised variable) from `center` beside the
    mean loss.
    """

    value_K: np.ndarray
    mean: float
    spread: float
    ridge: float
    center: float = 0.0

    @classmethod
    def of(cls, value_K: np.ndarray, ridge: float) -> Predictor:
        """Return the column with its moments, computed in float64; a constant one gets a spread of 1."""
        mean = float(value_K.mean(dtype=np.float64))
        square = sum(float(np.sum((part - mean) ** 2, dtype=np.float64)) for part in _blocks(value_K))
        plain = cls(value_K, mean, 1.0, ridge)
        return plain if plain.constant else cls(value_K, mean, (square / value_K.size) ** 0.5, ridge)

    @property
    def constant(self) -> bool:
        """Whether all values are the same but for rounding, so that no weight can be found for them."""
        low, high = float(self.value_K.min()), float(self.value_K.max())
        return high - low <= 8 * float(np.finfo(self.value_K.dtype).eps) * max(abs(low), abs(high))


def _blocks(value_K: np.ndarray) -> list[np.ndarray]:
    return [value_K[first : first + BLOCK] for first in range(0, value_K.size, BLOCK)]


def fit_logistic(
    columns: Sequence[Predictor],
    label_K: np.ndarray,
    prior: float,
    shift: float,
    *,
    weight_K: np.ndarray | None = None,
    ridge: float = 0.0,
) -> np.ndarray:
    """Return the weights of the standardised columns and, last, the intercept: (P,) float64.

    Minimises the mean of log(1 + exp(-sign (x . weights + shift))) in which the target trials (`label_K`)
    weigh `prior` together and the others the rest, plus the ridges; `ridge` is that of the intercept. Trials
    of a kind share its weight evenly, or as `weight_K` says. `shift` is the prior's log odds, inside so that
    x . weights is a likelihood ratio. Each Newton step is halved until the loss falls.
    """
    problem = _Problem(columns, label_K, prior, shift, weight_K, ridge)
    weights_P = problem.center_P.copy()
    loss, gradient_P, hessian_PP = problem.at(weights_P)
    for _ in range(STEPS):
        step_P = np.linalg.lstsq(hessian_PP, gradient_P, rcond=None)[0]
        size = 1.0
        there = problem.at(weights_P - step_P)
        while there[0] > loss and size > 1e-10:  # a full step may overshoot at first
            size /= 2
            there = problem.at(weights_P - size * step_P)
        if there[0] > loss:
            break
        gain, weights_P = loss - there[0], weights_P - size * step_P
        loss, gradient_P, hessian_PP = there
        if gain <= 1e-14 * max(1.0, loss):
            break
    return weights_P


class _Problem:
    """The loss of a set of trials, with its first two derivatives."""

    def __init__(
        self,
        columns: Sequence[Predictor],
        label_K: np.ndarray,
        prior: float,
        shift: float,
        weight_K: np.ndarray | None,
        ridge: float,
    ) -> None:
        self._columns, self._label_K, self._shift = columns, label_K, shift
        self._weight_K = np.ones(label_K.size, np.float32) if weight_K is None else weight_K
        targets, all_ = (float(self._weight_K[of].sum(dtype=np.float64)) for of in (label_K, slice(None)))
        self._target, self._other = prior / targets, (1 - prior) / (all_ - targets)
        self._ridge_P = np.array([*(column.ridge for column in columns), ridge])
        self.center_P = np.array([*(column.center for column in columns), 0.0])

    def at(self, weights_P: np.ndarray) -> tuple[float, np.ndarray, np.ndarray]:
        """Return (loss, gradient (P,), Hessian (P, P)) at these weights."""
        off_P = weights_P - self.center_P
        loss = 0.5 * float(self._ridge_P @ off_P**2)
        gradient_P, hessian_PP = self._ridge_P * off_P, np.diag(self._ridge_P)
        for first in range(0, self._label_K.size, BLOCK):
            part = slice(first, first + BLOCK)
            design_PK = self._design(part)
            label_K = self._label_K[part]
            sign_K = np.where(label_K, 1.0, -1.0)
            weight_K = self._weight_K[part] * np.where(label_K, self._target, self._other)
            margin_K = sign_K * (weights_P @ design_PK + self._shift)
            cost_K = np.logaddexp(0, -margin_K)
            wrong_K = np.exp(-margin_K - cost_K)  # P(the wrong answer)
            loss += float(weight_K @ cost_K)
            gradient_P -= design_PK @ (weight_K * sign_K * wrong_K)
            hessian_PP += (design_PK * (weight_K * wrong_K * (1 - wrong_K))) @ design_PK.T
        return loss, gradient_P, hessian_PP

    def _design(self, part: slice) -> np.ndarray:
        design_PK = np.ones((len(self._columns) + 1, self._label_K[part].size))
        for row, column in enumerate(self._columns):
            np.subtract(column.value_K[part], column.mean, out=design_PK[row], dtype=np.float64)
            design_PK[row] /= column.spread
        return design_PK
