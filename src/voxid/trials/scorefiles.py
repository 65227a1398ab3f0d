"""Score files of anybody: WeSpeaker, SpeechBrain, NeMo, Kaldi, plain columns, CSV, and our own.

# K scored trials, S scores of the file, N names of recordings
"""

from __future__ import annotations

import os
import zipfile
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from voxid.errors import BadScores
from voxid.trials.layouts import SCORE_FILE, SCORES_OF_A_LIST, SPEAKER_LIST, TRIAL_LIST, find_layout
from voxid.trials.lists import doubts
from voxid.trials.names import Interned, bare_name
from voxid.trials.textfiles import TextFile

StrPath = str | os.PathLike[str]


@dataclass(frozen=True, eq=False)
class ScoreFile:
    """The scores of some system on labelled trials, however it wrote them.

    `score_K` float64 (K,) is finite, `same_K` bool (K,) has both classes. `left_K`, `right_K` (int32) are
    places in `names`; None, with no names, when the file has none. `lost` counts the "targets" and
    "nontargets" of the trial list that have no score: a system that rejects silently must not look better
    (`worst_case`). `warnings` counts trials that look wrong. `speaker_N` (int32, places in
    `speakers`) is the speaker of each name, when a list of them was given.

    >>> from pathlib import Path
    >>> _ = Path("some.score").write_text("a b 0.9 target\\na c 0.1 nontarget\\n")
    >>> read_scores("some.score").score_K.tolist()
    [0.9, 0.1]
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

        >>> from pathlib import Path
        >>> _ = Path("some.score").write_text("a b 0.9 target\\na c 0.1 nontarget\\n")
        >>> scores, labels = read_scores("some.score").worst_case()
        >>> scores.tolist(), labels.tolist()  # nothing was lost
        ([0.9, 0.1], [True, False])
        """
        targets, nontargets = self.lost.get("targets", 0), self.lost.get("nontargets", 0)
        low, high = self.score_K.min() - 1.0, self.score_K.max() + 1.0
        return (
            np.concatenate((self.score_K, np.full(targets, low), np.full(nontargets, high))),
            np.concatenate((self.same_K, np.ones(targets, bool), np.zeros(nontargets, bool))),
        )


def read_scores(
    path: StrPath,
    trials: StrPath | None = None,
    *,
    columns: str | None = None,
    speakers: StrPath | None = None,
) -> ScoreFile:
    """Return the scores and labels of a file, plain or gzipped, whose format its content tells.

    `trials` is a list with the labels, in any format of `read_trials`, matched by the names of both sides (as
    given, swapped, or without the suffix of a file; by order when the scores have no names). The list
    decides: a trial without a score is counted in `lost`, a score without a trial in `warnings`. `columns`
    overrides what is found out: "left right score label" in the order of the file, `_` for columns not used.
    `speakers` is a list of `utterance speaker` lines (utt2spk), for intervals that resample speakers;
    speakers are never guessed from names.

    Raise BadScores for a file that fits no format, or two; for scores that are NaN or infinite (how many, and
    the first line); for labels of one class only, or none; for one trial with two scores. Raise BadTrials for
    a trial list that cannot be read.

    >>> from pathlib import Path
    >>> _ = Path("some.score").write_text("a b 0.9 target\\na c 0.1 nontarget\\n")
    >>> read_scores("some.score").same_K.tolist()
    [True, False]
    """
    path = Path(path).expanduser()
    interned = Interned(bare=trials is not None)
    format, column = _read_columns(path, interned, columns, trials is not None)
    lost, warnings = {}, {}
    if trials is not None:
        join = _join_by_names if "left" in column else _join_by_order
        column, lost, warnings = join(path, column, trials, interned)
    if "label" not in column:
        raise BadScores(
            f"{path} has scores and no labels. Give the trial list they belong to, with lines such as "
            "'left right target' or '1 left right'."
        )
    score_K, same_K, left_K, right_K = (column.get(role) for role in ("score", "label", "left", "right"))
    assert score_K is not None
    assert same_K is not None
    names, speaker_names, speaker_N = interned.names if left_K is not None else [], [], None
    if speakers is not None:
        if not names:
            raise BadScores(f"{path} names no recordings, so {os.fspath(speakers)} has no use. Leave it out.")
        speaker_names, speaker_N = _read_speakers(speakers, names)
    targets = int(np.count_nonzero(same_K))
    if not 0 < targets < same_K.size:
        raise BadScores(
            f"{path} has {targets:,} target and {same_K.size - targets:,} non-target trials; error "
            "rates need both kinds. Check the labels, and that the trial list is the right one."
        )
    if left_K is not None and right_K is not None:
        warnings |= doubts(left_K, right_K, same_K, speaker_N)
    if score_K.min() == score_K.max():
        warnings["constant_scores"] = score_K.size
    return ScoreFile(
        str(path), format, score_K, same_K, names, left_K, right_K, lost, warnings, speaker_names, speaker_N
    )


def _read_columns(
    path: Path, interned: Interned, columns: str | None, with_trials: bool
) -> tuple[str, dict[str, np.ndarray]]:
    """Return the name of the format, and "score" and what else there is of "label", "left" and "right"."""
    file = TextFile(path, SCORES_OF_A_LIST if with_trials else SCORE_FILE)
    if _is_zip(path):
        return "voxid", _read_npz(path, interned)
    layout = find_layout(file.kind, file.sample(), file.refuse, columns)
    format = "columns as given" if columns else file.kind.format_of(layout)
    return format, file.read(layout, {"left": interned, "right": interned})


def _is_zip(path: Path) -> bool:
    try:
        with path.open("rb") as file:
            return file.read(4) == b"PK\x03\x04"
    except OSError:
        return False  # reading it as text says what is wrong


def _read_npz(path: Path, interned: Interned) -> dict[str, np.ndarray]:
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
    if (bad := np.flatnonzero(~np.isfinite(score_K))).size:
        raise BadScores(f"{path}: {bad.size:,} scores are NaN or infinite; the first is trial {bad[0]}.")
    number_N = np.array([interned(str(name)) for name in names], dtype=np.int32)
    score_K, same_K = score_K.astype(np.float64), same_K.astype(bool)
    return {"score": score_K, "label": same_K, "left": number_N[left_K], "right": number_N[right_K]}


def _read_speakers(path: StrPath, names: list[str]) -> tuple[list[str], np.ndarray]:
    """Return the speakers of a list `utterance speaker`, sorted, and the place of each name's, int32 (N,).

    Raise BadScores for a line without two words, and for names that the list does not have.
    """
    file = TextFile(path, SPEAKER_LIST)
    speaker_of: dict[str, str] = {}
    for line in file.lines():
        words = line.text.replace(",", " ").split()
        if len(words) != 2:
            raise file.refuse(line, f"{len(words)} columns where two are needed")
        if speaker_of.setdefault(words[0], words[1]) != words[1]:
            raise file.refuse(line, f"{words[0]!r} has two speakers")
    bare = {bare_name(name): speaker for name, speaker in speaker_of.items()}
    found = [speaker_of.get(name) or bare.get(bare_name(name)) for name in names]
    missing = [name for name, speaker in zip(names, found, strict=True) if speaker is None]
    if missing:
        raise BadScores(
            f"{file.path} has no speaker for {len(missing):,} of {len(names):,} names: "
            f"{', '.join(missing[:5])}{', ...' * (len(missing) > 5)}. Give every name its speaker."
        )
    speakers, code_N = np.unique(np.array(found, dtype=np.str_), return_inverse=True)
    return speakers.tolist(), code_N.astype(np.int32)


# -- matching with a trial list ------------------------------------------------------------------------------

# scores with the labels and names of the list, the trials without a score, what is odd
_Joined = tuple[dict[str, np.ndarray], dict[str, int], dict[str, int]]


def _join_by_order(path: Path, column: dict[str, np.ndarray], trials: StrPath, interned: Interned) -> _Joined:
    """Match scores without names line by line. Raise BadScores."""
    listed = _read_list(trials, interned)
    if listed["label"].size != column["score"].size:
        raise BadScores(
            f"{path} has {column['score'].size:,} scores without names, and {os.fspath(trials)} has "
            f"{listed['label'].size:,} trials, so which score is whose cannot be told. Give scores with both "
            "names."
        )
    _need_agreement(path, column.get("label"), listed["label"], trials)
    return listed | {"score": column["score"]}, {}, {}


def _join_by_names(path: Path, column: dict[str, np.ndarray], trials: StrPath, interned: Interned) -> _Joined:
    """Match scores with trials by the names of both sides, in the order of the trials.

    A score of (right, left) serves where there is none of (left, right). Raise BadScores when nothing
    matches, when one pair has two scores, or when the labels of the file and of the list differ.
    """
    listed = _read_list(trials, interned)
    left_K, right_K, same_K = listed["left"], listed["right"], listed["label"]
    count = len(interned.names)
    key_S = column["left"].astype(np.int64) * count + column["right"]
    order_S = np.argsort(key_S, kind="stable")
    key_S = key_S[order_S]
    repeated = _repeated(path, key_S, column["score"][order_S], order_S)
    place_K = _places(key_S, left_K.astype(np.int64) * count + right_K)
    missing = np.flatnonzero(place_K < 0)
    swapped = _places(key_S, right_K[missing].astype(np.int64) * count + left_K[missing])
    place_K[missing] = swapped
    found_K = place_K >= 0
    if not found_K.any():
        raise BadScores(
            f"{path} has no score for any of the {found_K.size:,} trials of {os.fspath(trials)}. Its "
            f"names are like {interned.names[column['left'][0]]!r}, those of the trials like "
            f"{interned.names[left_K[0]]!r}."
        )
    # of a pair with several equal scores only the first is used, and the others are counted as repeated
    unused = key_S.size - np.unique(place_K[found_K]).size
    warnings = {
        "repeated_scores": repeated,
        "swapped": int(np.count_nonzero(swapped >= 0)),
        "scores_without_trial": max(unused - repeated, 0),
    }
    lost = {"targets": int(same_K[~found_K].sum()), "nontargets": int((~same_K[~found_K]).sum())}
    row_K = order_S[place_K[found_K]]
    joined = {role: of_role[found_K] for role, of_role in listed.items()}
    _need_agreement(path, column["label"][row_K] if "label" in column else None, joined["label"], trials)
    joined["score"] = column["score"][row_K]
    return joined, {k: n for k, n in lost.items() if n}, {k: n for k, n in warnings.items() if n}


def _read_list(trials: StrPath, interned: Interned) -> dict[str, np.ndarray]:
    interned.next_file()
    file = TextFile(trials, TRIAL_LIST)
    layout = find_layout(
        file.kind, file.sample(), file.refuse, is_known=lambda _, name: interned.find(name) >= 0
    )
    return file.read(layout, {"left": interned, "right": interned})


def _places(key_S: np.ndarray, key_K: np.ndarray) -> np.ndarray:
    """Return the place of each key among the sorted `key_S`, -1 where it is not there."""
    place_K = np.searchsorted(key_S, key_K)
    place_K[place_K == key_S.size] = 0
    place_K[key_S[place_K] != key_K] = -1
    return place_K


def _repeated(path: Path, key_S: np.ndarray, score_S: np.ndarray, order_S: np.ndarray) -> int:
    """Return how many scores repeat a pair. Raise BadScores when such a pair has two different scores."""
    again = np.flatnonzero(key_S[1:] == key_S[:-1])
    differ = again[score_S[again] != score_S[again + 1]]
    if differ.size:
        raise BadScores(
            f"{path}: {differ.size:,} pairs have two different scores; the first is score "
            f"{int(order_S[differ[0] + 1]) + 1} of the file. Which counts cannot be told."
        )
    return int(again.size)


def _need_agreement(path: Path, mine_K: np.ndarray | None, theirs_K: np.ndarray, trials: StrPath) -> None:
    differ = 0 if mine_K is None else int(np.count_nonzero(mine_K != theirs_K))
    if differ:
        raise BadScores(
            f"the labels of {path} and of {os.fspath(trials)} differ for {differ:,} of {theirs_K.size:,} "
            "trials. Leave out the list, or find out which is right."
        )
