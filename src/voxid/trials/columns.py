"""What the columns of a trial list or a score file are, found out from its first lines.

A layout is tried on every line of a sample; the one that all of them fit is the format. Where two fit, and
the content does not decide, nobody guesses.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from voxid.errors import BadScores, BadTrials, did_you_mean

SAME = {"1", "target", "true", "same", "tgt"}
DIFFERENT = {"0", "nontarget", "false", "different", "nontgt", "non-target"}
NAMES = ("left", "right")
SYNONYMS = {
    "left": "left enroll enrol enrollment enrolment model modelid reference utt1 file1 path1 wav1 audio1 "
    "enrollid enrolid utterance1 file0",
    "right": "right test probe segment segmentid verify utt2 file2 path2 wav2 audio2 testid utterance2",
    "label": "label target targettype same issame istarget key truth groundtruth y",
    "score": "score scores llr cosine similarity cos prediction",
}
_ROLE_OF = {word: role for role, words in SYNONYMS.items() for word in words.split()}


class Line(NamedTuple):
    """A line of the file: its number, from 1, and its text without the end."""

    number: int
    text: str


@dataclass(frozen=True)
class Layout:
    """Which column is which: `roles[c]` is "left", "right", "label", "score", or "" for a column not used."""

    delimiter: str  # " " stands for any white space
    roles: tuple[str, ...]
    header_line: int = 0  # number of the line that names the columns, 0: none

    def fields(self, text: str) -> list[str]:
        """Return the fields of a line."""
        return split(text, self.delimiter)

    def problem(self, text: str) -> str:
        """Return what is wrong with a line, "" when nothing is."""
        fields = self.fields(text)
        if len(fields) != len(self.roles):
            needed = {1: "one is", 2: "two are", 3: "three are", 4: "four are"}
            count = len(self.roles)
            return f"{len(fields)} columns where {needed.get(count, f'{count} are')} needed"
        for role, word in zip(self.roles, fields, strict=True):
            if role == "label" and word.lower() not in SAME | DIFFERENT:
                return f"{word!r} is no label"
            if role == "score" and not is_number(word):
                return f"{word!r} is no score"
            if role in NAMES and not word:
                return "a name is empty"
        return ""


def is_number(word: str) -> bool:
    """Return whether `word` is a number; NaN and infinity are, as far as reading goes."""
    try:
        float(word)
    except ValueError:
        return False
    return "_" not in word


def split(text: str, delimiter: str) -> list[str]:
    """Return the fields of a line, without white space around them."""
    if delimiter == " ":
        return text.split()
    if delimiter == ",":
        return [field.strip() for field in next(csv.reader([text], skipinitialspace=True))]
    return [field.strip() for field in text.split(delimiter)]


# -- finding out the layout ----------------------------------------------------------------------------------


def header_roles(fields: Sequence[str], wanted: set[str]) -> tuple[str, ...] | None:
    """Return the role of each column when the fields are a header that names all `wanted` roles.

    >>> header_roles(["Enroll", "test", "is_same", "note"], {"left", "right", "label"})
    ('left', 'right', 'label', '')
    """
    roles = [_ROLE_OF.get(re.sub(r"[^a-z0-9]", "", field.lower()), "") for field in fields]
    named = [role for role in roles if role]
    return tuple(roles) if wanted <= set(named) and len(named) == len(set(named)) else None


def delimiters(line: str) -> list[str]:
    """Return the delimiters that may part the fields of a line, the likeliest first."""
    likely = [mark for mark in (",", "\t") if mark in line]
    return [*likely, " "]


def fitting(lines: Sequence[Line], layouts: Sequence[Layout]) -> list[Layout]:
    """Return the layouts that every line fits."""
    return [
        layout
        for layout in layouts
        if not any(layout.problem(line.text) for line in lines if line.number != layout.header_line)
    ]


def nearest(lines: Sequence[Line], layouts: Sequence[Layout]) -> tuple[Line, str]:
    """Return the first line that breaks the layout that lasts longest, and what is wrong with it."""
    breaks = []
    for order, layout in enumerate(layouts):
        for place, line in enumerate(lines):
            if line.number != layout.header_line and (problem := layout.problem(line.text)):
                right_width = len(layout.fields(line.text)) == len(layout.roles)
                breaks.append((place, right_width, -order, line, problem))
                break
    _, _, _, line, problem = max(breaks, key=lambda item: item[:3])
    return line, problem


def columns_from_words(text: str, error: type[BadTrials | BadScores]) -> tuple[str, ...]:
    """Return the roles that a user gave: "left right score label", with `_` for a column not used.

    >>> columns_from_words("label _ score", BadScores)
    ('label', '', 'score')
    """
    known = ["left", "right", "label", "score", "_"]
    roles = text.replace(",", " ").split()
    for role in roles:
        if role not in known:
            raise error(
                f"no column is called {role!r}. Columns are {', '.join(known)} ('_': not used), in the order "
                f"of the file.{did_you_mean(role, known)}"
            )
    named = [role for role in roles if role != "_"]
    if len(named) != len(set(named)) or ("left" in named) != ("right" in named):
        raise error(f"columns {text!r}: each role once, and left and right together.")
    return tuple("" if role == "_" else role for role in roles)
