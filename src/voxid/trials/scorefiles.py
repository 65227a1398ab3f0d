"""Score files of anybody: WeSpeaker, SpeechBrain, NeMo, Kaldi, plain columns, CSV, and our own.

# K scored trials, N names of recordings
"""

from __future__ import annotations

import os
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from voxid.errors import BadScores
from voxid.trials.columns import (
    DIFFERENT,
    SAME,
    Layout,
    Line,
    columns_from_words,
    delimiters,
    fitting,
    header_roles,
    is_number,
    nearest,
)
from voxid.trials.doubting import doubts
from voxid.trials.matching import Interned, RawScores, give_speakers, join_in_order, join_trials
from voxid.trials.textfiles import Block, Column, Lookup, TextFile

FORMATS = (
    "lines 'left right score label' (WeSpeaker), 'left right label score' (SpeechBrain), 'score label' "
    "(NeMo), 'label score', 'left right score' with a trial list (Kaldi), CSV with a header, or "
    "scores-SYSTEM.npz of voxid"
)
_NAMES_OF = {
    ("left", "right", "score", "label"): "wespeaker",
    ("left", "right", "label", "score"): "speechbrain",
    ("label", "left", "right", "score"): "voxceleb with scores",
    ("score", "label"): "nemo",
    ("label", "score"): "label score",
    ("left", "right", "score"): "kaldi",
    ("score",): "scores",
}


@dataclass(frozen=True, eq=False)
class ScoreFile:
    """The scores of some system on labelled trials, however it wrote them.

    `score_K` float64 (K,) is finite, `same_K` bool (K,) has both classes. `left_K`, `right_K` (int32) are
    places in `names`; None, with no names, when the file has none. `lost` counts the "targets" and
    "nontargets" of the trial list that have no score: a system that rejects silently must not look better
    (`worst_case`). `warnings` counts trials that look wrong. `speaker_N` (int32, places in
    `speakers`) is the speaker of each name, when a list of them was given.
    """

    path: str
    format: str
    score_K: np.ndarray
    same_K: np.ndarray
    names: list[str] = field(default_factory=list)
    left_K: np.ndarray | None = None
    right_K: np.ndarray | None = None
    lost: dict[str, int] = field(default_factory=dict)
    warnings: dict[str, int] = field(default_factory=dict)
    speakers: list[str] = field(default_factory=list)
    speaker_N: np.ndarray | None = None

    def __len__(self) -> int:
        return self.score_K.size

    def worst_case(self) -> tuple[np.ndarray, np.ndarray]:
        """Return scores and labels with every lost trial as an error at any threshold.

        Lost targets get a score below all others, lost non-targets one above.
        """
        targets, nontargets = self.lost.get("targets", 0), self.lost.get("nontargets", 0)
        low, high = self.score_K.min() - 1.0, self.score_K.max() + 1.0
        return (
            np.concatenate((self.score_K, np.full(targets, low), np.full(nontargets, high))),
            np.concatenate((self.same_K, np.ones(targets, bool), np.zeros(nontargets, bool))),
        )


def read_scores(
    path: str | os.PathLike[str],
    trials: str | os.PathLike[str] | None = None,
    *,
    columns: str | None = None,
    speakers: str | os.PathLike[str] | None = None,
) -> ScoreFile:
    """Return the scores and labels of a file, plain or gzipped, whose format its content tells.

    `trials` is a list with the labels, in any format of `read_trials`, matched by the names of both sides (as
    given, swapped, or without the suffix of a file; by order when the scores have no names). It is law: a
    trial without a score is counted in `lost`, a score without a trial in `warnings`. `columns` overrides
    what is found out: "left right score label" in the order of the file, `_` for columns not used. `speakers`
    is a list of `utterance speaker` lines (utt2spk), for intervals that resample speakers; speakers are never
    guessed from names.

    Raise BadScores for a file that fits no format, or two; for scores that are NaN or infinite (how many, and
    the first line); for labels of one class only, or none; for one trial with two scores. Raise BadTrials for
    a trial list that cannot be read.
    """
    interned = Interned(bare=trials is not None)
    raw = read_raw(path, interned, columns, with_trials=trials is not None)
    lost, warnings = {}, {}
    if trials is not None and raw.left_K is None:
        raw = join_in_order(raw, trials, interned)
    elif trials is not None:
        raw, lost, warnings = join_trials(raw, trials, interned)
    if raw.same_K is None:
        raise BadScores(
            f"{raw.path} has scores and no labels. Give the trial list they belong to, with lines such as "
            "'left right target' or '1 left right'."
        )
    speaker_names, speaker_N = [], None
    if speakers is not None:
        if raw.left_K is None:
            raise BadScores(
                f"{raw.path} names no recordings, so {os.fspath(speakers)} has no use. Leave it out."
            )
        speaker_names, speaker_N = give_speakers(speakers, interned.names)
    _need_both(raw)
    if raw.left_K is not None and raw.right_K is not None:
        warnings |= doubts(raw.left_K, raw.right_K, raw.same_K, speaker_N)
    if raw.score_K.min() == raw.score_K.max():
        warnings["constant_scores"] = raw.score_K.size
    return ScoreFile(
        path=raw.path,
        format=raw.format,
        score_K=raw.score_K,
        same_K=raw.same_K,
        names=interned.names if raw.left_K is not None else [],
        left_K=raw.left_K,
        right_K=raw.right_K,
        lost=lost,
        warnings=warnings,
        speakers=speaker_names,
        speaker_N=speaker_N,
    )


def _need_both(raw: RawScores) -> None:
    assert raw.same_K is not None
    targets = int(np.count_nonzero(raw.same_K))
    if not 0 < targets < raw.same_K.size:
        raise BadScores(
            f"{raw.path} has {targets:,} target and {raw.same_K.size - targets:,} non-target trials; error "
            "rates need both kinds. Check the labels, and that the trial list is the right one."
        )


def read_raw(
    path: str | os.PathLike[str], interned: Interned, columns: str | None, with_trials: bool
) -> RawScores:
    """Return the columns of a score file, names as numbers of `interned`. Raise BadScores."""
    file = TextFile(path, BadScores, "score file", FORMATS)
    if _is_npz(file.path):
        return _read_npz(file.path, interned)
    sample = file.sample()
    layout = _given(columns, sample, file) if columns else _find_layout(file, sample, with_trials)
    kinds = {"score": np.float64, "label": np.bool_, "left": np.int32, "right": np.int32}
    parts = {role: Column(kinds[role]) for role in layout.roles if role}
    lookup = Lookup(interned)
    bad, first_bad = 0, None
    for block in file.read(layout):
        score_K = block.scores()
        is_bad_K = ~np.isfinite(score_K)
        if is_bad_K.any():
            bad += int(np.count_nonzero(is_bad_K))
            first_bad = first_bad or file.first_bad(block, is_bad_K)
        for role, part in parts.items():
            part.add(_values(block, role, lookup))
    if first_bad:
        raise BadScores(
            f"{file.path}: {bad:,} scores are NaN or infinite; the first is line {first_bad.number}, "
            f"{first_bad.text!r}. A system must score every trial with a number: look at what it made of "
            "these recordings."
        )
    whole = {f"{'same' if role == 'label' else role}_K": part.whole() for role, part in parts.items()}
    named = "csv" if layout.header_line else _NAMES_OF.get(layout.roles[:4], "")
    return RawScores(str(file.path), "columns as given" if columns else named or "columns", **whole)


def _values(block: Block, role: str, lookup: Lookup) -> np.ndarray:
    if role == "score":
        return block.scores()
    if role == "label":
        return block.same()
    return lookup(block.words(role))


# -- which format --------------------------------------------------------------------------------------------


def _layouts(count: int, delimiter: str, with_trials: bool) -> list[Layout]:
    """Return what `count` columns without a header may be."""
    if count == 1:
        roles = [("score",)] * with_trials
    elif count == 2:
        roles = [("score", "label"), ("label", "score")]
    elif count == 3:
        roles = [("left", "right", "score")]
    else:
        rest = ("",) * (count - 4)  # such as the norms and cohort means that WeSpeaker appends
        roles = [(*r, *rest) for r in _NAMES_OF if len(r) == 4]
    return [Layout(delimiter, r) for r in roles]


def _find_layout(file: TextFile, sample: Sequence[Line], with_trials: bool) -> Layout:
    """Return the layout that every line of the sample fits. Raise BadScores when there is none, or two."""
    first, layouts = sample[0], []
    for delimiter in delimiters(first.text):
        fields = Layout(delimiter, ()).fields(first.text)
        roles = header_roles(fields, {"score"})
        if roles is not None and ("left" in roles) == ("right" in roles):
            return _headed(file, sample, Layout(delimiter, roles, first.number))
        layouts += _layouts(len(fields), delimiter, with_trials)
    fits = fitting(sample, layouts) or _unknown_header(sample, layouts)
    if not fits:
        raise _no_layout(file, sample, layouts)
    different = list(dict.fromkeys(layout.roles for layout in fits))
    if len(different) > 1 or _labels_for_scores(sample, fits[0]):
        readings = " or ".join(repr(" ".join(role or "_" for role in roles)) for roles in different)
        raise file.refuse(
            first,
            f"0 and 1 in every line, so a column may hold labels or scores ({readings}). Say which it is "
            "(--columns), for example columns='left right score label'",
        )
    return fits[0]


def _headed(file: TextFile, sample: Sequence[Line], layout: Layout) -> Layout:
    if len(sample) == 1:
        raise file.refuse(None, "a header, and no scores")
    if not fitting(sample, [layout]):
        raise file.refuse(*nearest(sample, [layout]))
    return layout


def _unknown_header(sample: Sequence[Line], layouts: Sequence[Layout]) -> list[Layout]:
    """Return the layouts that fit all lines but the first, when that has neither a score nor a label."""
    found = []
    for layout in fitting(sample[1:], layouts) if len(sample) > 1 else []:
        fields = layout.fields(sample[0].text)
        words = dict(zip(layout.roles, fields, strict=False))
        label = words.get("label", "1").lower()
        if (
            len(fields) == len(layout.roles)
            and not is_number(words["score"])
            and label not in SAME | DIFFERENT
        ):
            found.append(Layout(layout.delimiter, layout.roles, sample[0].number))
    return found


def _labels_for_scores(sample: Sequence[Line], layout: Layout) -> bool:
    """Return whether the scores, in a layout without labels, look like the labels of a trial list."""
    if "label" in layout.roles or "left" not in layout.roles:
        return False
    place = layout.roles.index("score")
    return all(layout.fields(line.text)[place] in ("0", "1") for line in sample)


def _no_layout(file: TextFile, sample: Sequence[Line], layouts: Sequence[Layout]) -> Exception:
    fields = sample[0].text.replace(",", " ").split()
    words = {"target", "nontarget"}
    if len(fields) == 3 and (fields[0] in SAME | DIFFERENT or fields[2].lower() in words):
        return file.refuse(
            sample[0], "a name, a name and a label, and no score: this looks like a trial list"
        )
    if not layouts:
        return file.refuse(sample[0], "one column; scores alone need the trial list whose order they are in")
    return file.refuse(*nearest(sample, layouts))


def _given(columns: str, sample: Sequence[Line], file: TextFile) -> Layout:
    """Return the layout with the columns that a user gave; a first line that does not fit may be a header."""
    roles = columns_from_words(columns, BadScores)
    if "score" not in roles:
        raise BadScores(f"columns {columns!r} name no score. Columns are left, right, label, score and '_'.")
    layouts = [Layout(delimiter, roles) for delimiter in delimiters(sample[0].text)]
    fits = fitting(sample, layouts) or _unknown_header(sample, layouts)
    if not fits:
        raise file.refuse(*nearest(sample, layouts))
    return fits[0]


# -- voxid's own arrays --------------------------------------------------------------------------------------


def _is_npz(path: Path) -> bool:
    try:
        with path.open("rb") as file:
            return file.read(4) == b"PK\x03\x04"
    except OSError:
        return False  # reading it as text says what is wrong


def _read_npz(path: Path, interned: Interned) -> RawScores:
    """Return the arrays of scores-SYSTEM.npz: utterances, left, right, scores, same."""
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as arrays:
            names, score_K, same_K = arrays["utterances"], arrays["scores"], arrays["same"]
            left_K, right_K = arrays["left"], arrays["right"]
    except (OSError, ValueError, KeyError, zipfile.BadZipFile) as error:
        raise BadScores(
            f"{path} is no score file of voxid ({error}). It holds the arrays utterances, left, right, "
            "scores and same."
        ) from None
    sizes = {array.shape for array in (score_K, same_K, left_K, right_K)}
    if len(sizes) > 1 or score_K.ndim != 1 or not score_K.size:
        raise BadScores(
            f"{path}: left, right, scores and same must be of one length, 1 or more; got {sizes}."
        )
    if min(left_K.min(), right_K.min()) < 0 or max(left_K.max(), right_K.max()) >= names.size:
        raise BadScores(f"{path}: left and right must be places in its {names.size} utterances.")
    if bad := int(np.count_nonzero(~np.isfinite(score_K))):
        first = int(np.flatnonzero(~np.isfinite(score_K))[0])
        raise BadScores(f"{path}: {bad:,} scores are NaN or infinite; the first is trial {first}.")
    number_N = np.array([interned(str(name)) for name in names], dtype=np.int32)
    return RawScores(
        str(path),
        "voxid",
        score_K.astype(np.float64),
        same_K.astype(bool),
        number_N[left_K],
        number_N[right_K],
    )
