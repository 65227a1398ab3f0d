"""Who is it, among all who are enrolled, or nobody we know?

# K candidates
"""

from __future__ import annotations

import numpy as np

from voxid.recognizer.hearing import Heard
from voxid.recognizer.roster import Near
from voxid.scoring.decision import Rule
from voxid.types import Candidate, Identification

AT_LEAST = 200  # nearest people that are weighed against each other; those further off weigh nothing
NAMED = 5  # people a warning names
CLOSE = 1.0  # LLR between two candidates who both pass: too near to each other to tell apart


def identification(
    asked: Rule, llr_K: np.ndarray, near: Near, names: dict[int, str], heard: Heard, top: int, where: str
) -> Identification:
    """Return the ranked candidates and the decision. `where` names what was searched."""
    threshold_K, offset_K = asked.bars(np.maximum(near.side.clips_N, heard.clips), near.people, llr_K)
    own_K, none = asked.posteriors(llr_K, offset_K)
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
        warnings=(*heard.warnings, *_doubts(candidates, known), *_left_out(near, names)),
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


def _left_out(near: Near, names: dict[int, str]) -> list[str]:
    """Return a warning when people could not be compared."""
    if not near.damaged:
        return []
    shown = ", ".join(repr(names.get(person, person)) for person in near.damaged[:NAMED])
    return [
        "left out, since what is stored about them is damaged: "
        f"{shown}{', ...' * (len(near.damaged) > NAMED)} "
        f"({len(near.damaged):,} in all). Delete them and enroll them again."
    ]
