"""Two recordings in, one decision out, and no database."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Unpack

from voxid.audio import LEAST_SPEECH_S
from voxid.embed import Embedder
from voxid.errors import NotCalibrated
from voxid.recognizer.hearing import calibration_of, hear, runtime_of
from voxid.scoring import llr
from voxid.scoring.decision import RuleOptions, decide, rule
from voxid.scoring.evidence import cosines, unlike
from voxid.types import Decision

if TYPE_CHECKING:
    from voxid.audio import Source


def compare(
    a: Source,
    b: Source,
    model: str | os.PathLike[str] | Embedder | None = None,
    *,
    least_speech_s: float = LEAST_SPEECH_S,
    vad: str = "energy",
    device: str = "cpu",
    **options: Unpack[RuleOptions],
) -> Decision:
    """Return whether one person speaks in both `a` and `b` (path, bytes, open file or (samples, rate)).

    `model` is a shipped name ("voxid-base" when not given), a model folder or a loaded runtime. The score is
    the cosine of the two embeddings; the decision is its calibrated log-likelihood ratio against a threshold:
    the one stored with the model, or that of `prior` and costs, or that of the false-alarm rate `far`
    (`voxid.scoring.decision.rule`). Raise an AudioError for a recording that cannot be used, TooLittleSpeech
    below `least_speech_s` seconds; UnknownModel, BadModel, NotCalibrated (with the cosine) for the model;
    BadConfig for the numbers.

    >>> decision = voxid.compare("alice1.wav", "alice2.wav")
    >>> decision.accepted, decision.llr > decision.threshold
    (True, True)
    """
    runtime, name = runtime_of(model, device)
    try:
        calibration = calibration_of(runtime, name)
    except NotCalibrated as error:  # no decision; what there is to say is the cosine
        left, right = hear(runtime, [a, b], least_s=least_speech_s, vad=vad)
        [score] = cosines(left.side, right.side)
        raise NotCalibrated(f"{error} The cosine of the two recordings is {score:.4f}.") from None
    asked = rule(calibration, **options)
    left, right = hear(runtime, [a, b], least_s=least_speech_s, vad=vad)
    [score] = cosines(left.side, right.side)
    [found] = llr(calibration, left.side, right.side, runtime.model.cohort, cosine_K=[score])
    return decide(
        asked,
        float(found),
        float(score),
        speech_s=(left.total_s, right.total_s),
        net_speech_s=(left.net_speech_s, right.net_speech_s),
        warnings=tuple(
            f"{one.source}: {warning}"
            for one in (left, right)
            for warning in (*one.warnings, *unlike(calibration, one.side, runtime.model.cohort))
        ),
    )
