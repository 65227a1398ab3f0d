"""Large text files in blocks: trial lists and score files of any size in bounded memory.

A block is parsed by pyarrow, with the words of each column coded as it reads. Where that fails, the lines of
the block are looked at one by one, so that an error names the line and shows it.

# K lines
"""

from __future__ import annotations

import gzip
import io
import os
import re
import zlib
from collections.abc import Callable, Iterator, Mapping
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

import numpy as np

from voxid.errors import BadScores, BadTrials
from voxid.trials.layouts import DIFFERENT, SAME, FileKind, Line, LineLayout

if TYPE_CHECKING:
    import pyarrow as pa

BLOCK_BYTES = 1 << 24  # of text parsed together: about 250,000 trials
LONGEST_LINE = 1 << 24  # bytes; a file without line ends is no list, and must not fill the memory
SAMPLE_LINES = 1_000  # looked at to find out the format


class TextFile:
    """A list on disk, plain or gzipped, of one kind."""

    def __init__(self, path: str | os.PathLike[str], kind: FileKind) -> None:
        self.path, self.kind = Path(path).expanduser(), kind

    def refuse(self, line: Line | None, problem: str) -> BadTrials | BadScores:
        """Return the error that says what is wrong, with the line when there is one."""
        where, shown = str(self.path), ""
        if line is not None:
            where += f", line {line.number}"
            shown = f", in {line.text if len(line.text) <= 80 else line.text[:77] + '...'!r}"
        return self.kind.error(f"{where}: {problem}{shown}. Expected {self.kind.expected}.")

    def sample(self) -> list[Line]:
        """Return the first lines that are neither blank nor comments. Raise when there is none."""
        if lines := list(islice(self.lines(), SAMPLE_LINES)):
            return lines
        raise self.kind.error(f"the {self.kind.name} {self.path} is empty. Expected {self.kind.expected}.")

    def lines(self) -> Iterator[Line]:
        """Yield the lines that are neither blank nor comments."""
        for raw, first_line in self._blocks():
            yield from self._lines(raw, first_line)

    def read(self, layout: LineLayout, number: Mapping[str, Callable[[str], int]]) -> dict[str, np.ndarray]:
        """Return the columns: names as int32 by `number[role]`, labels as bool, scores as float64, all (K,).

        Raise for the first line that does not fit the layout, and for scores that are NaN or infinite.
        """
        lookups = {role: _Lookup(of_name) for role, of_name in number.items()}
        lookups["label"] = _Lookup(lambda word: word.lower() in SAME)
        parts: dict[str, list[np.ndarray]] = {role: [] for role in layout.roles if role}
        bad, first_bad = 0, None
        for raw, first_line in self._blocks():
            if first_line <= layout.header_line < first_line + raw.count(b"\n") + 1:
                raw = _without_line(raw, layout.header_line - first_line)
            for role, column in (_parse_fast(raw, layout) or self._parse(raw, first_line, layout)).items():
                if role != "score":
                    column_K = lookups[role](column)
                    parts[role].append(column_K.astype(bool) if role == "label" else column_K)
                    continue
                parts[role].append(column)
                if (is_bad_K := ~np.isfinite(column)).any():
                    bad += int(np.count_nonzero(is_bad_K))
                    place = int(np.flatnonzero(is_bad_K)[0])
                    first_bad = first_bad or next(islice(self._lines(raw, first_line), place, None))
        if first_bad:
            raise self.kind.error(
                f"{self.path}: {bad:,} scores are NaN or infinite; the first is line {first_bad.number}, "
                f"{first_bad.text!r}. A system must score every trial with a number: look at what it made of "
                "these recordings."
            )
        return {role: np.concatenate(parts.pop(role)) for role in list(parts)}

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
            raise self._unreadable(str(error)) from None

    def _lines(self, raw: bytes, first_line: int) -> Iterator[Line]:
        for number, line in enumerate(io.BytesIO(raw), start=first_line):
            try:
                text = line.rstrip(b"\r\n").decode()
            except UnicodeDecodeError as error:
                raise self._unreadable(f"line {number} is not UTF-8 text: {error.reason}") from None
            if text.strip() and not text.startswith("#"):
                yield Line(number, text)

    def _unreadable(self, why: str) -> BadTrials | BadScores:
        return self.kind.error(
            f"cannot read the {self.kind.name} {self.path} ({why}). Expected {self.kind.expected}."
        )

    def _parse(self, raw: bytes, first_line: int, layout: LineLayout) -> dict[str, Any]:
        """Return what `_parse_fast` does, line by line; raise for the first line that does not fit."""
        import pyarrow as pa

        rows = []
        for line in self._lines(raw, first_line):
            if problem := layout.problem(line):
                raise self.refuse(line, problem)
            rows.append(layout.fields(line.text))
        columns: dict[str, Any] = {}
        for place, role in enumerate(layout.roles):
            words = [row[place] for row in rows]
            if role == "score":
                columns[role] = np.array([float(word) for word in words], dtype=np.float64)
            elif role:
                columns[role] = pa.array(words, pa.string()).dictionary_encode()
        return columns


class _Lookup:
    """Numbers for the words of a column over all blocks; `number` is asked once for each word of the file."""

    def __init__(self, number: Callable[[str], int]) -> None:
        self._number = number
        self._words: pa.StringArray | None = None
        self._number_N = np.zeros(0, np.int32)

    def __call__(self, column: pa.DictionaryArray) -> np.ndarray:
        """Return the number of each line's word, int32 (K,)."""
        import pyarrow as pa
        from pyarrow import compute

        def places() -> pa.Int32Array:  # null where a word is new
            return compute.call_function("index_in", [words], compute.SetLookupOptions(self._words))

        words: Any = column.dictionary
        if self._words is None:
            self._words = pa.array([], pa.string())
        found = places()
        if found.null_count:
            new = words.filter(found.is_null())
            more_N = np.array([self._number(word) for word in new.to_pylist()], dtype=np.int32)
            self._words = pa.concat_arrays([self._words, new])
            self._number_N = np.concatenate((self._number_N, more_N))
            found = places()
        code_K = column.indices.to_numpy(zero_copy_only=False)
        return self._number_N[found.to_numpy(zero_copy_only=False)][code_K]


def _open(path: Path) -> BinaryIO | gzip.GzipFile:
    with path.open("rb") as file:
        zipped = file.read(2) == b"\x1f\x8b"
    return gzip.open(path) if zipped else path.open("rb")


def _without_line(raw: bytes, place: int) -> bytes:
    """Return the bytes with line number `place` (from 0) blank."""
    lines = raw.split(b"\n", place + 1)
    lines[place] = b""
    return b"\n".join(lines)


# -- parsing a block -----------------------------------------------------------------------------------------


def _parse_fast(raw: bytes, layout: LineLayout) -> dict[str, Any] | None:
    """Return the columns by pyarrow, words as DictionaryArray; None when some line does not fit."""
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
        if not any(_is_doubtful(role, column) for role, column in columns.items()):
            return columns
    return None


def _by_arrow(raw: bytes, layout: LineLayout) -> dict[str, Any]:
    """Return the columns of a block. Raise ArrowInvalid when a line does not fit."""
    import pyarrow as pa
    from pyarrow import compute
    from pyarrow import csv as arrow_csv

    coded = pa.dictionary(pa.int32(), pa.string())
    table = arrow_csv.read_csv(
        pa.py_buffer(raw),
        read_options=arrow_csv.ReadOptions(
            column_names=[role or f"_{place}" for place, role in enumerate(layout.roles)],
            block_size=len(raw) + 1,
        ),
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
    columns: dict[str, Any] = {}
    for role in filter(None, layout.roles):
        whole: Any = table.column(role).combine_chunks()
        if role == "score":
            columns[role] = whole.to_numpy()
            continue
        words = compute.call_function("utf8_trim_whitespace", [whole.dictionary])
        columns[role] = pa.DictionaryArray.from_arrays(whole.indices, words)
    return columns


def _plain(raw: bytes, delimiter: str) -> bytes:
    """Return the block without comments, carriage returns and white space that means nothing."""
    if raw.startswith(b"#") or b"\n#" in raw:
        raw = re.sub(rb"(?m)^#.*$", b"", raw)
    raw = raw.replace(b"\r\n", b"\n")
    if delimiter == ",":
        return re.sub(rb', +"', b',"', raw) if b', "' in raw else raw
    if delimiter == " ":
        raw = raw.replace(b"\t", b" ")
        if b"  " in raw:
            raw = re.sub(rb"  +", b" ", raw)
    if raw.startswith(b" ") or b"\n " in raw or b" \n" in raw:
        raw = re.sub(rb"(?m)^ | $" if delimiter == " " else rb"(?m)^[ \t]+$", b"", raw)
    return raw


def _is_doubtful(role: str, column: Any) -> bool:
    """Return whether a word is no label, or a name is empty: the line that has it must be found."""
    if role == "score":
        return False
    if role == "label":
        words = column.dictionary
        return len(words) >= 100 or not {word.lower() for word in words.to_pylist()} <= SAME | DIFFERENT
    return column.dictionary.index("").as_py() >= 0
