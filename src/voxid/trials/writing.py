"""Write trial lists that other tools read, and `read_trials` too.

# K trials, N utterances and models
"""

from __future__ import annotations

import csv
import io
import os
from collections.abc import Iterable, Iterator
from typing import NamedTuple

import numpy as np

from voxid.errors import BadTrials, did_you_mean
from voxid.files import atomic_write
from voxid.trials.columns import DIFFERENT, SAME
from voxid.trials.data import EvaluationData
from voxid.trials.lists import models_path
from voxid.trials.values import Trials

LINES_AT_ONCE = 1 << 18


class _Format(NamedTuple):
    """The columns of a line with what follows each, the words for different and same, the first line."""

    columns: tuple[tuple[str, str], ...]
    labels: tuple[str, str]
    header: str = ""


_FORMATS = {
    "voxceleb": _Format((("label", " "), ("left", " "), ("right", "\n")), ("0", "1")),
    "kaldi": _Format((("left", " "), ("right", " "), ("label", "\n")), ("nontarget", "target")),
    "csv": _Format((("left", ","), ("right", ","), ("label", "\n")), ("0", "1"), "left,right,label\n"),
}
WRITTEN = tuple(_FORMATS)


def write_trials(
    path: str | os.PathLike[str], trials: Trials, data: EvaluationData, format: str = "voxceleb"
) -> None:
    """Write `trials` to a list: "voxceleb" (`1 left right`), "kaldi" (`left right target`) or "csv".

    Enrollment models go beside it, into PATH.enrol (lines `model utterance utterance ...`), where
    `read_trials` finds them. Raise BadTrials for an unknown format, for a name that the format cannot hold,
    and where an old PATH.enrol would give these trials a wrong meaning; DiskFull, NotWritable or OutputError.
    """
    if format not in _FORMATS:
        raise BadTrials(
            f"no trial list format {format!r}. Known: {', '.join(WRITTEN)}."
            f"{did_you_mean(format, list(WRITTEN))}"
        )
    if not len(trials):
        raise BadTrials("there are no trials to write, and an empty list cannot be read back.")
    names_N = _names(trials, data)
    used = np.unique(np.concatenate((np.unique(trials.left_K), np.unique(trials.right_K)))).tolist()
    _check_names((names_N[number] for number in used), format)
    beside = models_path(path)
    if trials.models is None and beside.exists():
        raise BadTrials(
            f"{beside} lies beside the list: it would turn the left sides into enrollment models. Remove "
            "it, or write the list under another name."
        )
    if trials.models is not None:
        _write_models(beside, trials, data)
    written_N = [_quoted(name) for name in names_N] if format == "csv" else names_N
    with atomic_write(path) as file:
        file.write(_FORMATS[format].header.encode())
        for text in _texts(trials, written_N, _FORMATS[format]):
            file.write(text)


def _texts(trials: Trials, names_N: list[str], format: _Format) -> Iterator[memoryview]:
    """Yield the lines in pieces: words are taken and joined by Arrow, whose buffer then is the text."""
    import pyarrow as pa
    from pyarrow import compute

    words = {
        role: pa.array([word + end for word in (format.labels if role == "label" else names_N)], pa.string())
        for role, end in format.columns
    }
    for begin in range(0, len(trials), LINES_AT_ONCE):
        now = slice(begin, begin + LINES_AT_ONCE)
        codes = {"left": trials.left_K[now], "right": trials.right_K[now]}
        codes["label"] = trials.same_K[now].astype(np.int32)
        parts = [words[role].take(pa.array(codes[role])) for role, _ in format.columns]
        lines = compute.call_function("binary_join_element_wise", [*parts, pa.scalar("")])
        _, offsets, text = lines.buffers()
        ends = np.frombuffer(offsets, np.int32)
        yield memoryview(text)[ends[lines.offset] : ends[lines.offset + len(lines)]]


def _names(trials: Trials, data: EvaluationData) -> list[str]:
    names_N = [u.utterance for u in data.utterances]
    return names_N if trials.models is None else [*names_N, *trials.models.names]


def _write_models(path: os.PathLike[str], trials: Trials, data: EvaluationData) -> None:
    models = trials.models
    assert models is not None
    utterances = [[data.utterances[u].utterance for u in models.members(m)] for m in range(len(models))]
    _check_names((name for row in utterances for name in row), "voxceleb", "the enrollment list")
    with atomic_write(path, "w") as file:
        file.writelines(
            f"{name} {' '.join(row)}\n" for name, row in zip(models.names, utterances, strict=True)
        )


def _check_names(names: Iterable[str], format: str, what: str = "") -> None:
    what = what or f"the format {format!r}"
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
