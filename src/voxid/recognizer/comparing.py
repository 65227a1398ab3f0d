"""Two recordings in, one decision out, and no database."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import numpy as np

from voxid.audio import LEAST_SPEECH_S
from voxid.embed import Runtime
from voxid.recognizer.hearing import Heard, calibration_of, hear, runtime_of
from voxid.scoring import Calibration, cosine, trial_qualities
from voxid.scoring.decision import Rule, rule
from voxid.types import Decision

if TYPE_CHECKING:
    from voxid.audio import Source


def compare(
    a: Source,
    b: Source,
    model: str | os.PathLike[str] | Runtime | None = None,
    *,
    prior: float | None = None,
    cost_miss: float | None = None,
    cost_false_alarm: float | None = None,
    far: float | None = None,
    least_speech_s: float = LEAST_SPEECH_S,
    vad: str = "energy",
    device: str = "cpu",
) -> Decision:
    """Return whether one speaker said both `a` and `b` (path, bytes, open file or (samples, rate)).

    `model` is a shipped name ("voxid-base" when not given), a model folder or a loaded runtime. The score is
    the cosine of the two embeddings; the decision is its calibrated log-likelihood ratio against a threshold:
    the one stored with the model, or that of `prior` and costs, or that of the false-alarm rate `far`
    (`voxid.scoring.decision.rule`). Raise an AudioError for a recording that cannot be used, TooLittleSpeech
    below `least_speech_s` seconds; UnknownModel, BadModel, NotCalibrated for the model; BadConfig for the
    numbers.

    Example: `compare("a.wav", "b.wav", model="models/mine").accepted`.
    """
    runtime, name = runtime_of(model, device)
    calibration = calibration_of(runtime, name)
    asked = rule(calibration, prior=prior, cost_miss=cost_miss, cost_false_alarm=cost_false_alarm, far=far)
    left, right = hear(runtime, [a, b], least_s=least_speech_s, vad=vad)
    score = float(cosine(left.emb_D[None], right.emb_D[None])[0, 0])
    return decide(
        asked,
        llr_of(calibration, runtime, score, left, right),
        score,
        speech_s=(left.total_s, right.total_s),
        net_speech_s=(left.net_speech_s, right.net_speech_s),
        warnings=_labelled(left, right),
    )


def llr_of(calibration: Calibration, runtime: Runtime, score: float, left: Heard, right: Heard) -> float:
    """Return the calibrated LLR of two recordings."""
    qualities = {}
    if measures := calibration.measures:
        sides = (side.qualities(calibration, runtime) for side in (left, right))
        qualities = trial_qualities(measures, *sides)
    return float(calibration.llr(np.array([score]), qualities)[0])


def decide(
    asked: Rule,
    llr: float,
    score: float,
    *,
    speech_s: tuple[float, float],
    net_speech_s: tuple[float, float],
    clips: float = 1.0,
    speaker: str | None = None,
    warnings: tuple[str, ...] = (),
) -> Decision:
    """Return the decision on one claimed identity."""
    threshold = asked.threshold(clips)
    accepted = llr >= threshold
    return Decision(
        accepted=accepted,
        llr=llr,
        probability=asked.probability(llr),
        cosine=score,
        threshold=threshold,
        speech_s=speech_s,
        reason=f"LLR {llr:.2f} is {'at or above' if accepted else 'below'} the threshold {threshold:.2f} "
        f"({asked.describe()})",
        net_speech_s=net_speech_s,
        prior=asked.prior,
        speaker=speaker,
        warnings=warnings,
    )


def _labelled(left: Heard, right: Heard) -> tuple[str, ...]:
    """Return the warnings of both recordings, each with the name of its own."""
    return tuple(f"{side.source}: {warning}" for side in (left, right) for warning in side.warnings)
