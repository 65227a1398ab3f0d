"""Score files of every kind: read, matched with trials, refused; never a wrong number."""

from __future__ import annotations

import gzip
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from voxid.errors import BadScores, BadTrials
from voxid.trials import lists, textfiles
from voxid.trials.scorefiles import ScoreFile, read_scores

PAIRS = [("ann/0", "ann/1"), ("ann/0", "bob/0"), ("cy/0", "bob/0"), ("cy/0", "cy/1")]
LABELS = [True, False, False, True]
SCORES = [0.75, -0.5, 0.25, 1.0]

ROWS = list(zip(PAIRS, LABELS, SCORES, strict=True))
WITH_NAMES = {
    "wespeaker": "".join(f"{a} {b} {s:.5f} {'target' if y else 'nontarget'}\n" for (a, b), y, s in ROWS),
    "wespeaker, AS-norm": "".join(
        f"{a} {b} {s:.5f} {'target' if y else 'nontarget'} 1.5 2.5 0.1 0.2\n" for (a, b), y, s in ROWS
    ),
    "speechbrain": "".join("%s %s %i %f\n" % (a, b, y, s) for (a, b), y, s in ROWS),  # noqa: UP031
    "label first": "".join(f"{int(y)} {a} {b} {s}\n" for (a, b), y, s in ROWS),
    "csv with header": "left,right,label,score\n"
    + "".join(f"{a},{b},{int(y)},{s}\n" for (a, b), y, s in ROWS),
    "csv of others": "Score,is_target,enroll_id,test_id,note\n"
    + "".join(f"{s},{y},{a},{b},x\n" for (a, b), y, s in ROWS),
    "tabs": "".join(f"{a}\t{b}\t{s}\t{int(y)}\r\n" for (a, b), y, s in ROWS),
    "csv without header": "".join(f"{a},{b},{s},{int(y)}\n" for (a, b), y, s in ROWS),
}
WITHOUT_NAMES = {
    "nemo": "".join(f"{s}\t{int(y)}\n" for _, y, s in ROWS),
    "kaldi's compute-eer": "".join(f"{s} {'target' if y else 'nontarget'}\n" for _, y, s in ROWS),
    "label score": "".join(f"{int(y)} {s:e}\n" for _, y, s in ROWS),
    "csv with header": "label,score\n" + "".join(f"{int(y)},{s}\n" for _, y, s in ROWS),
    "csv with a header of its own": "how near,who\n" + "".join(f"{s},{int(y)}\n" for _, y, s in ROWS),
    "comments and blanks": "# system A\n\n" + "".join(f"{s} {int(y)}\n\n" for _, y, s in ROWS),
}


def written(folder: Path, text: str | bytes, name: str = "scores.txt") -> Path:
    path = folder / name
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return path


def named(scores: ScoreFile) -> list[tuple[str, str]]:
    assert scores.left_K is not None
    assert scores.right_K is not None
    return [(scores.names[a], scores.names[b]) for a, b in zip(scores.left_K, scores.right_K, strict=True)]


# -- formats -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("text", WITH_NAMES.values(), ids=WITH_NAMES.keys())
def test_every_format_with_names_reads_the_same(text: str, tmp_path: Path) -> None:
    read = read_scores(written(tmp_path, text))
    assert read.score_K.tolist() == SCORES
    assert read.same_K.tolist() == LABELS
    assert named(read) == PAIRS
    assert (read.warnings, read.lost) == ({}, {})


@pytest.mark.parametrize("text", WITHOUT_NAMES.values(), ids=WITHOUT_NAMES.keys())
def test_every_format_without_names_reads_the_same(text: str, tmp_path: Path) -> None:
    read = read_scores(written(tmp_path, text))
    assert read.score_K.tolist() == SCORES
    assert read.same_K.tolist() == LABELS
    assert (read.left_K, read.right_K, read.names) == (None, None, [])


@pytest.mark.parametrize(
    ("key", "expected"),
    [
        ("wespeaker", "wespeaker"),
        ("wespeaker, AS-norm", "wespeaker"),
        ("speechbrain", "speechbrain"),
        ("csv of others", "csv"),
        ("label first", "voxceleb with scores"),
    ],
)
def test_the_format_is_named(key: str, expected: str, tmp_path: Path) -> None:
    assert read_scores(written(tmp_path, WITH_NAMES[key])).format == expected


def test_our_own_arrays_and_csv(tmp_path: Path) -> None:
    names = [name for pair in PAIRS for name in pair]
    arrays = {
        "utterances": np.array(names),
        "left": np.arange(0, 8, 2, dtype=np.int32),
        "right": np.arange(1, 8, 2, dtype=np.int32),
        "scores": np.array(SCORES, np.float32),
        "same": np.array(LABELS),
    }
    np.savez(tmp_path / "scores-a.npz", **arrays)
    read = read_scores(tmp_path / "scores-a.npz")
    assert (read.format, read.score_K.tolist(), read.same_K.tolist()) == ("voxid", SCORES, LABELS)
    assert named(read) == PAIRS
    for change in (
        {"scores": np.zeros(3)},
        {"left": np.array([0, 1, 2, 99])},
        {"scores": np.full(4, np.nan)},
    ):
        np.savez(tmp_path / "bad.npz", **(arrays | change))
        with pytest.raises(BadScores, match=r"bad\.npz"):
            read_scores(tmp_path / "bad.npz")
    np.savez(tmp_path / "other.npz", embeddings=np.zeros(3))
    with pytest.raises(BadScores, match="no score file of voxid"):
        read_scores(tmp_path / "other.npz")


def test_gzipped_scores(tmp_path: Path) -> None:
    path = written(tmp_path, gzip.compress(WITH_NAMES["wespeaker"].encode()), "scores.gz")
    assert read_scores(path).score_K.tolist() == SCORES


@settings(max_examples=40)
@given(
    rows=st.lists(
        st.tuples(st.integers(0, 9), st.integers(0, 9), st.booleans(), st.floats(-1e300, 1e300)),
        min_size=2,
        max_size=40,
    ).filter(lambda rows: len({row[2] for row in rows}) == 2),
    block=st.integers(1, 200),
    layout=st.sampled_from(["left right score label", "label left right score", "left right label score"]),
)
def test_scores_are_read_exactly(
    rows, block: int, layout: str, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """A number written by Python comes back to the last bit, wherever the blocks end."""
    lines = [
        {"left": f"u{a}", "right": f"u{b}", "score": repr(s), "label": "target" if y else "nontarget"}
        for a, b, y, s in rows
    ]
    text = "".join(" ".join(line[word] for word in layout.split()) + "\n" for line in lines)
    path = written(tmp_path_factory.mktemp("scores"), text)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(textfiles, "BLOCK_BYTES", block)
        read = read_scores(path)
    assert read.score_K.tolist() == [row[3] for row in rows]
    assert read.same_K.tolist() == [row[2] for row in rows]
    assert named(read) == [(f"u{row[0]}", f"u{row[1]}") for row in rows]


def test_a_large_file_is_read_in_little_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lines = 100_000
    body = "".join(
        f"s{i % 997}/{i % 13} t{i % 991} {i % 3 - i / lines:.5f} {'non' * (i % 7 > 0)}target\n"
        for i in range(lines)
    )
    path = written(tmp_path, body)
    read_scores(path)  # so that what is imported and cached is not counted
    monkeypatch.setattr(textfiles, "BLOCK_BYTES", 1 << 18)
    monkeypatch.setattr(lists, "CHUNK", 1 << 14)
    tracemalloc.start()
    read = read_scores(path)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert len(read) == lines
    assert np.count_nonzero(read.same_K) == len(range(0, lines, 7))
    assert peak < 48 * lines + 6 * textfiles.BLOCK_BYTES


# -- what must not be guessed --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "the score file .* is empty"),
        ("0 1\n1 0\n", r"may hold labels or scores \('score label' or 'label score'\).*--columns"),
        ("a b 0 1\nb c 1 0\n", r"'left right score label' or 'left right label score'"),
        ("a b target\nc d nontarget\n", "looks like a trial list"),
        ("1 a b\n0 c d\n", "looks like a trial list"),
        ("a b 1\nc d 0\n", "may hold labels or scores"),
        ("0.5\n0.25\n", "one column; scores alone need the trial list"),
        ("a b 0.5\nc d 0.25\n", "scores and no labels. Give the trial list"),
        ("a b 0.5 target\nc d x nontarget\n", "line 2: 'x' is no score, in 'c d x nontarget'"),
        ("a b 0.5 target\nc d NA nontarget\n", "line 2: 'NA' is no score"),
        ("a b NA target\nc d 0.5 nontarget\n", "line 1: 'NA' is no score"),
        ("a b 0.5 target\nc d 0.25 imposter\n", "line 2: 'imposter' is no label"),
        ("a b 0.5 target\nc d 0.25\n", "line 2: 3 columns where four are"),
        (
            "a b nan target\nc d 0.25 nontarget\n",
            "1 scores are NaN or infinite; the first is line 1, 'a b nan target'",
        ),
        ("left,right,label,score\n\na,b,1,0.5\na,c,0,-inf\na,c,0,NaN\n", "2 scores .* line 4, 'a,c,0,-inf'"),
        ("0.5 1\n0.25 1\n", "2 target and 0 non-target trials"),
        ("0.5 0\n0.25 0\n", "0 target and 2 non-target trials"),
        ("label,score\n", "a header, and no scores"),
        ("label,score\n1,0.5\n0.25,0\n", "line 3: '0.25' is no label"),
        (b"0.5 1\n0.\xff 0\n", "line 2 is not UTF-8"),
        (b"PK\x03\x04 but no archive", "no score file of voxid"),
    ],
)
def test_bad_files_are_refused(text: str | bytes, message: str, tmp_path: Path) -> None:
    with pytest.raises(BadScores, match=message):
        read_scores(written(tmp_path, text))


def test_a_bad_line_far_from_the_beginning(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(textfiles, "BLOCK_BYTES", 1 << 17)
    good = "a b 0.5 target\nc d 0.25 nontarget\n" * 30_000
    for bad, message in (
        ("e f 0.1", "line 60001: 3 columns"),
        ("e\tx f 0.1 target", "line 60001: 5 columns"),
        ("e f inf target", "1 scores .* line 60001"),
    ):
        with pytest.raises(BadScores, match=message):
            read_scores(written(tmp_path, f"{good}{bad}\n{good}"))


def test_an_empty_name_beyond_the_lines_that_tell_the_format(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(textfiles, "SAMPLE_LINES", 1)
    with pytest.raises(BadScores, match="line 2: a name is empty"):
        read_scores(written(tmp_path, "a,b,0.5,target\n,b,0.25,nontarget\n"))


def test_no_file(tmp_path: Path) -> None:
    with pytest.raises(BadScores, match="cannot read the score file"):
        read_scores(tmp_path / "nowhere")


@pytest.mark.parametrize(
    ("given_columns", "scores", "labels"),
    [("score label", [0.0, 1.0, 1.0], [1, 0, 1]), ("label score", [1.0, 0.0, 1.0], [0, 1, 1])],
)
def test_columns_can_be_given(given_columns: str, scores: list, labels: list, tmp_path: Path) -> None:
    path = written(tmp_path, "0 1\n1 0\n1 1\n")
    read = read_scores(path, columns=given_columns)
    assert read.score_K.tolist() == scores
    assert read.same_K.tolist() == labels


def test_columns_given_skip_what_is_not_used(tmp_path: Path) -> None:
    read = read_scores(written(tmp_path, "x 0.5 junk 1\ny 0.25 junk 0\n"), columns="_ score _ label")
    assert read.score_K.tolist() == [0.5, 0.25]
    headed = read_scores(written(tmp_path, "what,p,y\nx,0.5,1\ny,0.25,0\n"), columns="_ score label")
    assert headed.score_K.tolist() == [0.5, 0.25]


@pytest.mark.parametrize(
    ("given_columns", "message"),
    [
        ("scor label", "Did you mean 'score'"),
        ("left right label", "has score"),
        ("left score", "together"),
        ("score label _", "line 1: 2 columns where three"),
    ],
)
def test_columns_given_must_make_sense(given_columns: str, message: str, tmp_path: Path) -> None:
    with pytest.raises(BadScores, match=message):
        read_scores(written(tmp_path, "0.5 1\n0.25 0\n"), columns=given_columns)


def test_doubts_are_counted(tmp_path: Path) -> None:
    text = "a b 0.5 target\na b 0.5 nontarget\nc c 0.5 target\nb a 0.5 target\n"
    read = read_scores(written(tmp_path, text))
    assert read.warnings == {"duplicate": 2, "contradictory": 3, "with_itself": 1, "constant_scores": 4}


# -- with a trial list ---------------------------------------------------------------------------------

TRIALS = "".join(f"{int(y)} {a}.wav {b}.wav\n" for (a, b), y in zip(PAIRS, LABELS, strict=True))


def scores_of(pairs: list[tuple[str, str]], scores: list[float]) -> str:
    return "".join(f"{a} {b} {s}\n" for (a, b), s in zip(pairs, scores, strict=True))


@pytest.mark.parametrize("order", [[0, 1, 2, 3], [3, 1, 0, 2]], ids=["in order", "in another order"])
def test_a_trial_list_gives_the_labels(order: list[int], tmp_path: Path) -> None:
    scores = written(tmp_path, scores_of([PAIRS[i] for i in order], [SCORES[i] for i in order]))
    read = read_scores(scores, written(tmp_path, TRIALS, "trials"))
    assert read.format == "kaldi"
    assert read.score_K.tolist() == SCORES
    assert read.same_K.tolist() == LABELS
    assert named(read) == PAIRS
    assert (read.warnings, read.lost) == ({}, {})


def test_trials_without_a_score_are_lost_and_counted(tmp_path: Path) -> None:
    """The list has two trials of each kind, and the system scored one of each."""
    scores = written(tmp_path, scores_of([PAIRS[0], PAIRS[1], ("eve", "bob/0")], [0.75, -0.5, 9.0]))
    read = read_scores(scores, written(tmp_path, TRIALS, "trials"))
    assert read.lost == {"targets": 1, "nontargets": 1}
    assert read.warnings == {"scores_without_trial": 1}
    assert read.score_K.tolist() == [0.75, -0.5]
    score_K, same_K = read.worst_case()
    assert same_K.tolist() == [True, False, True, False]
    assert score_K[2] < read.score_K.min()
    assert score_K[3] > read.score_K.max()


def test_swapped_sides_serve(tmp_path: Path) -> None:
    swapped = [(b, a) for a, b in PAIRS[:2]] + PAIRS[2:]
    read = read_scores(written(tmp_path, scores_of(swapped, SCORES)), written(tmp_path, TRIALS, "trials"))
    assert read.score_K.tolist() == SCORES
    assert read.warnings == {"swapped": 2}


@pytest.mark.parametrize("text", ["0.75\n-0.5\n0.25\n1\n", "0.75 1\n-0.5 0\n0.25 0\n1.0 1\n"])
def test_scores_without_names_go_by_order(text: str, tmp_path: Path) -> None:
    read = read_scores(written(tmp_path, text), written(tmp_path, TRIALS, "trials"))
    assert read.score_K.tolist() == SCORES
    assert named(read) == [(f"{a}.wav", f"{b}.wav") for a, b in PAIRS]


@pytest.mark.parametrize(
    ("scores", "trials", "message"),
    [
        ("0.5\n0.25\n", TRIALS, "has 2 scores without names, and .* has 4 trials"),
        (
            "x y 0.5\n",
            TRIALS,
            "no score for any of the 4 trials .*like 'x', those of the trials like 'ann/0.wav'",
        ),
        (
            "ann/0 ann/1 0.5\nann/0 ann/1 0.75\n",
            TRIALS,
            "1 pairs have two different scores; the first is score 2",
        ),
        ("ann/0 ann/1 0.5 nontarget\nann/0 bob/0 0.1 target\n", TRIALS, "differ for 2 of 2"),
        ("0.75 1\n-0.5 1\n0.25 0\n1.0 1\n", TRIALS, "differ for 1 of 4"),
        ("a.wav a.flac 0.5\n", TRIALS, "'a.wav' and 'a.flac' are two names"),
        ("ann/0 ann/1 0.5\n", TRIALS, "1 target and 0 non-target"),
    ],
)
def test_what_does_not_match_is_refused(scores: str, trials: str, message: str, tmp_path: Path) -> None:
    with pytest.raises(BadScores, match=message):
        read_scores(written(tmp_path, scores), written(tmp_path, trials, "trials"))


def test_equal_scores_of_one_pair_are_counted(tmp_path: Path) -> None:
    text = scores_of([*PAIRS, PAIRS[0]], [*SCORES, SCORES[0]])
    read = read_scores(written(tmp_path, text), written(tmp_path, TRIALS, "trials"))
    assert read.warnings == {"repeated_scores": 1}
    assert read.score_K.tolist() == SCORES


def test_a_bad_trial_list_is_a_trial_error(tmp_path: Path) -> None:
    with pytest.raises(BadTrials, match="line 1: 2 columns"):
        read_scores(written(tmp_path, scores_of(PAIRS, SCORES)), written(tmp_path, "a b\n", "trials"))


@given(
    scored=st.lists(st.tuples(st.integers(0, 6), st.integers(0, 6)), min_size=1, max_size=30, unique=True),
    listed=st.lists(st.tuples(st.integers(0, 6), st.integers(0, 6), st.booleans()), min_size=1, max_size=30),
)
def test_matching_is_that_of_a_dictionary(scored, listed, tmp_path_factory: pytest.TempPathFactory) -> None:
    folder = tmp_path_factory.mktemp("match")
    table = {pair: 0.5 + place for place, pair in enumerate(scored)}
    scores = written(folder, "".join(f"u{a} u{b} {s}\n" for (a, b), s in table.items()))
    trials = written(folder, "".join(f"{int(y)} u{a} u{b}\n" for a, b, y in listed), "trials")
    expected = [(table.get((a, b), table.get((b, a))), y) for a, b, y in listed]
    found = [(s, y) for s, y in expected if s is not None]
    if len({y for _, y in found}) < 2:
        with pytest.raises(BadScores):
            read_scores(scores, trials)
        return
    read = read_scores(scores, trials)
    assert read.score_K.tolist() == [s for s, _ in found]
    assert read.same_K.tolist() == [y for _, y in found]
    lost = [y for s, y in expected if s is None]
    assert (read.lost.get("targets", 0), read.lost.get("nontargets", 0)) == (sum(lost), len(lost) - sum(lost))


# -- speakers ------------------------------------------------------------------------------------------


def test_speakers_come_from_a_list(tmp_path: Path) -> None:
    speakers = written(tmp_path, "ann/0 ann\nann/1.wav ann\nbob/0 bob\ncy/0 cy\ncy/1 cy\nmore x\n", "utt2spk")
    read = read_scores(written(tmp_path, WITH_NAMES["wespeaker"]), speakers=speakers)
    assert read.speaker_N is not None
    assert [read.speakers[code] for code in read.speaker_N] == [name.split("/")[0] for name in read.names]
    assert read.warnings == {}
    wrong = written(tmp_path, "ann/0 ann\nann/1 zoe\nbob/0 bob\ncy/0 cy\ncy/1 cy\n", "utt2spk")
    read = read_scores(written(tmp_path, WITH_NAMES["wespeaker"]), speakers=wrong)
    assert read.warnings == {"against_corpus_speakers": 1}


@pytest.mark.parametrize(
    ("speakers", "message"),
    [
        ("ann/0 ann\n", "no speaker for 4 of 5 names: cy/0, ann/1, "),
        ("ann/0\n", "line 1: 1 columns where two"),
        ("ann/0 ann\nann/0 bob\n", "line 2: 'ann/0' has two speakers"),
    ],
)
def test_bad_speakers_are_refused(speakers: str, message: str, tmp_path: Path) -> None:
    with pytest.raises(BadScores, match=message):
        read_scores(
            written(tmp_path, WITH_NAMES["wespeaker"]), speakers=written(tmp_path, speakers, "utt2spk")
        )


def test_speakers_without_names_have_no_use(tmp_path: Path) -> None:
    with pytest.raises(BadScores, match="names no recordings"):
        read_scores(written(tmp_path, "0.5 1\n0.1 0\n"), speakers=written(tmp_path, "a b\n", "utt2spk"))
