"""Large text files in blocks: trial lists and score files of any size in bounded memory.

A block is parsed by pyarrow, with the words of each column coded as it reads. Where that fails, the lines of
the block are looked at one by one, so that an error names the line and shows it.

# K lines of a block
"""

from __future__ import annotations

import gzip
import io
import os
import re
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, NamedTuple

import numpy as np

from voxid.errors import BadScores, BadTrials
from voxid.trials.columns import DIFFERENT, NAMES, SAME, Layout, Line

if TYPE_CHECKING:
    import pyarrow as pa

BLOCK_BYTES = 1 << 24  # of text parsed together: about 250,000 trials
LONGEST_LINE = 1 << 24  # bytes; a file without line ends is no list, and must not fill the memory
SAMPLE_LINES = 1_000  # looked at to find out the format


class Coded(NamedTuple):
    """A column of words: line k of the block has the word `words[code_K[k]]`."""

    words: pa.StringArray
    code_K: np.ndarray


class Lookup:
    """Numbers for the words of a column over all blocks; `number` is asked once for each word of the file."""

    def __init__(self, number: Callable[[str], int]) -> None:
        self._number = number
        self._words: pa.StringArray | None = None
        self._numbers = np.zeros(0, np.int32)

    def __call__(self, column: Coded) -> np.ndarray:
        """Return the number of each line's word, int32 (K,)."""
        import pyarrow as pa

        if self._words is None:
            self._words = pa.array([], pa.string())
        found = self._places(column.words)
        if found.null_count:
            new = column.words.filter(found.is_null())
            more = np.array([self._number(word) for word in new.to_pylist()], dtype=np.int32)
            self._words = pa.concat_arrays([self._words, new])
            self._numbers = np.concatenate((self._numbers, more))
            found = self._places(column.words)
        return self._numbers[found.to_numpy(zero_copy_only=False)][column.code_K]

    def _places(self, words: pa.StringArray) -> pa.Int32Array:
        """Return the place of each word among those asked for before, null where it is new."""
        from pyarrow import compute

        return compute.call_function("index_in", [words], compute.SetLookupOptions(self._words))


class Column:
    """An array that grows where it lies: the system moves its pages, so no second copy is ever held."""

    def __init__(self, dtype: type) -> None:
        self._array = np.empty(0, dtype)
        self._size = 0

    def add(self, part: np.ndarray) -> None:
        """Put the values of `part` at the end."""
        end = self._size + part.size
        if end > self._array.size:
            self._array.resize(end + end // 8, refcheck=False)
        self._array[self._size : end] = part
        self._size = end

    def whole(self) -> np.ndarray:
        """Return the values; nothing may be added afterwards."""
        self._array.resize(self._size, refcheck=False)
        return self._array


@dataclass(frozen=True)
class Block:
    """Consecutive lines, parsed: coded words for names and labels, float64 (K,) for scores."""

    columns: dict[str, Coded | np.ndarray]
    lines: int
    first_line: int
    raw: bytes

    def words(self, role: str) -> Coded:
        """Return the coded column "left", "right" or "label"."""
        column = self.columns[role]
        assert isinstance(column, Coded)
        return column

    def same(self) -> np.ndarray:
        """Return the labels as bool (K,)."""
        words, code_K = self.words("label")
        return np.array([word.lower() in SAME for word in words.to_pylist()], dtype=bool)[code_K]

    def scores(self) -> np.ndarray:
        """Return the scores, float64 (K,)."""
        column = self.columns["score"]
        assert isinstance(column, np.ndarray)
        return column


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
            yield from self._lines(block, first_line)

    def read(self, layout: Layout) -> Iterator[Block]:
        """Yield the file in blocks. Raise for the first line that does not fit the layout."""
        for raw, first_line in self._blocks():
            if first_line <= layout.header_line < first_line + raw.count(b"\n") + 1:
                raw = _without_line(raw, layout.header_line - first_line)
            yield self._parse(raw, first_line, layout)

    def first_bad(self, block: Block, is_bad_K: np.ndarray) -> Line:
        """Return the first line of a block for which `is_bad_K` holds."""
        place = int(np.flatnonzero(is_bad_K)[0])
        return next(islice(self._lines(block.raw, block.first_line), place, None))

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
                        if len(rest) > LONGEST_LINE:
                            raise self.refuse(None, f"line {number} is longer than {LONGEST_LINE:,} bytes")
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

    def _lines(self, raw: bytes, first_line: int) -> Iterator[Line]:
        """Yield the lines of a block that are neither blank nor comments."""
        for number, line in enumerate(io.BytesIO(raw), start=first_line):
            try:
                text = line.rstrip(b"\r\n").decode()
            except UnicodeDecodeError as error:
                raise self._error(
                    f"cannot read the {self._kind} {self.path}: line {number} is not UTF-8 text "
                    f"({error.reason}). Expected {self._expected}."
                ) from None
            if text.strip() and not text.startswith("#"):
                yield Line(number, text)

    def _parse(self, raw: bytes, first_line: int, layout: Layout) -> Block:
        columns = _parse_fast(raw, layout) or self._parse_slowly(raw, first_line, layout)
        lines = next(c.code_K if isinstance(c, Coded) else c for c in columns.values()).size
        return Block(columns, lines, first_line, raw)

    def _parse_slowly(self, raw: bytes, first_line: int, layout: Layout) -> dict[str, Coded | np.ndarray]:
        """Return what `_parse_fast` does, line by line; raise for the first line that does not fit."""
        import pyarrow as pa

        rows = []
        for line in self._lines(raw, first_line):
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
                code_K = np.array([known[word] for word in words], dtype=np.int32)
                columns[role] = Coded(pa.array(list(known), pa.string()), code_K)
        return columns


def _open(path: Path) -> BinaryIO | gzip.GzipFile:
    file = path.open("rb")
    if file.read(2) == b"\x1f\x8b":
        file.close()
        return gzip.open(path)
    file.seek(0)
    return file


def _without_line(raw: bytes, place: int) -> bytes:
    """Return the bytes with line number `place` (from 0) blank."""
    lines = raw.split(b"\n", place + 1)
    lines[place] = b""
    return b"\n".join(lines)


# -- parsing a block -----------------------------------------------------------------------------------------


def _parse_fast(raw: bytes, layout: Layout) -> dict[str, Coded | np.ndarray] | None:
    """Return the columns by pyarrow, None when some line does not fit."""
    import pyarrow as pa

    # Most files are plain, and one look costs more than the parsing: so only what would be parsed wrongly
    # without an error is looked for before the first try.
    odd = {" ": b"\t", ",": b', "'}.get(layout.delimiter)
    is_odd = raw.startswith(b"#") or b"\n#" in raw or (odd is not None and odd in raw)
    for clean in (True,) if is_odd else (False, True):
        try:
            columns = _by_arrow(_plain(raw, layout.delimiter) if clean else raw, layout)
        except pa.ArrowInvalid:
            continue
        if not _doubtful(columns):
            return columns
    return None


def _by_arrow(raw: bytes, layout: Layout) -> dict[str, Coded | np.ndarray]:
    """Return the columns of a block. Raise ArrowInvalid when a line does not fit."""
    import pyarrow as pa
    from pyarrow import csv as arrow_csv

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


def _column(column: pa.ChunkedArray) -> Coded | np.ndarray:
    import pyarrow as pa
    from pyarrow import compute

    if not pa.types.is_dictionary(column.type):
        return column.to_numpy()
    parts = column.unify_dictionaries().chunks
    if not parts:
        return Coded(pa.array([], pa.string()), np.zeros(0, np.int32))
    code_K = np.concatenate([part.indices.to_numpy(zero_copy_only=False) for part in parts])
    return Coded(compute.call_function("utf8_trim_whitespace", [parts[0].dictionary]), code_K)


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
            if role == "label" and not _are_labels(column):
                return True
            if role in NAMES and column.words.index("").as_py() >= 0:
                return True
    return False


def _are_labels(column: Coded) -> bool:
    return len(column.words) < 100 and {word.lower() for word in column.words.to_pylist()} <= SAME | DIFFERENT
