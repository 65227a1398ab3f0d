"""Trial lists in the formats of VoxCeleb, Kaldi, NIST and CSV: read, doubted, written.

# K trials, N utterances, M models, E enrollment utterances of all models
"""

from __future__ import annotations

import csv
import io
import os
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np

from voxid.errors import BadTrials, did_you_mean
from voxid.files import atomic_write
from voxid.trials.data import EvaluationData
from voxid.trials.layouts import DIFFERENT, MODEL_LIST, SAME, TRIAL_LIST, find_layout
from voxid.trials.names import Numbers
from voxid.trials.textfiles import TextFile
from voxid.trials.values import Models, Trials

ENROLLMENT_SUFFIX = ".enrol"  # beside a list whose left sides are models
CHUNK = 1 << 18  # trials looked at, or lines written, together
# of each format that is written: the columns with what follows each, the words for different and same
_WRITTEN = {
    "voxceleb": ((("label", " "), ("left", " "), ("right", "\n")), ("0", "1")),
    "kaldi": ((("left", " "), ("right", " "), ("label", "\n")), ("nontarget", "target")),
    "csv": ((("left", ","), ("right", ","), ("label", "\n")), ("0", "1")),
}
WRITTEN = tuple(_WRITTEN)


def read_trials(
    path: str | os.PathLike[str],
    data: EvaluationData,
    enrollments: str | os.PathLike[str] | None = None,
    columns: str | None = None,
) -> Trials:
    """Return the trials of a list: VoxCeleb, Kaldi or CSV (with or without a header), plain or gzipped.

    Utterances are named as in the data, with or without the suffix of a file, by path, or by path inside
    the corpus. Blank lines and lines that begin with `#` are passed over. `enrollments` is a file of
    enrollment models (lines `model utterance utterance ...`, or `model utterance` repeated) when the left
    sides are models; PATH.enrol is taken when it is there. `columns` ("left right label", `_` for others)
    overrides what is found out. Memory: 17 bytes a trial and a block while reading, 9 bytes afterwards.

    Raise BadTrials for a line that does not fit the format (with its number and text), for utterances that
    the data does not have (how many, the first five, what they may have meant), and for a list that could be
    read in two ways.

    >>> from pathlib import Path
    >>> from voxid.trials.data import read_data
    >>> _ = Path("one.txt").write_text("1 speaker-0000/0000 speaker-0000/0001")
    >>> read_trials("one.txt", read_data("people")).same_K.tolist()
    [True]
    """
    file = TextFile(path, TRIAL_LIST)
    if enrollments is None and _models_path(file.path).is_file():
        enrollments = _models_path(file.path)
    models = read_models(enrollments, data) if enrollments is not None else None
    left, right = Numbers(data, models), Numbers(data)
    right.missing = left.missing  # counted together
    finders = {"left": left, "right": right}
    layout = find_layout(
        file.kind,
        file.sample(),
        file.refuse,
        columns,
        lambda role, name: role in finders and finders[role].find(name) >= 0,
    )
    column = file.read(layout, finders)
    if right.missing:
        raise BadTrials(f"{file.path} {right.about_missing(models.names if models else ())}")
    left_K, right_K, same_K = column["left"], column["right"], column["label"]
    trials = Trials(os.fspath(path), left_K, right_K, same_K, models=models)
    trials.warnings.update(doubts(left_K, right_K, same_K, trials.extended(data).speakers(), models))
    if models is not None and (mixed := _of_several_speakers(models, data.speakers())):
        trials.warnings["models_of_several_speakers"] = mixed
    return trials


def read_models(path: str | os.PathLike[str], data: EvaluationData) -> Models:
    """Return the enrollment models of a file: `model utterance utterance ...`, or `model utterance` repeated.

    A first line that begins with "model" or "modelid" and names no utterance is a header (NIST). Raise
    BadTrials for a model without utterances, one with an utterance twice, or utterances that are missing.

    >>> from pathlib import Path
    >>> from voxid.trials.data import read_data
    >>> _ = Path("list.enrol").write_text("first speaker-0000/0000 speaker-0000/0001\\n")
    >>> read_models("list.enrol", read_data("people")).names
    ['first']
    """
    file = TextFile(path, MODEL_LIST)
    number = Numbers(data)
    members: dict[str, list[int]] = {}
    for place, line in enumerate(file.lines()):
        model, *utterances = line.text.replace(",", " ").split()
        if not utterances:
            raise file.refuse(line, f"model {model!r} has no utterances")
        if place == 0 and model.lower() in ("model", "modelid") and number.find(utterances[0]) < 0:
            continue
        mine = members.setdefault(model, [])
        for utterance in utterances:
            found = number(utterance)
            if found >= 0 and found in mine:
                raise file.refuse(line, f"model {model!r} has the utterance {utterance!r} twice")
            mine.append(found)
    if number.missing:
        raise BadTrials(f"{file.path} {number.about_missing()}")
    if not members and file.sample():
        raise file.refuse(None, "a header, and no models")
    sizes = [len(mine) for mine in members.values()]
    return Models(
        list(members),
        np.concatenate(([0], np.cumsum(sizes))).astype(np.int64),
        np.array([found for mine in members.values() for found in mine], dtype=np.int32),
        first=len(data.utterances),
    )


def _of_several_speakers(models: Models, speaker_N: np.ndarray) -> int:
    """Return how many models are made of utterances of more than one speaker."""
    speaker_E = speaker_N[models.utterance_E]
    model_E = np.repeat(np.arange(len(models)), np.diff(models.begin))
    return np.unique(model_E[speaker_E != speaker_E[models.begin[model_E]]]).size


# -- what looks wrong ----------------------------------------------------------------------------------------


def doubts(
    left_K: np.ndarray,
    right_K: np.ndarray,
    same_K: np.ndarray,
    speaker_N: np.ndarray | None,
    models: Models | None = None,
) -> dict[str, int]:
    """Return how many trials look wrong, by kind; they are scored all the same.

    `duplicate`: pairs that came before, in either order. `contradictory`: trials of pairs with both labels.
    `with_itself`: both sides are one recording, or the test is among the enrollment. With `speaker_N`, the
    speaker of each number (-1: unknown), `against_corpus_speakers`: the label says otherwise. Beyond the
    trials this takes 8 bytes each.

    >>> import numpy as np
    >>> pair, same = np.array([0, 0]), np.array([True, True])
    >>> sum(doubts(pair, np.array([1, 1]), same, None).values())  # one pair twice
    1
    """
    if not left_K.size:
        return {}
    counts = dict.fromkeys(("duplicate", "contradictory", "with_itself", "against_corpus_speakers"), 0)
    enrolled = np.zeros(0, np.int64)  # a sorted key for each (model, enrollment utterance)
    if models is not None:
        model_E = models.first + np.repeat(np.arange(len(models), dtype=np.int64), np.diff(models.begin))
        enrolled = np.sort(model_E * models.first + models.utterance_E)
    most = 1 + max(int(left_K.max()), int(right_K.max()))
    key_K = np.empty(left_K.size, dtype=np.int64)  # of the pair in either order, and of the label
    for begin in range(0, left_K.size, CHUNK):
        now = slice(begin, begin + CHUNK)
        left, right = left_K[now].astype(np.int64), right_K[now]
        key_K[now] = 2 * (np.minimum(left, right) * most + np.maximum(left, right)) + same_K[now]
        counts["with_itself"] += int(np.count_nonzero(left == right))
        if models is not None and enrolled.size:
            key = left * models.first + right
            place = np.minimum(np.searchsorted(enrolled, key), enrolled.size - 1)
            counts["with_itself"] += int(np.count_nonzero(enrolled[place] == key))
        if speaker_N is not None:
            one, other = speaker_N[left], speaker_N[right]
            wrong = (same_K[now] != (one == other)) & (one >= 0) & (other >= 0)
            counts["against_corpus_speakers"] += int(np.count_nonzero(wrong))
    key_K.sort()  # equal pairs lie together, those with label 0 first
    begin = 0
    while begin < key_K.size:
        end = min(begin + CHUNK, key_K.size)
        if end < key_K.size:  # whole pairs only
            end = int(np.searchsorted(key_K, ((key_K[end - 1] >> 1) + 1) << 1))
        key, begin = key_K[begin:end], end
        first = np.flatnonzero(np.r_[True, key[1:] >> 1 != key[:-1] >> 1])
        last = np.r_[first[1:], key.size] - 1
        counts["duplicate"] += key.size - first.size
        counts["contradictory"] += int((last - first + 1)[key[first] != key[last]].sum())
    return {kind: count for kind, count in counts.items() if count}


# -- writing -------------------------------------------------------------------------------------------------


def write_trials(
    path: str | os.PathLike[str], trials: Trials, data: EvaluationData, format: str = "voxceleb"
) -> None:
    """Write `trials` to a list: "voxceleb" (`1 left right`), "kaldi" (`left right target`) or "csv".

    Enrollment models go beside it, into PATH.enrol (lines `model utterance utterance ...`), where
    `read_trials` finds them. Raise BadTrials for an unknown format, for a name that the format cannot hold,
    and where an old PATH.enrol would give these trials a wrong meaning; DiskFull, NotWritable or OutputError.

    >>> from voxid.trials import make_trials
    >>> from voxid.trials.data import read_data
    >>> data = read_data("people")
    >>> write_trials("trials.txt", make_trials("all", data), data)
    >>> len(read_trials("trials.txt", data))
    66
    """
    if format not in _WRITTEN:
        raise BadTrials(
            f"no trial list format {format!r}. Known: {', '.join(WRITTEN)}."
            f"{did_you_mean(format, list(WRITTEN))}"
        )
    if not len(trials):
        raise BadTrials("there are no trials to write, and an empty list cannot be read back.")
    names_N = [u.utterance for u in trials.extended(data).utterances]
    used = np.unique(np.concatenate((np.unique(trials.left_K), np.unique(trials.right_K)))).tolist()
    _check_names((names_N[number] for number in used), format, f"the format {format!r}")
    beside = _models_path(path)
    if trials.models is None and beside.exists():
        raise BadTrials(
            f"{beside} lies beside the list and would be read as its enrollment models, and these trials "
            "have none. Remove it, or give the list another name."
        )
    if trials.models is not None:
        _write_models(beside, trials.models, names_N)
    columns, labels = _WRITTEN[format]
    with atomic_write(path) as file:
        if format == "csv":
            file.write(",".join(role for role, _ in columns).encode() + b"\n")
            names_N = [_quoted(name) for name in names_N]
        words = {
            role: [word + end for word in (labels if role == "label" else names_N)] for role, end in columns
        }
        for text in _texts(trials, words):
            file.write(text)


def _texts(trials: Trials, words: dict[str, list[str]]) -> Iterator[memoryview]:
    """Yield the lines in pieces: words are taken and joined by Arrow, whose buffer then is the text."""
    import pyarrow as pa
    from pyarrow import compute

    arrays = {role: pa.array(of_role, pa.string()) for role, of_role in words.items()}
    for begin in range(0, len(trials), CHUNK):
        now = slice(begin, begin + CHUNK)
        codes = {"left": trials.left_K[now], "right": trials.right_K[now]}
        codes["label"] = trials.same_K[now].astype(np.int32)
        parts = [of_role.take(pa.array(codes[role])) for role, of_role in arrays.items()]
        lines = compute.call_function("binary_join_element_wise", [*parts, pa.scalar("")])
        _, offsets, text = lines.buffers()
        ends = np.frombuffer(offsets, np.int32)
        yield memoryview(text)[ends[lines.offset] : ends[lines.offset + len(lines)]]


def _write_models(path: Path, models: Models, names_N: list[str]) -> None:
    rows = [[names_N[u] for u in models.members(m)] for m in range(len(models))]
    _check_names((name for row in rows for name in row), "voxceleb", "the enrollment list")
    with atomic_write(path, "w") as file:
        file.writelines(f"{name} {' '.join(row)}\n" for name, row in zip(models.names, rows, strict=True))


def _models_path(path: str | os.PathLike[str]) -> Path:
    """Return where the enrollment models of the list at `path` lie."""
    path = Path(path).expanduser()
    return path.with_name(path.name + ENROLLMENT_SUFFIX)


def _check_names(names: Iterable[str], format: str, what: str) -> None:
    for name in names:
        why = ""
        if not name.isprintable() or name.strip() != name or not name:
            why = "it is empty, or has white space at an end or characters that cannot be seen"
        elif name.startswith("#"):
            why = "a line that begins with it is a comment"
        elif format != "csv" and any(character.isspace() for character in name):
            why = "a space ends a name there; write csv"
        elif format != "csv" and ("," in name or name.lower() in SAME | DIFFERENT):
            why = "it would be taken for a label or for CSV; write csv"
        if why:
            raise BadTrials(f"{what} cannot hold the name {name!r}: {why}.")


def _quoted(name: str) -> str:
    text = io.StringIO()
    csv.writer(text, lineterminator="").writerow([name])
    return text.getvalue()
