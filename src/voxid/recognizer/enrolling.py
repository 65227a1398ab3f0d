"""The clips of an enrollment: which are new, which does not sound like the others, how much is still wanted.

# N clips, D embedding
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from voxid.embed import Runtime
from voxid.recognizer.hearing import Heard, measured
from voxid.recognizer.references import references
from voxid.scoring import Calibration, trial_qualities, unit_rows
from voxid.types import Clip, Enrollment

if TYPE_CHECKING:
    from voxid.stores import Person, Voiceprint

SAME_RECORDING = 1 - 1e-6  # cosine; a person never says anything twice as nearly the same
OUTLIER_LLR = -2.0  # against the other clips, below: another voice, or a recording that carries none


@dataclass(frozen=True, slots=True, eq=False)
class Take:
    """A clip on its way in. `print_` is None for a recording that is held already (`again` says where)."""

    heard: Heard
    print_: Voiceprint | None
    again: str = ""


def takes(heards: Sequence[Heard], prints: Sequence[Voiceprint], held: Sequence[Voiceprint]) -> list[Take]:
    """Return the clips, each with its voiceprint unless it is the recording of an earlier one."""
    known = [(print_.source or "a clip held already", print_.embedding) for print_ in held]
    found = []
    for heard, print_ in zip(heards, prints, strict=True):
        again = _same(print_.embedding, known)
        found.append(Take(heard, None if again else print_, again))
        known.append((heard.source, print_.embedding))
    return found


def _same(emb_D: np.ndarray, known: Sequence[tuple[str, np.ndarray]]) -> str:
    """Return the name of the recording that is the same, or an empty string."""
    if not known:
        return ""
    cosine_N = unit_rows(np.stack([emb for _, emb in known])) @ unit_rows(emb_D[None])[0]
    best = int(cosine_N.argmax())
    return known[best][0] if cosine_N[best] >= SAME_RECORDING else ""


def clip_llrs(
    calibration: Calibration, runtime: Runtime, emb_ND: np.ndarray, speech_N: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Return for each clip its LLR with the others (N,), and whether it is an outlier (N,) bool.

    The worst clip is set aside, and the others are looked at again without it, until all that are left sound
    like one person. Of two clips that do not sound alike, nobody can say which is wrong: both are outliers.
    """
    llr_N = np.full(len(emb_ND), np.nan)
    left = np.arange(len(emb_ND))
    outlier_N = np.zeros(len(emb_ND), bool)
    while left.size > 1:
        llr_N[left] = _each_with_others(calibration, runtime, emb_ND[left], speech_N[left])
        worst = left[int(np.argmin(llr_N[left]))]
        if llr_N[worst] >= OUTLIER_LLR:
            break
        if left.size == 2:
            outlier_N[left] = True
            break
        outlier_N[worst] = True
        left = left[left != worst]
    for n in np.flatnonzero(outlier_N):  # what the good ones say of each that was set aside
        if left.size > 1 and n not in left:
            llr_N[n] = _one_with(calibration, runtime, emb_ND, speech_N, int(n), left)
    return llr_N, outlier_N


def _each_with_others(
    calibration: Calibration, runtime: Runtime, emb_ND: np.ndarray, speech_N: np.ndarray
) -> np.ndarray:
    every = np.arange(len(emb_ND))
    return np.array(
        [_one_with(calibration, runtime, emb_ND, speech_N, n, every[every != n]) for n in every.tolist()]
    )


def _one_with(
    calibration: Calibration,
    runtime: Runtime,
    emb_ND: np.ndarray,
    speech_N: np.ndarray,
    one: int,
    others: np.ndarray,
) -> float:
    """Return the LLR of one clip with the voiceprint of others."""
    made = references(emb_ND[others], speech_N[others], np.zeros(1, np.intp))
    score = np.clip(made.direction_PD @ unit_rows(emb_ND[one][None])[0], -1, 1).astype(np.float64)
    qualities = {}
    if calibration.measures:
        enrolled = measured(made.embeddings(np.array([0]))[0], float(made.speech_P[0]), calibration, runtime)
        clip = measured(emb_ND[one], float(speech_N[one]), calibration, runtime)
        qualities = trial_qualities(calibration.measures, enrolled, clip)
    llr = float(calibration.llr(score, qualities)[0])
    return float(calibration.enrolled_llr(llr, float(made.clips_P[0])))


def clips_of(taken: Sequence[Take], llrs: dict[str, tuple[float, bool]]) -> tuple[Clip, ...]:
    """Return what is said of each clip. `llrs` holds (LLR with the others, outlier) by voiceprint id."""
    found = []
    for take in taken:
        heard = take.heard
        clip = Clip(heard.source, heard.net_speech_s, heard.total_s, None, warnings=heard.warnings)
        if take.print_ is None:
            said = f"the same recording as {take.again}: it adds nothing, and was not added."
            clip = replace(clip, warnings=(*clip.warnings, said))
        else:
            llr, outlier = llrs.get(take.print_.id, (float("nan"), False))
            clip = replace(
                clip,
                voiceprint=take.print_.id,
                llr=None if np.isnan(llr) else llr,
                outlier=outlier,
                warnings=(*clip.warnings, *[_unlike(llr)] * outlier),
            )
        found.append(clip)
    return tuple(found)


def _unlike(llr: float) -> str:
    return (
        f"does not sound like the other clips (LLR {llr:.1f}): another voice, or a bad recording. "
        "Listen to it, and remove it if so."
    )


def enrollment(
    person: Person, clips: tuple[Clip, ...], wanted_s: float, created: bool, held: Sequence[str]
) -> Enrollment:
    """Return the answer. `held` are sources of clips enrolled earlier that are outliers now."""
    missing = max(0.0, wanted_s - person.speech_s)
    warnings = [f"{clip.source}: {warning}" for clip in clips for warning in clip.warnings]
    warnings += [f"{source}, enrolled earlier: does not sound like the other clips." for source in held]
    if missing:
        warnings.append(
            f"{person.speech_s:.1f} s of speech so far; {missing:.1f} s more make a good voiceprint."
        )
    return Enrollment(
        speaker=person.name,
        collection=person.collection,
        created=created,
        clips=clips,
        voiceprints=person.prints,
        speech_s=round(person.speech_s, 2),
        wanted_s=wanted_s,
        missing_s=round(missing, 2),
        warnings=tuple(warnings),
    )
