"""How far a timeline is from the right one: DER, JER, the number of speakers, and wrong names. RTTM files.

DER: the share of the time of all speakers that is missed, falsely found, or given to another speaker than
the one that the best one-to-one mapping of names allows (NIST, "The 2009 RT-09 Evaluation Plan"). JER: the
mean over speakers of one minus what the two sides share of their time together, by the same mapping (Ryant
et al., "The Second DIHARD Diarization Challenge", 2019). Both are those of pyannote.metrics.

# R speakers of the reference, H of the hypothesis, T stretches of time between two edges
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np

from voxid.errors import BadScores
from voxid.types import Answer

NAMELESS = re.compile(r"(unknown|(unknown|speaker)[_ ]\d+)$")


class Spoken(NamedTuple):
    """Somebody talks from `start_s` to `end_s`, in seconds from the beginning.

    >>> Spoken(0.0, 1.5, "alice").speaker
    'alice'
    """

    start_s: float
    end_s: float
    speaker: str


@dataclass(frozen=True, slots=True)
class TimelineErrors(Answer):
    """What a timeline gets wrong. Times in seconds, rates as fractions.

    `der` is (`missed_s` + `false_alarm_s` + `confused_s`) / `total_s`, `jer` a mean over the speakers.
    `speakers` and `speakers_found` count them. `wrong_name_s` is time under the name of somebody else,
    `unnamed_s` time of enrolled people under no name, of `enrolled_s` in all; `enrolled` says who they are.

    >>> timeline_errors([Spoken(0, 10, "a")], [Spoken(0, 8, "x")]).der
    0.2
    """

    der: float
    jer: float
    missed_s: float
    false_alarm_s: float
    confused_s: float
    total_s: float
    speakers: int
    speakers_found: int
    wrong_name_s: float
    unnamed_s: float
    enrolled_s: float
    enrolled: tuple[str, ...]

    @property
    def wrong_name(self) -> float:
        """The share of all time that is under the name of somebody else."""
        return self.wrong_name_s / self.total_s if self.total_s else 0.0

    @property
    def unnamed(self) -> float:
        """The share of enrolled people's time that is under no name."""
        return self.unnamed_s / self.enrolled_s if self.enrolled_s else 0.0

    def to_dict(self) -> dict[str, object]:
        """Return the fields and the two shares as plain values that JSON can hold."""
        return {**Answer.to_dict(self), "wrong_name": self.wrong_name, "unnamed": self.unnamed}

    def __str__(self) -> str:
        return (
            f"DER {self.der:.1%} (missed {self.missed_s:.1f} s, false alarm {self.false_alarm_s:.1f} s, "
            f"another speaker {self.confused_s:.1f} s, of {self.total_s:.1f} s), JER {self.jer:.1%}\n"
            f"speakers: {self.speakers_found} found, {self.speakers} there\n"
            f"names: {self.wrong_name:.1%} of the time under a wrong name, {self.unnamed:.1%} of the time of "
            f"enrolled people ({', '.join(self.enrolled) or 'none'}) under no name"
        )


def timeline_errors(
    reference: Iterable[Spoken],
    hypothesis: Iterable[Spoken],
    *,
    collar_s: float = 0.0,
    overlap: bool = True,
    enrolled: Iterable[str] | None = None,
    scored: Iterable[tuple[float, float]] | None = None,
) -> TimelineErrors:
    """Return what `hypothesis` gets wrong. Names of the hypothesis matter for the errors of names alone.

    `collar_s` seconds on both sides of each edge of the reference do not count, nor, without `overlap`, time
    in which several people of the reference talk. `enrolled` are the names that could be known; without them
    all names of the hypothesis, but for "unknown 1", "speaker 1" and the like. `scored` are the stretches
    (start, end) that count; all if it is not given. Raise BadScores where nothing is left to measure.

    >>> truth = [Spoken(0, 4, "alice"), Spoken(4, 8, "bob")]
    >>> found = timeline_errors(truth, [Spoken(0, 5, "alice"), Spoken(5, 8, "unknown 1")])
    >>> found.der, found.wrong_name_s
    (0.125, 1.0)
    """
    truth, found = list(reference), list(hypothesis)
    who_R, who_H = (list(dict.fromkeys(one.speaker for one in side)) for side in (truth, found))
    edges = {time for one in (*truth, *found) for time in one[:2]}
    counts = None if scored is None else list(scored)
    edges |= {time for stretch in counts or () for time in stretch}
    edges |= {max(0.0, time + way) for one in truth for time in one[:2] for way in (-collar_s, collar_s)}
    edge_T = np.array(sorted(edges))
    if edge_T.size < 2:
        raise BadScores("the reference timeline is empty: nobody talks in it, so no error rate can be given.")
    talks_RT, talks_HT = _talks(truth, who_R, edge_T), _talks(found, who_H, edge_T)
    length_T, middle_T = np.diff(edge_T), (edge_T[1:] + edge_T[:-1]) / 2
    for time in {time for one in truth for time in one[:2]} if collar_s > 0 else ():
        length_T[np.abs(middle_T - time) < collar_s] = 0
    if counts is not None:
        length_T[~np.any([(middle_T > a) & (middle_T < b) for a, b in counts] or [middle_T < 0], axis=0)] = 0
    if not overlap:
        length_T[talks_RT.sum(axis=0) > 1] = 0
    many_RT, many_HT = talks_RT.sum(axis=0), talks_HT.sum(axis=0)
    total = float(many_RT @ length_T)
    if total <= 0:
        raise BadScores(
            "nobody talks in the reference timeline outside of the collar: no error rate can be given."
        )
    shared_RH = (talks_RT * length_T) @ talks_HT.T
    pairs = assign(-shared_RH)
    right = float(sum(shared_RH[r, h] for r, h in pairs))
    missed = float(np.maximum(many_RT - many_HT, 0) @ length_T)
    false_alarm = float(np.maximum(many_HT - many_RT, 0) @ length_T)
    confused = max(0.0, round(float(np.minimum(many_RT, many_HT) @ length_T) - right, 9))
    known = {word(name) for name in (who_H if enrolled is None else enrolled)}
    known = {name for name in known if not NAMELESS.match(name)}
    same_R, same_H = ([word(name) for name in side] for side in (who_R, who_H))
    nameless_H = np.array([bool(NAMELESS.match(name)) for name in same_H], dtype=bool)
    is_known_R = np.array([name in known for name in same_R], dtype=bool)
    agrees_RH = np.array(same_R, dtype=object)[:, None] == np.array(same_H, dtype=object)[None, :]
    named_T = talks_HT[~nameless_H].sum(axis=0)
    right_name = float((shared_RH * agrees_RH).sum())
    talked_T = np.minimum(named_T, many_RT)
    nobody_T = (named_T == 0) & (many_HT > 0)
    return TimelineErrors(
        der=(missed + false_alarm + confused) / total,
        jer=_jer(shared_RH, talks_RT @ length_T, talks_HT @ length_T, dict(pairs)),
        missed_s=missed,
        false_alarm_s=false_alarm,
        confused_s=confused,
        total_s=total,
        speakers=len(who_R),
        speakers_found=len(who_H),
        wrong_name_s=max(0.0, float(talked_T @ length_T) - right_name),
        unnamed_s=float((talks_RT[is_known_R] * nobody_T) @ length_T @ np.ones(int(is_known_R.sum()))),
        enrolled_s=float((talks_RT[is_known_R] @ length_T).sum()),
        enrolled=tuple(sorted(known)),
    )


def _talks(spoken: Sequence[Spoken], who: list[str], edge_T: np.ndarray) -> np.ndarray:
    """Return who talks in each stretch between two edges: (speakers, T), 1 or 0."""
    talks = np.zeros((len(who), edge_T.size - 1))
    for one in spoken:
        first, last = np.searchsorted(edge_T, one[:2])
        talks[who.index(one.speaker), first:last] = 1
    return talks


def _jer(shared_RH: np.ndarray, own_R: np.ndarray, own_H: np.ndarray, pairs: dict[int, int]) -> float:
    either_RH = own_R[:, None] + own_H[None, :] - shared_RH
    error_RH = 1 - shared_RH / np.where(either_RH > 0, either_RH, 1)
    return float(
        np.mean([error_RH[r, pairs[r]] if r in pairs else 1.0 for r in np.flatnonzero(own_R > 0).tolist()])
    )


def assign(cost_RH: np.ndarray) -> list[tuple[int, int]]:
    """Return the pairs (row, column), one to one, whose costs have the least sum (Kuhn 1955, Munkres 1957).

    >>> assign(np.array([[1.0, 2.0], [1.0, 9.0]]))
    [(0, 1), (1, 0)]
    """
    if cost_RH.shape[0] > cost_RH.shape[1]:
        return sorted((r, h) for h, r in assign(cost_RH.T))
    rows, columns = cost_RH.shape
    price_R, price_H = np.zeros(rows + 1), np.zeros(columns + 1)
    row_of_H, before_H = np.zeros(columns + 1, int), np.zeros(columns + 1, int)
    for row in range(1, rows + 1):
        row_of_H[0], column = row, 0
        least_H, done_H = np.full(columns + 1, np.inf), np.zeros(columns + 1, bool)
        while row_of_H[column]:
            done_H[column] = True
            at = row_of_H[column]
            cost_H = np.append(np.inf, cost_RH[at - 1] - price_R[at] - price_H[1:])
            better_H = ~done_H & (cost_H < least_H)
            least_H[better_H], before_H[better_H] = cost_H[better_H], column
            column = int(np.argmin(np.where(done_H, np.inf, least_H)))
            step = least_H[column]
            price_R[row_of_H[done_H]] += step
            price_H[done_H] -= step
            least_H[~done_H] -= step
        while column:
            row_of_H[column] = row_of_H[before_H[column]]
            column = before_H[column]
    return sorted((int(row_of_H[h]) - 1, h - 1) for h in range(1, columns + 1) if row_of_H[h])


def rttm(recording: str, spoken: Iterable[Spoken]) -> str:
    """Return the lines of an RTTM file; white space in names becomes "_", since columns end there.

    >>> rttm("call", [Spoken(0.5, 2.0, "unknown 1")])
    'SPEAKER call 1 0.500 1.500 <NA> <NA> unknown_1 <NA> <NA>\\n'
    """
    return "".join(
        f"SPEAKER {word(recording)} 1 {one.start_s:.3f} {one.end_s - one.start_s:.3f} <NA> <NA> "
        f"{word(one.speaker)} <NA> <NA>\n"
        for one in spoken
    )


def word(name: str) -> str:
    """Return a name as RTTM has it.

    >>> word("unknown 1")
    'unknown_1'
    """
    return re.sub(r"\s", "_", name)


def read_rttm(path: str | os.PathLike[str]) -> dict[str, list[Spoken]]:
    """Return who talks when, by recording; raise BadScores for a line that is not RTTM.

    >>> _ = Path("call.rttm").write_text(rttm("call", [Spoken(0.5, 2.0, "alice")]))
    >>> read_rttm("call.rttm")
    {'call': [Spoken(start_s=0.5, end_s=2.0, speaker='alice')]}
    """
    found: dict[str, list[Spoken]] = {}
    for number, words in _lines(path, "RTTM"):
        if words[0].startswith(("SPKR-INFO", "LEXEME", "NON-", "NOSCORE")):
            continue
        try:
            start, length = float(words[3]), float(words[4])
            if words[0] != "SPEAKER" or not (start >= 0 and 0 <= length < float("inf")):
                raise ValueError
            spoken = Spoken(start, start + length, words[7])
        except (ValueError, IndexError):
            raise BadScores(
                f"{path}, line {number}: {' '.join(words)[:60]!r} is not RTTM. Wanted: SPEAKER FILE 1 START "
                "SECONDS <NA> <NA> NAME <NA> <NA>."
            ) from None
        if length > 0:
            found.setdefault(words[1], []).append(spoken)
    return found


def read_uem(path: str | os.PathLike[str]) -> dict[str, list[tuple[float, float]]]:
    """Return the stretches that count, by recording: lines FILE CHANNEL START END. Raise BadScores.

    >>> _ = Path("call.uem").write_text("call 1 0.5 60\\n")
    >>> read_uem("call.uem")
    {'call': [(0.5, 60.0)]}
    """
    found: dict[str, list[tuple[float, float]]] = {}
    for number, words in _lines(path, "UEM"):
        try:
            start, end = float(words[2]), float(words[3])
            if not 0 <= start < end < float("inf"):
                raise ValueError
        except (ValueError, IndexError):
            raise BadScores(
                f"{path}, line {number}: {' '.join(words)[:60]!r} is not UEM. Wanted: FILE CHANNEL START END."
            ) from None
        found.setdefault(words[0], []).append((start, end))
    return found


def _lines(path: str | os.PathLike[str], kind: str) -> Iterator[tuple[int, list[str]]]:
    """Yield the number and the words of each line that is no comment."""
    try:
        text = Path(path).read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise BadScores(f"{path}: cannot be read as {kind} ({error}). Give a text file.") from error
    for number, line in enumerate(text.splitlines(), start=1):
        if (words := line.split()) and not words[0].startswith(";"):
            yield number, words


def joined(stretches: Sequence[tuple[float, float]], gap_s: float) -> list[tuple[float, float]]:
    """Return stretches (start, end), those less than `gap_s` apart made one.

    >>> joined([(0.0, 1.0), (1.1, 2.0), (3.0, 4.0)], 0.3)
    [(0.0, 2.0), (3.0, 4.0)]
    """
    found: list[tuple[float, float]] = []
    for start, end in stretches:
        if found and start - found[-1][1] < gap_s:
            found[-1] = (found[-1][0], max(end, found[-1][1]))
        else:
            found.append((start, end))
    return found


def compare_rttm(
    hypothesis: str | os.PathLike[str],
    reference: str | os.PathLike[str],
    *,
    collar_s: float = 0.0,
    overlap: bool = True,
    enrolled: Iterable[str] | None = None,
    uem: str | os.PathLike[str] | None = None,
) -> dict[str, TimelineErrors]:
    """Return the errors of each recording of the RTTM file `reference`; one that was not heard is all missed.

    Where each file has one recording, they are held together whatever they are called. `uem` is a file of the
    stretches that count. Raise BadScores where the hypothesis has a recording that the reference lacks, or
    the UEM lacks one.

    >>> _ = Path("call.rttm").write_text(rttm("call", [Spoken(0.5, 2.0, "alice")]))
    >>> compare_rttm("call.rttm", "call.rttm")["call"].der
    0.0
    """
    truth, found = read_rttm(reference), read_rttm(hypothesis)
    if len(truth) == len(found) == 1:
        found = dict(zip(truth, found.values(), strict=True))
    if not truth:
        raise BadScores(f"{reference}: nobody talks in it, so no error rate can be given.")
    if strange := sorted(found.keys() - truth.keys()):
        raise BadScores(f"{hypothesis}: {strange[0]!r} is not in {reference}, which has {', '.join(truth)}.")
    names = None if enrolled is None else list(enrolled)
    scored = None if uem is None else read_uem(uem)
    if scored is not None and (lacking := sorted(truth.keys() - scored.keys())):
        raise BadScores(f"{uem}: says nothing of {lacking[0]!r}, which is in {reference}.")
    return {
        name: timeline_errors(
            spoken,
            found.get(name, []),
            collar_s=collar_s,
            overlap=overlap,
            enrolled=names,
            scored=None if scored is None else scored[name],
        )
        for name, spoken in truth.items()
    }
