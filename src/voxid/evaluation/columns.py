"""Columns of a large text file, block by block: trial lists and score files of any size in bounded memory.

A block is parsed by pyarrow, with the names of each column coded as it reads. Where that fails, the lines of
the block are looked at one by one, so that an error names the line and shows it.

# K lines of a block
"""

from __future__ import annotations

import csv
import gzip
import io
import os
import re
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import BinaryIO, NamedTuple

import numpy as np

from voxid.errors import BadScores, BadTrials, did_you_mean

BLOCK_BYTES = 1 << 23  # of text parsed together: about 150,000 trials
SAMPLE_LINES = 1_000  # looked at to find out the format
SAME = {"1", "target", "true", "same", "tgt"}
DIFFERENT = {"0", "nontarget", "false", "different", "nontgt", "non-target"}
NAMES, LABELS, SCORES = ("left", "right"), ("label",), ("score",)
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


class Coded(NamedTuple):
    """A column of words: line k of the block has the word `words[code_K[k]]`."""

    words: list[str]
    code_K: np.ndarray


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


@dataclass(frozen=True)
class Block:
    """Consecutive lines, parsed: coded words for names and labels, float64 (K,) for scores."""

    columns: dict[str, Coded | np.ndarray]
    lines: int
    first_line: int
    raw: bytes

    def names(self, role: str) -> Coded:
        """Return the coded column "left", "right" or "label"."""
        column = self.columns[role]
        assert isinstance(column, Coded)
        return column

    def same(self) -> np.ndarray:
        """Return the labels as bool (K,)."""
        words, code_K = self.names("label")
        return np.array([word.lower() in SAME for word in words], dtype=bool)[code_K]

    def scores(self) -> np.ndarray:
        """Return the scores, float64 (K,)."""
        column = self.columns["score"]
        assert isinstance(column, np.ndarray)
        return column


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


# -- reading bytes -------------------------------------------------------------------------------------------


class TextFile:
    """A list on disk, plain or gzipped. `error` is what to raise, `expected` how its messages end."""

    def __init__(
        self, path: str | os.PathLike[str], error: type[BadTrials | BadScores], kind: str, expected: str
    ) -> None:
        self.path, self._error, self._kind = Path(path).expanduser(), error, kind
        self._expected = expected

    def refuse(self, line: Line | None, problem: str) -> BadTrials | BadScores:
        """Return the error that says what is wrong, with the line when there is one."""
        if line is None:
            return self._error(f"{self.path}: {problem}. Expected {self._expected}.")
        shown = line.text if len(line.text) <= 80 else line.text[:77] + "..."
        return self._error(
            f"{self.path}, line {line.number}: {problem}, in {shown!r}. Expected {self._expected}."
        )

    def sample(self) -> list[Line]:
        """Return the first lines that are neither blank nor comments. Raise when there is none."""
        if lines := list(islice(self.lines(), SAMPLE_LINES)):
            return lines
        raise self._error(f"the {self._kind} {self.path} is empty. Expected {self._expected}.")

    def lines(self) -> Iterator[Line]:
        """Yield the lines that are neither blank nor comments."""
        for block, first_line in self._blocks():
            yield from _lines(self._decode(block, first_line), first_line)

    def read(self, layout: Layout) -> Iterator[Block]:
        """Yield the file in blocks. Raise for the first line that does not fit the layout."""
        for raw, first_line in self._blocks():
            if first_line <= layout.header_line < first_line + raw.count(b"\n") + 1:
                raw = _without_line(raw, layout.header_line - first_line)
            yield self._parse(raw, first_line, layout)

    def first_bad(self, block: Block, is_bad_K: np.ndarray) -> Line:
        """Return the first line of a block for which `is_bad_K` holds."""
        place = int(np.flatnonzero(is_bad_K)[0])
        return next(islice(_lines(self._decode(block.raw, block.first_line), block.first_line), place, None))

    def _blocks(self) -> Iterator[tuple[bytes, int]]:
        """Yield (bytes, number of their first line); every block ends with the end of a line."""
        try:
            with _open(self.path) as file:
                rest, number = b"", 1
                while piece := file.read(BLOCK_BYTES):
                    if number == 1 and not rest:
                        piece = piece.removeprefix(b"\xef\xbb\xbf")
                    end = piece.rfind(b"\n") + 1
                    if not end:
                        rest += piece
                        continue
                    block, rest = rest + piece[:end], piece[end:]
                    yield block, number
                    number += block.count(b"\n")
                if rest:
                    yield rest + b"\n", number
        except (OSError, EOFError, zlib.error) as error:
            raise self._error(
                f"cannot read the {self._kind} {self.path} ({error}). Expected {self._expected}."
            ) from None

    def _decode(self, raw: bytes, first_line: int) -> str:
        try:
            return raw.decode()
        except UnicodeDecodeError as error:
            number = first_line + raw.count(b"\n", 0, error.start)
            raise self._error(
                f"cannot read the {self._kind} {self.path}: line {number} is not UTF-8 text "
                f"({error.reason}). Expected {self._expected}."
            ) from None

    def _parse(self, raw: bytes, first_line: int, layout: Layout) -> Block:
        import pyarrow as pa

        try:
            columns = _parse_fast(raw, layout)
        except pa.ArrowInvalid:
            columns = None
        if columns is None or _doubtful(columns):
            columns = self._parse_slowly(raw, first_line, layout)
        lines = next(c.code_K if isinstance(c, Coded) else c for c in columns.values()).size
        return Block(columns, lines, first_line, raw)

    def _parse_slowly(self, raw: bytes, first_line: int, layout: Layout) -> dict[str, Coded | np.ndarray]:
        """Return what `_parse_fast` does, line by line; raise for the first line that does not fit."""
        rows = []
        for line in _lines(self._decode(raw, first_line), first_line):
            if problem := layout.problem(line.text):
                raise self.refuse(line, problem)
            rows.append(layout.fields(line.text))
        columns: dict[str, Coded | np.ndarray] = {}
        for place, role in enumerate(layout.roles):
            words = [row[place] for row in rows]
            if role == "score":
                columns[role] = np.array([float(word) for word in words], dtype=np.float64)
            elif role:
                known = {word: code for code, word in enumerate(dict.fromkeys(words))}
                columns[role] = Coded(list(known), np.array([known[word] for word in words], dtype=np.int32))
        return columns


def _open(path: Path) -> BinaryIO | gzip.GzipFile:
    file = path.open("rb")
    if file.read(2) == b"\x1f\x8b":
        file.close()
        return gzip.open(path)
    file.seek(0)
    return file


def _lines(text: str, first_line: int) -> Iterator[Line]:
    """Yield the lines that are neither blank nor comments."""
    for number, line in enumerate(io.StringIO(text, newline="\n"), start=first_line):
        line = line.rstrip("\r\n")
        if line.strip() and not line.startswith("#"):
            yield Line(number, line)


def _without_line(raw: bytes, place: int) -> bytes:
    """Return the bytes with line number `place` (from 0) blank."""
    lines = raw.split(b"\n", place + 1)
    lines[place] = b""
    return b"\n".join(lines)


# -- parsing a block -----------------------------------------------------------------------------------------


def _parse_fast(raw: bytes, layout: Layout) -> dict[str, Coded | np.ndarray]:
    """Return the columns by pyarrow. Raise ArrowInvalid when a line does not fit."""
    import pyarrow as pa
    from pyarrow import csv as arrow_csv

    raw = _plain(raw, layout.delimiter)
    names = [role or f"_{place}" for place, role in enumerate(layout.roles)]
    coded = pa.dictionary(pa.int32(), pa.string())
    table = arrow_csv.read_csv(
        pa.py_buffer(raw),
        read_options=arrow_csv.ReadOptions(column_names=names, block_size=len(raw) + 1),
        parse_options=arrow_csv.ParseOptions(
            delimiter=layout.delimiter, quote_char='"' if layout.delimiter == "," else False
        ),
        convert_options=arrow_csv.ConvertOptions(
            column_types={role: pa.float64() if role == "score" else coded for role in layout.roles if role},
            include_columns=[role for role in layout.roles if role],
            null_values=[],
            strings_can_be_null=False,
        ),
    )
    return {role: _column(table.column(role)) for role in layout.roles if role}


def _column(column) -> Coded | np.ndarray:
    import pyarrow as pa

    if not pa.types.is_dictionary(column.type):
        return column.to_numpy()
    parts = column.unify_dictionaries().chunks
    if not parts:
        return Coded([], np.zeros(0, np.int32))
    code_K = np.concatenate([part.indices.to_numpy(zero_copy_only=False) for part in parts])
    return Coded([word.strip() for word in parts[0].dictionary.to_pylist()], code_K)


def _plain(raw: bytes, delimiter: str) -> bytes:
    """Return the block without comments, carriage returns and white space that means nothing."""
    if raw.startswith(b"#") or b"\n#" in raw:
        raw = re.sub(rb"(?m)^#.*$", b"", raw)
    if b"\r" in raw:
        raw = raw.replace(b"\r\n", b"\n")
    if delimiter == ",":
        return re.sub(rb', +"', b',"', raw) if b', "' in raw else raw
    if delimiter == " ":
        if b"\t" in raw:
            raw = raw.replace(b"\t", b" ")
        if b"  " in raw:
            raw = re.sub(rb"  +", b" ", raw)
        if raw.startswith(b" ") or b"\n " in raw or b" \n" in raw:
            raw = re.sub(rb"(?m)^ | $", b"", raw)
    elif b" \n" in raw or b"\n " in raw:
        raw = re.sub(rb"(?m)^[ \t]+$", b"", raw)
    return raw


def _doubtful(columns: dict[str, Coded | np.ndarray]) -> bool:
    """Return whether a word is no label, or a name is empty: the line that has it must be found."""
    for role, column in columns.items():
        if isinstance(column, Coded):
            if role == "label" and not {word.lower() for word in column.words} <= SAME | DIFFERENT:
                return True
            if role in NAMES and "" in column.words:
                return True
    return False


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
