"""Who is it, among all who are enrolled, or nobody we know?

# K candidates, D embedding
"""

from __future__ import annotations

import numpy as np

from voxid.decisions import Rule
from voxid.recognizer.hearing import Heard
from voxid.recognizer.references import References
from voxid.recognizer.roster import Near
from voxid.runtime import Runtime
from voxid.scoring import Qualities, trial_qualities
from voxid.types import Candidate, Identification

AT_LEAST = 200  # nearest people that are weighed against each other; those further off weigh nothing
CLOSE = 1.0  # LLR between two candidates who both pass: too near to each other to tell apart


def enrolled_llrs(
    asked: Rule, runtime: Runtime, heard: Heard, people: References, cosine_K: np.ndarray
) -> np.ndarray:
    """Return the calibrated LLR (K,) of the recording with each reference."""
    calibration = asked.calibration
    qualities = {}
    if measures := calibration.measures:
        every = np.arange(cosine_K.size)
        cohort = runtime.model.cohort if "cohort_mean" in measures else None
        enrolled = Qualities.of(people.embeddings(every), people.speech_P, cohort)
        probe = heard.qualities(calibration, runtime).take(np.zeros(cosine_K.size, np.intp))
        qualities = trial_qualities(measures, enrolled, probe)
    llr_K = calibration.llr(np.asarray(cosine_K, dtype=np.float64), qualities)
    return calibration.enrolled_llr(llr_K, people.clips_P)


def identification(
    asked: Rule, llr_K: np.ndarray, near: Near, names: dict[int, str], heard: Heard, top: int
) -> Identification:
    """Return the ranked candidates and the decision. `names` lacks who was deleted in the meantime."""
    threshold_K, surcharge_K = asked.bars(near.reference_K.clips_P, near.people)
    own_K, none = asked.posteriors(llr_K, surcharge_K)
    ranked = [k for k in np.argsort(-llr_K, kind="stable") if int(near.person_K[k]) in names]
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
        reason=_reason(asked, best, known, near.people),
        speech_s=heard.total_s,
        net_speech_s=heard.net_speech_s,
        warnings=(*heard.warnings, *_doubts(candidates, known)),
    )


def _reason(asked: Rule, best: Candidate | None, known: bool, people: int) -> str:
    if best is None:
        return "nobody is enrolled"
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
