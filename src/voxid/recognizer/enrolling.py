"""The clips of an enrollment: which are new, which does not sound like the others, how much is still wanted.

# N clips, D embedding
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from voxid.recognizer.hearing import Heard
from voxid.scoring import Calibration, Cohort, Side, llr, reference, unit_rows
from voxid.types import Clip, Enrollment

if TYPE_CHECKING:
    from voxid.stores import Person, Voiceprint

FEWEST_PIECES = 2  # of a voice inside a recording
ROUNDS = 10  # of 2-means
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
    calibration: Calibration, clips: Side, cohort: Cohort | None, held: int = 0
) -> tuple[np.ndarray, np.ndarray]:
    """Return for each clip its LLR with the others (N,), and whether it is an outlier (N,) bool.

    The first `held` clips were enrolled earlier and are judged by themselves: the worst is set aside, and the
    others are looked at again without it, until all that are left sound like one person. New clips have to
    sound like those; where nothing was held, they are judged among themselves. Of two clips that do not
    sound alike, nobody can say which is wrong: both are outliers.
    """
    llr_N = np.full(len(clips), np.nan)

    def with_others(some: np.ndarray, others: list[np.ndarray]) -> np.ndarray:
        """Return the LLR of each of `some` clips with a voiceprint of its `others`."""
        rows, sizes = np.concatenate(others), [len(rows) for rows in others]
        enrolled = reference(clips.emb_ND[rows], clips.speech_s_N[rows], np.cumsum([0, *sizes[:-1]]))
        return llr(calibration, enrolled, clips.take(some), cohort)

    def alike(left: np.ndarray) -> np.ndarray:
        """Return those of the clips that sound like one person."""
        while left.size > 1:
            llr_N[left] = with_others(left, [left[left != n] for n in left])
            worst = left[int(np.argmin(llr_N[left]))]
            if llr_N[worst] >= OUTLIER_LLR:
                break
            left = left[left != worst] if left.size > 2 else left[:0]
        return left

    good = alike(np.arange(held))
    new = np.arange(held, len(clips)) if good.size else np.arange(len(clips))
    if good.size and new.size:
        llr_N[new] = with_others(new, [good] * new.size)
        good = np.concatenate((good, new[llr_N[new] >= OUTLIER_LLR]))
    elif new.size:
        good = alike(new)
    outlier_N = ~np.isin(np.arange(len(clips)), good)
    if len(clips) == 1:
        return llr_N, np.zeros(1, bool)
    if good.size > 1:
        llr_N[good] = with_others(good, [good[good != n] for n in good])
    aside = np.flatnonzero(outlier_N)
    if aside.size and good.size:  # what the good ones say of each that was set aside
        llr_N[aside] = with_others(aside, [good] * aside.size)
    return llr_N, outlier_N


def voices_llr(calibration: Calibration, pieces: Side, cohort: Cohort | None) -> float | None:
    """Return the LLR that one person says all of a recording, from its pieces; None where they are too few.

    The pieces are put into the two groups that differ most (2-means on the sphere, from the two pieces that
    are least alike), and the groups are compared as two people enrolled would be. A group of one piece is a
    noise, not a voice.
    """
    if len(pieces) < 2 * FEWEST_PIECES:
        return None
    unit_ND = unit_rows(pieces.emb_ND)
    ends = np.unravel_index(int(np.argmin(unit_ND @ unit_ND.T)), (len(pieces), len(pieces)))
    middles_2D = unit_ND[list(ends)]
    second_N = np.zeros(len(pieces), bool)
    for _ in range(ROUNDS):
        second_N = unit_ND @ middles_2D[1] > unit_ND @ middles_2D[0]
        if min(second_N.sum(), (~second_N).sum()) < FEWEST_PIECES:
            return None
        middles_2D = unit_rows(np.stack([unit_ND[~second_N].mean(axis=0), unit_ND[second_N].mean(axis=0)]))
    one, other = (
        reference(pieces.emb_ND[group], pieces.speech_s_N[group]) for group in (~second_N, second_N)
    )
    return float(llr(calibration, one, other, cohort)[0])


def clips_of(taken: Sequence[Take], llrs: dict[str, tuple[float, bool]], others: str) -> tuple[Clip, ...]:
    """Return what is said of each clip. `llrs` holds (LLR with the others, outlier) by voiceprint id.

    `others` says in words what an outlier was held against.
    """
    found = []
    for take in taken:
        heard = take.heard
        clip = Clip(heard.source, heard.net_speech_s, heard.total_s, None, warnings=heard.warnings)
        if take.print_ is None:
            said = f"the same recording as {take.again}: nothing was added."
            clip = replace(clip, warnings=(*clip.warnings, said))
        else:
            llr, outlier = llrs.get(take.print_.id, (float("nan"), False))
            clip = replace(
                clip,
                voiceprint=take.print_.id,
                llr=None if np.isnan(llr) else llr,
                outlier=outlier,
                warnings=(*clip.warnings, *[_unlike(llr, others)] * outlier),
            )
        found.append(clip)
    return tuple(found)


def _unlike(llr: float, others: str) -> str:
    return (
        f"does not sound like {others} (LLR {llr:.1f}): another voice, or a bad recording. "
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
