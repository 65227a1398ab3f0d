"""What the columns of a trial list or a score file are: one table of layouts, and how a file chooses its own.

A layout is tried on every line of a sample; the one that all of them fit is the layout of the file. Where two
fit, and the names do not decide, nobody guesses.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

from voxid.errors import BadScores, BadTrials, did_you_mean

SAME = {"1", "target", "true", "same", "tgt"}
DIFFERENT = {"0", "nontarget", "false", "different", "nontgt", "non-target"}
SYNONYMS = {  # of the words of a header line, without all but letters and digits
    "left": "left enroll enrol enrollment enrolment model modelid reference utt1 file1 path1 wav1 audio1 "
    "enrollid enrolid utterance1 file0",
    "right": "right test probe segment segmentid verify utt2 file2 path2 wav2 audio2 testid utterance2",
    "label": "label target targettype same issame istarget key truth groundtruth y",
    "score": "score scores llr cosine similarity cos prediction",
}
_ROLE_OF = {word: role for role, words in SYNONYMS.items() for word in words.split()}
_NUMBERS = {1: "one is", 2: "two are", 3: "three are", 4: "four are"}


class Line(NamedTuple):
    """A line of the file: its number, from 1, and its text without the end."""

    number: int
    text: str


@dataclass(frozen=True)
class LineLayout:
    """Which column is which: `roles[c]` is "left", "right", "label", "score", or "" for a column not used."""

    delimiter: str  # " " stands for any white space
    roles: tuple[str, ...]
    header_line: int = 0  # number of the line that names the columns, 0: none

    def fields(self, text: str) -> list[str]:
        """Return the fields of a line, without white space around them."""
        if self.delimiter == " ":
            return text.split()
        if self.delimiter == ",":
            return [field.strip() for field in next(csv.reader([text], skipinitialspace=True))]
        return [field.strip() for field in text.split(self.delimiter)]

    def problem(self, line: Line) -> str:
        """Return what is wrong with a line, "" when nothing is."""
        if line.number == self.header_line:
            return ""
        fields = self.fields(line.text)
        if len(fields) != len(self.roles):
            count = len(self.roles)
            return f"{len(fields)} columns where {_NUMBERS.get(count, f'{count} are')} needed"
        for role, word in zip(self.roles, fields, strict=True):
            if role in ("left", "right") and not word:
                return "a name is empty"
            if role in ("label", "score") and not _can_be(role, word):
                return f"{word!r} is no {role}"
        return ""


@dataclass(frozen=True)
class FileKind:
    """A kind of file. `layouts` is the table of those without a header, by the name of each format."""

    name: str
    error: type[BadTrials | BadScores]
    expected: str  # how its messages end
    rows: str = ""  # what its lines are
    needs: frozenset[str] = frozenset()  # roles that a header has to name
    layouts: tuple[tuple[str, tuple[str, ...]], ...] = ()
    unsure: str = ""  # what to say where two layouts fit

    def uses(self, role: str) -> bool:
        """Return whether the role is one that any of the layouts has."""
        return any(role in roles for _, roles in self.layouts)

    def format_of(self, layout: LineLayout) -> str:
        """Return the name of the format that a layout is."""
        width = max(len(roles) for _, roles in self.layouts)
        named = {roles: name for name, roles in self.layouts}
        return "csv" if layout.header_line else named.get(layout.roles[:width], "columns")

    def candidates(self, line: Line) -> list[LineLayout]:
        """Return what a line without a header may be; a score file may have more columns after the fourth."""
        found = []
        for delimiter in _delimiters(line):
            count = len(LineLayout(delimiter, ()).fields(line.text))
            every = [roles for _, roles in self.layouts]
            if delimiter == ",":
                every.reverse()  # what is likelier with commas first: its message is the one that is shown
            if "score" in self.needs:
                fill = ("",) * (count - 4)  # such as the norms and cohort means that WeSpeaker appends
                every = [roles + fill for roles in every if len(roles) == min(count, 4)]
            found += [LineLayout(delimiter, roles) for roles in every]
        return found


TRIAL_LIST = FileKind(
    "trial list",
    BadTrials,
    "VoxCeleb lines '1 left right', Kaldi lines 'left right target', or CSV lines 'left,right,label' "
    "(labels: 1/0, target/nontarget, same/different)",
    "trials",
    frozenset({"left", "right", "label"}),
    (("voxceleb", ("label", "left", "right")), ("kaldi", ("left", "right", "label"))),
    "the label may be the first column or the last, and the names fit either way or neither. Give the list a "
    "header, left,right,label, with commas",
)
SCORE_FILE = FileKind(
    "score file",
    BadScores,
    "lines 'left right score label' (WeSpeaker), 'left right label score' (SpeechBrain), 'score label' "
    "(NeMo), 'label score', 'left right score' with a trial list (Kaldi), CSV with a header, or "
    "scores-SYSTEM.npz of voxid",
    "scores",
    frozenset({"score"}),
    (
        ("wespeaker", ("left", "right", "score", "label")),
        ("speechbrain", ("left", "right", "label", "score")),
        ("voxceleb with scores", ("label", "left", "right", "score")),
        ("nemo", ("score", "label")),
        ("label score", ("label", "score")),
        ("kaldi", ("left", "right", "score")),
    ),
    "0 and 1 in every line, so a column may hold labels or scores ({readings}). Say which it is (--columns), "
    "for example columns='left right score label'",
)
SCORES_OF_A_LIST = replace(SCORE_FILE, layouts=(*SCORE_FILE.layouts, ("scores", ("score",))))
MODEL_LIST = FileKind("enrollment list", BadTrials, "lines 'model utterance utterance ...'")
SPEAKER_LIST = FileKind("speaker list", BadScores, "lines 'utterance speaker'")


def find_layout(
    kind: FileKind,
    sample: Sequence[Line],
    refuse: Callable[[Line | None, str], Exception],
    columns: str | None = None,
    is_known: Callable[[str, str], bool] = lambda role, name: False,
) -> LineLayout:
    """Return the layout that every line of the sample fits. Raise `refuse(line, why)` for none, or two.

    `columns` are the roles that a user gave. `is_known(role, name)` tells the names of the data.
    """
    first = sample[0]
    if columns is not None:
        roles = _roles_from_words(kind, columns)
        layouts = [LineLayout(delimiter, roles) for delimiter in _delimiters(first)]
    elif (headed := _named_by_header(kind, first)) is not None:
        if len(sample) == 1:
            raise refuse(None, f"a header, and no {kind.rows}")
        layouts = [headed]
    else:
        layouts = kind.candidates(first)
    fits = _fitting(sample, layouts) or _below_a_header(sample, layouts, is_known)
    if not fits:
        raise refuse(*_why_none(kind, sample, layouts))
    if len({layout.roles for layout in fits}) > 1:
        fits = [layout for layout in fits if _all_known(sample, layout, is_known)] or fits
    readings = dict.fromkeys(layout.roles for layout in fits)
    if len(readings) > 1 or (columns is None and _labels_for_scores(sample, fits[0])):
        words = " or ".join(repr(" ".join(role or "_" for role in roles)) for roles in readings)
        raise refuse(first, kind.unsure.format(readings=words))
    return fits[0]


def _roles_from_words(kind: FileKind, text: str) -> tuple[str, ...]:
    """Return the roles that a user gave: "left right score label", with `_` for a column not used."""
    known = ["left", "right", "label", "score", "_"]
    roles = text.replace(",", " ").split()
    for role in roles:
        if role not in known:
            raise kind.error(
                f"no column is called {role!r}. Columns are {', '.join(known)} ('_': not used), in the order "
                f"of the file.{did_you_mean(role, known)}"
            )
    named = [role for role in roles if role != "_"]
    if len(named) != len(set(named)) or ("left" in named) != ("right" in named):
        raise kind.error(f"columns {text!r}: each role once, and left and right together.")
    if not kind.needs <= set(named):
        needed = ", ".join(role for role in known if role in kind.needs)
        raise kind.error(f"columns {text!r}: a {kind.name} has {needed}.")
    return tuple("" if role == "_" else role for role in roles)


def _delimiters(line: Line) -> list[str]:
    """Return the delimiters that may part the fields of a line, the likeliest first."""
    return [*(mark for mark in (",", "\t") if mark in line.text), " "]


def _named_by_header(kind: FileKind, line: Line) -> LineLayout | None:
    """Return the layout of a first line that names all columns which the kind of file needs."""
    for delimiter in _delimiters(line):
        words = LineLayout(delimiter, ()).fields(line.text)
        roles = [_ROLE_OF.get(re.sub(r"[^a-z0-9]", "", word.lower()), "") for word in words]
        named = [role for role in roles if role]
        if (
            kind.needs <= set(named)
            and len(named) == len(set(named))
            and ("left" in named) == ("right" in named)
        ):
            used = tuple(role if kind.uses(role) else "" for role in roles)
            return LineLayout(delimiter, used, line.number)
    return None


def _fitting(sample: Sequence[Line], layouts: Sequence[LineLayout]) -> list[LineLayout]:
    """Return the layouts that every line fits."""
    return [layout for layout in layouts if not any(layout.problem(line) for line in sample)]


def _below_a_header(
    sample: Sequence[Line], layouts: Sequence[LineLayout], is_known: Callable[[str, str], bool]
) -> list[LineLayout]:
    """Return the layouts that all lines fit but the first, when nothing in that can be what it should be."""
    found = []
    for layout in _fitting(sample[1:], layouts) if len(sample) > 1 else []:
        words = layout.fields(sample[0].text)
        if len(words) == len(layout.roles) and not any(
            _can_be(role, word) or is_known(role, word)
            for role, word in zip(layout.roles, words, strict=True)
        ):
            found.append(replace(layout, header_line=sample[0].number))
    return found


def _all_known(sample: Sequence[Line], layout: LineLayout, is_known: Callable[[str, str], bool]) -> bool:
    """Return whether the data knows every name of the sample, where labels and names look alike."""
    return all(
        is_known(role, word)
        for line in sample
        if line.number != layout.header_line
        for role, word in zip(layout.roles, layout.fields(line.text), strict=True)
        if role in ("left", "right")
    )


def _labels_for_scores(sample: Sequence[Line], layout: LineLayout) -> bool:
    """Return whether the scores, in a layout without labels, look like the labels of a trial list."""
    if "label" in layout.roles or not {"left", "score"} <= set(layout.roles):
        return False
    place = layout.roles.index("score")
    return all(layout.fields(line.text)[place] in ("0", "1") for line in sample)


def _why_none(kind: FileKind, sample: Sequence[Line], layouts: Sequence[LineLayout]) -> tuple[Line, str]:
    """Return the first line that breaks the layout that lasts longest, and what is wrong with it."""
    words = sample[0].text.replace(",", " ").split()
    labelled = words[0] in SAME | DIFFERENT or words[-1].lower() in ("target", "nontarget")
    if "score" in kind.needs and len(words) == 3 and labelled:
        return sample[0], "a name, a name and a label, and no score: this looks like a trial list"
    if not layouts:
        return sample[0], "one column; scores alone need the trial list whose order they are in"
    breaks = []
    for order, layout in enumerate(layouts):
        place, line = next((place, line) for place, line in enumerate(sample) if layout.problem(line))
        right_width = len(layout.fields(line.text)) == len(layout.roles)
        breaks.append((place, right_width, -order, line, layout.problem(line)))
    return max(breaks, key=lambda item: item[:3])[3:]


def _can_be(role: str, word: str) -> bool:
    """Return whether `word` can be a label, or a score; NaN and infinity can, as far as reading goes."""
    if role == "label":
        return word.lower() in SAME | DIFFERENT
    if role != "score" or "_" in word:
        return False
    try:
        float(word)
    except ValueError:
        return False
    return True
