"""Lists of trials in every format: read, written, refused, doubted."""

from __future__ import annotations

import dataclasses
import gzip
import re
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from trial_data import data_of, named

from voxid.errors import BadTrials
from voxid.evaluation import EvaluationData, make_trials
from voxid.trials import (
    WRITTEN,
    doubts,
    layouts,
    lists,
    read_trials,
    textfiles,
    write_trials,
)
from voxid.types import Utterance

# -- lists ---------------------------------------------------------------------------------------------

EXPECTED = [("ann/0", "ann/1", True), ("ann/0", "bob/0", False)]
LISTS = {
    "voxceleb with comments": "# trials of a test\n1 ann/0 ann/1\n# half way\n0 ann/0 bob/0\n",
    "voxceleb, ragged white space": "  1   ann/0  ann/1 \r\n\t0 ann/0\tbob/0\r\n",
    "a trial commented out": "ann/0 ann/1 target\n#ann/0 bob/0 target\nann/0 bob/0 nontarget\n",
    "voxceleb with BOM": "\ufeff1 ann/0 ann/1\n0 ann/0 bob/0\n",
    "labels last, as numbers": "ann/0 ann/1 1\nann/0 bob/0 0\n",
    "labels first, as words": "target ann/0 ann/1\nnontarget ann/0 bob/0\n",
    "csv of places in the corpus": "ann/0.wav,ann/1.wav,1\nann/0.wav,bob/0.wav,0\n",
    "csv of NIST's words": "modelid,segmentid,targettype\nann/0,ann/1,target\nann/0,bob/0,nontarget\n",
    "tabs with header": "enrol\ttest\tlabel\nann/0\tann/1\t1\nann/0\tbob/0\t0\n",
    "csv with a header in words of its own": "who,whom,yes\nann/0,ann/1,1\nann/0,bob/0,0\n",
    "voxceleb": "1 ann/0 ann/1\n0 ann/0 bob/0\n",
    "voxceleb with suffixes": "1 ann/0.wav ann/1.wav\n0 ann/0.wav bob/0.wav\n",
    "kaldi": "ann/0 ann/1 target\nann/0 bob/0 nontarget\n",
    "tabs, blank lines, no last newline": "\n1\tann/0\tann/1\n\n0\tann/0\tbob/0",
    "csv": "ann/0,ann/1,1\nann/0,bob/0,0\n",
    "csv with header": "left,right,label\nann/0,ann/1,1\nann/0,bob/0,0\n",
    "csv with BOM, quotes, spaces": '\ufeffleft,right,label\r\n"ann/0", ann/1 ,true\r\nann/0,"bob/0",0\r\n',
    "csv with quotes after spaces": 'ann/0, "ann/1", 1\nann/0, "bob/0", 0\n',
    "csv in another order": "label,score,left,right\ntarget,0.5,ann/0,ann/1\nnontarget,0.1,ann/0,bob/0\n",
    "csv with other words": "enroll,test,is_same\nann/0,ann/1,same\nann/0,bob/0,different\n",
    "csv of paths": "/corpus/ann/0.wav,/corpus/ann/1.wav,1\n/corpus/ann/0.wav,/corpus/bob/0.wav,0\n",
}


@pytest.mark.parametrize("text", LISTS.values(), ids=LISTS.keys())
def test_every_kind_of_list_reads_the_same(text: str, tmp_path: Path) -> None:
    path = tmp_path / "trials.txt"
    path.write_text(text, encoding="utf-8")
    data = data_of(ann=2, bob=1)
    trials = make_trials(path, data)
    assert named(trials, data) == EXPECTED
    assert trials.warnings == {}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "1 ann/0 ann/1\n0 ann/0 eve/0\n1 eve/1 eve/0\n",
            r"names 2 utterances .* does not have: eve/1, eve/0\. ",
        ),
        ("", "is empty"),
        ("1 ann/0\n", "line 1: 2 columns where three"),
        ("1 ann/0 ann/1\n2 ann/0 bob/0\n", "line 2: '2' is no label"),
        ("ann/0 ann/1 target\nann/0 bob/0 impostor\n", "line 2: 'impostor' is no label"),
        ("left,right,label\nann/0,ann/1\n", "line 2: 2 columns where three"),
        (b"\xff\xfe\x00bad", "cannot read"),
        ("\n# nothing\n \n", "is empty"),
        ("left,right,label\n", "a header, and no trials"),
        ("1 ann/0 ann/1\n0 ann/0 bob/0 0.5\n", "line 2: 4 columns where three .*in '0 ann/0 bob/0 0.5'"),
        ("ann/0,ann/1,targett\nann/0,bob/0,nontarget\n", "line 1: 'targett' is no label"),
        ("ann/0,eve/9,targett\nann/0,bob/0,nontarget\n", "line 1: 'targett' is no label"),
        ("eve/9,ann/0,targett\nann/0,bob/0,nontarget\n", "line 1: 'targett' is no label"),
        ("ann/0,ann/1,1\n,bob/0,0\n", "line 2: a name is empty"),
        ("1 ann/0 an/1\n0 ann/0 bob/0\n", r"names 1 utterances .*: an/1 \(did you mean 'ann/1'\?\)\."),
        (b"1 ann/0 ann/1\n" * 3 + b"0 ann/0 b\xff\n", "cannot read the trial list .*line 4 is not UTF-8"),
        (b"\x1f\x8b\x08nothing", "cannot read"),
    ],
)
def test_bad_lists_are_refused(text: str | bytes, message: str, tmp_path: Path) -> None:
    path = tmp_path / "trials.txt"
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    with pytest.raises(BadTrials, match=message):
        make_trials(path, data_of(ann=2, bob=1))


def long_list(lines: int) -> str:
    """Lines that change between two writings of the same names, with blank lines and comments between."""
    kinds = ["1 ann/0 ann/1\n", "0  ann/0\tbob/0\n", "\n", "# comment\n", "0 bob/0.wav ann/1\r\n"]
    return "".join(kinds[i * i % 5] for i in range(lines))


@pytest.mark.parametrize("size", [1, 7, 64, 1000])
def test_blocks_do_not_show(size: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path, data = tmp_path / "trials.txt", data_of(ann=2, bob=1)
    path.write_text(long_list(100).rstrip("\n"), newline="")
    whole = named(read_trials(path, data), data)
    monkeypatch.setattr(textfiles, "BLOCK_BYTES", size)
    assert named(read_trials(path, data), data) == whole
    path.write_text(long_list(100) + "0 ann/0\n" + long_list(9), newline="")
    with pytest.raises(BadTrials, match="line 101: 2 columns"):
        read_trials(path, data)


def test_a_file_without_lines_is_refused_before_it_fills_the_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "trials.txt"
    path.write_bytes(b"1 a b " * 1000)
    monkeypatch.setattr(textfiles, "BLOCK_BYTES", 512)
    monkeypatch.setattr(textfiles, "LONGEST_LINE", 4096)
    with pytest.raises(BadTrials, match="line 1 is longer than 4,096 bytes"):
        read_trials(path, data_of(ann=2, bob=1))


def test_a_format_that_breaks_far_from_the_beginning_names_the_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, data = tmp_path / "trials.txt", data_of(ann=2, bob=1)
    monkeypatch.setattr(textfiles, "BLOCK_BYTES", 1 << 17)
    good = "1 ann/0 ann/1\n0 ann/0 bob/0\n" * 30_000
    for bad, problem in (
        ("ann/0 ann/1 target", "'ann/0' is no label"),
        ("x ann/0 ann/1", "'x' is no label"),
        ("1 ann/0", "2 columns"),
    ):
        path.write_text(f"{good}{bad}\n{good}")
        with pytest.raises(BadTrials, match=f"line 60001: {problem}.* in '{bad}'"):
            read_trials(path, data)


def test_a_large_list_is_read_in_little_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Trials are 9 bytes each; beyond them there are some blocks and the sorted pairs, 8 bytes each."""
    path, data = tmp_path / "trials.txt", data_of(**{f"s{i}": 20 for i in range(30)})
    trials = make_trials("all", data)
    write_trials(path, trials, data)
    make_trials(path, data)  # so that what is imported and cached is not counted
    monkeypatch.setattr(textfiles, "BLOCK_BYTES", 1 << 18)
    monkeypatch.setattr(lists, "CHUNK", 1 << 14)
    tracemalloc.start()
    read = make_trials(path, data)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    np.testing.assert_array_equal(read.left_K, trials.left_K)
    np.testing.assert_array_equal(read.right_K, trials.right_K)
    np.testing.assert_array_equal(read.same_K, trials.same_K)
    assert len(read) == 600 * 599 // 2
    assert peak < 32 * len(read) + 4 * textfiles.BLOCK_BYTES


def test_gzipped_lists_are_read(tmp_path: Path) -> None:
    path, data = tmp_path / "trials.gz", data_of(ann=2, bob=1)
    path.write_bytes(gzip.compress(b"1 ann/0 ann/1\n0 ann/0 bob/0\n"))
    assert named(read_trials(path, data), data) == EXPECTED


def test_places_in_the_corpus_name_utterances(tmp_path: Path) -> None:
    utterances = [
        Utterance(speaker, f"{speaker}-{i}", str(tmp_path / "wav" / speaker / f"{i}.flac"))
        for speaker in ("ann", "bob")
        for i in range(2)
    ]
    data = EvaluationData("d", [str(tmp_path)], "f", utterances, audio=lambda i: utterances[i])
    path = tmp_path / "trials.txt"
    path.write_text("1 wav/ann/0.flac wav/ann/1\n0 ann-0 wav/bob/1.wav\n")
    assert named(read_trials(path, data), data) == [("ann-0", "ann-1", True), ("ann-0", "bob-1", False)]


def test_a_name_in_another_unicode_form_is_found(tmp_path: Path) -> None:
    data = data_of(Müller=2, ann=1)  # as corpora keep names
    (tmp_path / "list").write_text("1 Mu\u0308ller/0 Mu\u0308ller/1.wav\n0 M\u00fcller/0 ann/0\n")
    expected = [("M\u00fcller/0", "M\u00fcller/1", True), ("M\u00fcller/0", "ann/0", False)]
    assert named(make_trials(tmp_path / "list", data), data) == expected


def test_a_path_of_several_segments_names_none_of_them(tmp_path: Path) -> None:
    utterances = [Utterance("ann", f"a{i}", "/c/a.wav", start_s=float(i)) for i in range(2)]
    utterances.append(Utterance("bob", "b", "/c/b.wav"))
    data = EvaluationData("d", ["/c"], "f", utterances, audio=lambda i: utterances[i])
    path = tmp_path / "trials.txt"
    path.write_text("0 /c/a.wav /c/b.wav\n")
    with pytest.raises(BadTrials, match=r"names 1 utterances .*/c/a\.wav"):
        read_trials(path, data)


def test_labels_that_look_like_names(tmp_path: Path) -> None:
    """`1 a 0`: the label may be first or last; the names decide. Where they cannot, nothing is guessed."""
    path = tmp_path / "trials.txt"
    path.write_text("1 a 0\n0 a 1\n")
    utterances = [Utterance("s", name, f"/c/{name}.wav") for name in ("a", "0", "1")]
    data = EvaluationData("d", ["/c"], "f", utterances, audio=lambda i: utterances[i])
    with pytest.raises(BadTrials, match="first column or the last"):
        read_trials(path, data)
    read = read_trials(path, data, columns="label left right")
    assert named(read, data) == [("a", "0", True), ("a", "1", False)]
    some = dataclasses.replace(data, utterances=utterances[:2])
    path.write_text("1 a 0\n0 0 0\n")
    assert named(read_trials(path, some), some) == [("a", "0", True), ("0", "0", False)]


@pytest.mark.parametrize(
    ("columns_given", "message"),
    [
        ("left rigth label", "Did you mean 'right'"),
        ("left right", "has left, right, label"),
        ("left left", "once"),
    ],
)
def test_columns_given_must_make_sense(columns_given: str, message: str, tmp_path: Path) -> None:
    path = tmp_path / "trials.txt"
    path.write_text("1 ann/0 ann/1\n")
    with pytest.raises(BadTrials, match=message):
        read_trials(path, data_of(ann=2, bob=1), columns=columns_given)


# -- writing -------------------------------------------------------------------------------------------

printable = st.text(st.characters(exclude_categories=["C", "Z"]), min_size=1, max_size=6)


@given(names=st.lists(printable, min_size=3, max_size=6, unique=True), seed=st.integers(0, 99))
@pytest.mark.parametrize("format", WRITTEN)
def test_what_is_written_is_read_back(
    format: str, names: list[str], seed: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    utterances = [Utterance(f"s{i % 2}", name, f"/c/{i}.xyz") for i, name in enumerate(names)]
    data = EvaluationData("d", ["/c"], "f", utterances, audio=lambda i: utterances[i])
    trials = make_trials("6-pairs", data, seed)
    path = tmp_path_factory.mktemp("lists") / "list"
    used = [names[number] for number in trials.used()]
    if format == "csv":
        hard = [n for n in used if n.startswith("#")]
    else:
        hard = [n for n in used if re.search("^#|,", n) or n.lower() in layouts.SAME | layouts.DIFFERENT]
    if hard:
        with pytest.raises(BadTrials, match="cannot hold the name"):
            write_trials(path, trials, data, format)
        return
    write_trials(path, trials, data, format)
    read = read_trials(path, data)
    np.testing.assert_array_equal(read.left_K, trials.left_K)
    np.testing.assert_array_equal(read.right_K, trials.right_K)
    np.testing.assert_array_equal(read.same_K, trials.same_K)


@pytest.mark.parametrize("format", WRITTEN)
def test_models_are_written_beside_the_list_and_read_back(format: str, tmp_path: Path) -> None:
    data = data_of(ann=4, bob=5)
    trials = make_trials("2-enrol", data)
    path = tmp_path / "list"
    write_trials(path, trials, data, format)
    read = make_trials(path, data)
    assert read.models is not None
    assert trials.models is not None
    assert read.models.names == trials.models.names
    np.testing.assert_array_equal(read.models.utterance_E, trials.models.utterance_E)
    np.testing.assert_array_equal(read.left_K, trials.left_K)
    np.testing.assert_array_equal(read.right_K, trials.right_K)
    with pytest.raises(BadTrials, match=r"list\.enrol lies beside"):
        write_trials(path, make_trials("all", data), data, format)


@pytest.mark.parametrize(
    ("name", "format", "message"),
    [
        ("a b", "voxceleb", "'a b': a space ends a name there; write csv"),
        ("a b", "kaldi", "write csv"),
        ("#a", "csv", "comment"),
        (" a", "csv", "white space at an end"),
        ("a\nb", "csv", "cannot be seen"),
        ("target", "kaldi", "taken for a label"),
        ("a,b", "voxceleb", "CSV"),
    ],
)
def test_names_that_a_format_cannot_hold_are_refused(
    name: str, format: str, message: str, tmp_path: Path
) -> None:
    utterances = [Utterance(f"s{i % 2}", n, f"/c/{i}.wav") for i, n in enumerate([name, "x", "y"])]
    data = EvaluationData("d", ["/c"], "f", utterances, audio=lambda i: utterances[i])
    with pytest.raises(BadTrials, match=message):
        write_trials(tmp_path / "list", make_trials("all", data), data, format)
    assert not (tmp_path / "list").exists()


def test_an_unknown_format_is_refused(tmp_path: Path) -> None:
    data = data_of(ann=2, bob=1)
    with pytest.raises(BadTrials, match="Did you mean 'kaldi'"):
        write_trials(tmp_path / "list", make_trials("all", data), data, "kaldy")


# -- doubts --------------------------------------------------------------------------------------------


@given(
    rows=st.lists(st.tuples(st.integers(0, 4), st.integers(0, 4), st.booleans()), min_size=1, max_size=60),
    chunk=st.integers(1, 9),
)
def test_doubts_are_those_of_a_plain_count(rows: list[tuple[int, int, bool]], chunk: int) -> None:
    pairs = [frozenset(row[:2]) for row in rows]
    labels = {pair: {row[2] for row, p in zip(rows, pairs, strict=True) if p == pair} for pair in pairs}
    speaker_N = np.array([0, 0, 1, 1, -1])
    expected = {
        "duplicate": len(rows) - len(labels),
        "contradictory": sum(len(labels[pair]) == 2 for pair in pairs),
        "with_itself": sum(left == right for left, right, _ in rows),
        "against_corpus_speakers": sum(
            same != (speaker_N[left] == speaker_N[right])
            for left, right, same in rows
            if 4 not in (left, right)
        ),
    }
    columns_K = [np.array(column) for column in zip(*rows, strict=True)]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(lists, "CHUNK", chunk)
        found = doubts(*columns_K, speaker_N)
    assert found == {kind: count for kind, count in expected.items() if count}


def test_many_missing_names_are_counted_not_all_printed(tmp_path: Path) -> None:
    path = tmp_path / "trials.txt"
    path.write_text("".join(f"1 eve/{i} ann/0\n" for i in range(1000)))
    with pytest.raises(BadTrials, match="names 1000 utterances") as caught:
        make_trials(path, data_of(ann=2, bob=1))
    assert len(str(caught.value)) < 400


def test_doubtful_trials_of_a_list_are_counted_and_kept(tmp_path: Path) -> None:
    path = tmp_path / "trials.txt"
    lines = [
        "1 ann/0 ann/1",
        "1 ann/1 ann/0",  # a duplicate, the other way round
        "0 ann/0 ann/1",  # contradicts both, and the corpus
        "1 ann/0 bob/0",  # the corpus says otherwise
        "1 bob/0 bob/0",  # with itself
        "0 ann/1 bob/0",
    ]
    path.write_text("\n".join(lines))
    trials = make_trials(path, data_of(ann=2, bob=1))
    assert len(trials) == 6
    assert trials.warnings == {
        "duplicate": 2,
        "contradictory": 3,
        "with_itself": 1,
        "against_corpus_speakers": 2,
    }
