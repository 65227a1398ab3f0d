"""Who is it, among all who are enrolled, or nobody we know?

# K candidates, D embedding
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from voxid.embed import Runtime
from voxid.recognizer.hearing import Heard
from voxid.recognizer.references import References
from voxid.recognizer.roster import Near
from voxid.scoring import Qualities, trial_qualities
from voxid.scoring.decision import Rule
from voxid.types import Candidate, Identification

AT_LEAST = 200  # nearest people that are weighed against each other; those further off weigh nothing
CLOSE = 1.0  # LLR between two candidates who both pass: too near to each other to tell apart


def enrolled_llrs(
    asked: Rule,
    runtime: Runtime,
    heard: Heard,
    cosine_K: np.ndarray,
    clips_K: np.ndarray,
    people: Callable[[], References],
) -> np.ndarray:
    """Return the calibrated LLR (K,) of the recording with references of these cosines, worth so many clips.

    `people` gives the references themselves, and is asked only where the calibration weighs their quality.
    """
    calibration = asked.calibration
    qualities = {}
    if (measures := calibration.measures) and cosine_K.size:
        every, enrolled = np.arange(cosine_K.size), people()
        cohort = runtime.model.cohort if "cohort_mean" in measures else None
        model = Qualities.of(enrolled.embeddings(every), enrolled.speech_P, cohort)
        probe = heard.qualities(calibration, runtime).take(np.zeros(cosine_K.size, np.intp))
        qualities = trial_qualities(measures, model, probe)
    elif measures:
        return np.zeros(0)
    llr_K = calibration.llr(np.asarray(cosine_K, dtype=np.float64), qualities)
    return calibration.enrolled_llr(llr_K, clips_K)


def identification(
    asked: Rule, llr_K: np.ndarray, near: Near, names: dict[int, str], heard: Heard, top: int, where: str
) -> Identification:
    """Return the ranked candidates and the decision. `where` names what was searched."""
    threshold_K, surcharge_K = asked.bars(near.clips_K, near.people)
    own_K, none = asked.posteriors(llr_K, surcharge_K)
    ranked = np.argsort(-llr_K, kind="stable")
    candidates = tuple(
        Candidate(
            rank=rank,
            speaker=names[int(near.person_K[k])],
            llr=float(llr_K[k]),
            probability=float(own_K[k]),
            cosine=float(near.cosine_K[k]),
            threshold=float(threshold_K[k]),
        )
        for rank, k in enumerate(ranked, start=1)
    )
    best = candidates[0] if candidates else None
    known = best is not None and best.llr >= best.threshold
    return Identification(
        known=known,
        speaker=best.speaker if best is not None and known else None,
        candidates=candidates[:top],
        threshold=best.threshold if best is not None else asked.threshold(1.0, near.people),
        enrolled=near.people,
        unknown_probability=none,
        prior=asked.prior,
        reason=_reason(asked, best, known, near.people, where),
        speech_s=heard.total_s,
        net_speech_s=heard.net_speech_s,
        warnings=(*heard.warnings, *_doubts(candidates, known)),
    )


def _reason(asked: Rule, best: Candidate | None, known: bool, people: int, where: str) -> str:
    if best is None:
        return f"nobody is enrolled in {where}"
    side = "at or above" if known else "below"
    return (
        f"the nearest is {best.speaker!r}, LLR {best.llr:.2f}, {side} the threshold {best.threshold:.2f} "
        f"({asked.describe(people)})"
    )


def _doubts(candidates: tuple[Candidate, ...], known: bool) -> list[str]:
    """Return a warning when the second is as good as the first."""
    if not known or len(candidates) < 2:
        return []
    first, second = candidates[:2]
    if second.llr < second.threshold or first.llr - second.llr >= CLOSE:
        return []
    return [
        f"{second.speaker!r} passes too, with an LLR only {first.llr - second.llr:.2f} lower: "
        "one person enrolled twice, or two voices that are too much alike."
    ]
