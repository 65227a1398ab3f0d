"""Trial lists in the formats of VoxCeleb, Kaldi, NIST and CSV; which one, the content tells.

# K trials, N utterances, M models, E enrollment utterances of all models
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from voxid.errors import BadTrials
from voxid.trials.columns import (
    Layout,
    Line,
    columns_from_words,
    delimiters,
    fitting,
    header_roles,
    nearest,
)
from voxid.trials.data import EvaluationData
from voxid.trials.doubting import doubts
from voxid.trials.names import Finder, Numbers
from voxid.trials.textfiles import Column, Lookup, TextFile
from voxid.trials.values import Models, Trials

FORMATS = (
    "VoxCeleb lines '1 left right', Kaldi lines 'left right target', or CSV lines 'left,right,label' "
    "(labels: 1/0, target/nontarget, same/different)"
)
MODEL_LINES = "lines 'model utterance utterance ...'"
LABEL_FIRST, LABEL_LAST = ("label", "left", "right"), ("left", "right", "label")
ENROLMENT_SUFFIX = ".enrol"  # beside a list whose left sides are models


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
    """
    file = TextFile(path, BadTrials, "trial list", FORMATS)
    beside = file.path.with_name(file.path.name + ENROLMENT_SUFFIX)
    if enrollments is None and beside.is_file():
        enrollments = beside
    models = read_models(enrollments, data) if enrollments is not None else None
    left_number = _LeftNumbers(data, models)
    right_number = Numbers(data)
    sample = file.sample()
    if columns is None:
        layout = find_layout(file, sample, left_number, right_number)
    else:
        layout = given_layout(columns, sample)
    left_number.missing.clear()
    right_number.missing = left_number.missing  # counted together
    left_K, right_K, same_K = numbered(file, layout, left_number, right_number)
    if right_number.missing:
        raise BadTrials(f"{file.path} {right_number.about_missing(models.names if models else ())}")
    trials = Trials(os.fspath(path), left_K, right_K, same_K, models=models)
    speaker_N = trials.extended(data).speakers()
    warnings = doubts(left_K, right_K, same_K, speaker_N, models)
    if models is not None and (mixed := _of_several_speakers(models, data.speakers())):
        warnings["models_of_several_speakers"] = mixed
    return Trials(os.fspath(path), left_K, right_K, same_K, warnings, models=models)


class _LeftNumbers(Numbers):
    """Numbers of left sides: of enrollment models where there are any, else of utterances."""

    def __init__(self, data: EvaluationData, models: Models | None) -> None:
        super().__init__(data)
        self._models = {name: models.first + m for m, name in enumerate(models.names)} if models else None

    def find(self, name: str) -> int:
        """Return the number of a model or an utterance, -1 when there is none."""
        return super().find(name) if self._models is None else self._models.get(name, -1)


def numbered(
    file: TextFile, layout: Layout, left_number: Finder, right_number: Finder
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return left, right (int32) and same (bool) of every line."""
    left_K, right_K, same_K = Column(np.int32), Column(np.int32), Column(np.bool_)
    left, right = Lookup(left_number), Lookup(right_number)
    for block in file.read(layout):
        left_K.add(left(block.words("left")))
        right_K.add(right(block.words("right")))
        same_K.add(block.same())
    return left_K.whole(), right_K.whole(), same_K.whole()


# -- which format --------------------------------------------------------------------------------------------


def given_layout(columns: str, sample: Sequence[Line]) -> Layout:
    """Return the layout with the columns that a user gave, with or without a header."""
    roles = columns_from_words(columns, BadTrials)
    if not set(LABEL_LAST) <= set(roles):
        raise BadTrials(f"columns {columns!r}: a trial list has left, right and label.")
    layouts = [Layout(delimiter, roles) for delimiter in delimiters(sample[0].text)]
    if fits := fitting(sample, layouts):
        return fits[0]
    headed = [Layout(layout.delimiter, roles, sample[0].number) for layout in layouts]
    return next(iter(fitting(sample[1:], headed) if len(sample) > 1 else []), layouts[0])


def find_layout(file: TextFile, sample: Sequence[Line], left: Finder, right: Finder) -> Layout:
    """Return the layout that every line of the sample fits. Raise BadTrials when there is none, or two."""
    first = sample[0]
    for delimiter in delimiters(first.text):
        roles = header_roles(Layout(delimiter, ()).fields(first.text), set(LABEL_LAST))
        if roles is not None:
            layout = Layout(delimiter, tuple("" if role == "score" else role for role in roles), first.number)
            if not fitting(sample, [layout]):
                raise file.refuse(*nearest(sample, [layout]))
            if len(sample) == 1:
                raise file.refuse(None, "a header, and no trials")
            return layout
    layouts = [
        Layout(delimiter, roles)
        for delimiter in delimiters(first.text)
        for roles in ((LABEL_LAST, LABEL_FIRST) if delimiter == "," else (LABEL_FIRST, LABEL_LAST))
    ]
    fits = fitting(sample, layouts) or _headed(sample, layouts, left, right)
    if not fits:
        raise file.refuse(*nearest(sample, layouts))
    if len({layout.roles for layout in fits}) == 1:
        return fits[0]
    return _by_names(file, sample, fits, left, right)


def _headed(sample: Sequence[Line], layouts: list[Layout], left: Finder, right: Finder) -> list[Layout]:
    """Return the layouts that all lines but the first fit, when the first names no utterance: a header."""
    if len(sample) < 2:
        return []
    found = []
    for layout in fitting(sample[1:], layouts):
        fields = layout.fields(sample[0].text)
        names = [word for role, word in zip(layout.roles, fields, strict=False) if role in ("left", "right")]
        if len(fields) == len(layout.roles) and left.find(names[0]) < 0 and right.find(names[1]) < 0:
            found.append(Layout(layout.delimiter, layout.roles, sample[0].number))
    return found


def _by_names(
    file: TextFile, sample: Sequence[Line], fits: list[Layout], left: Finder, right: Finder
) -> Layout:
    """Return the one layout by which every name of the sample is known, where labels and names look alike."""
    known = []
    for layout in fits:
        rows = [layout.fields(line.text) for line in sample if line.number != layout.header_line]
        places = layout.roles.index("left"), layout.roles.index("right")
        if all(left.find(row[places[0]]) >= 0 and right.find(row[places[1]]) >= 0 for row in rows):
            known.append(layout)
    if len({layout.roles for layout in known}) == 1:
        return known[0]
    raise file.refuse(
        sample[0],
        "the label may be the first column or the last, and the names fit either way or neither. Give the "
        "list a header, left,right,label, with commas",
    )


# -- enrollment models ---------------------------------------------------------------------------------------


def read_models(path: str | os.PathLike[str], data: EvaluationData) -> Models:
    """Return the enrollment models of a file: `model utterance utterance ...`, or `model utterance` repeated.

    A first line that begins with "model" or "modelid" and names no utterance is a header (NIST). Raise
    BadTrials for a model without utterances, one with an utterance twice, or utterances that are missing.
    """
    file = TextFile(path, BadTrials, "enrollment list", MODEL_LINES)
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


def models_path(path: str | os.PathLike[str]) -> Path:
    """Return where the enrollment models of the list at `path` lie."""
    path = Path(path).expanduser()
    return path.with_name(path.name + ENROLMENT_SUFFIX)
