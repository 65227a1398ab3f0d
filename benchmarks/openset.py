"""Does "someone was matched" stay as rare as asked while more people are enrolled? On real strangers.

The speakers of a corpus are split at random in three: those who calibrate, those who may be enrolled, and
strangers. N people are enrolled with some clips each, every recording of a stranger is identified, and the
share for which anybody is matched is counted, by the rule that accounts for N and by one that does not; and
the share of recordings of enrolled people that were not matched to them. Averaged over splits and galleries.

With `--own-calibration` nobody calibrates: the line in the model's folder is used as it is, which tells what
its threshold is worth on speakers it has not met, and speakers are either enrolled or strangers.

With `--beside` a prepared folder, its speakers are enrolled, too, so that N can be large: at most half of the
enrolled are then of the corpus, the others of that folder, and, where even these are too few, the same
people at other speeds, which makes other voices of them. Nobody of that folder speaks.

    python -m benchmarks.openset [MODEL] [DATA] [--clips 3] [--splits 10] [--own-calibration]
        [--people 10 100 1000] [--beside PREPARED] [--seconds 20]
"""

from __future__ import annotations

import argparse
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np

import voxid
from voxid.augment.speed import speed
from voxid.data.features_cache import to_float
from voxid.data.pack import Packed
from voxid.errors import BadScores
from voxid.evaluation.cache import EmbeddingCache
from voxid.evaluation.calibrating import enrollment_terms
from voxid.evaluation.embedding import Voices, embed_used
from voxid.scoring import Calibration, Cohort, Side, fit, qualities, reference, speaker_pairs, unit_rows
from voxid.scoring.decision import Rule, rule
from voxid.scoring.evidence import llr_table
from voxid.trials.data import read_data
from voxid.types import SAMPLE_RATE

DATA = Path(__file__).resolve().parents[2] / "shared" / "data" / "speechocean762" / "train"
PEOPLE = (1, 3, 10, 30)
RULES = ({"prior": 0.05}, {"far": 0.05}, {"far": 0.01})
CALIBRATING, ENROLLED = 0.4, 0.3  # shares of the speakers; the rest are strangers
GALLERIES = {1: 20, 3: 10, 10: 5, 30: 3}  # random galleries of each size, a split; larger: one
Chosen = Callable[[np.ndarray, np.random.Generator], np.ndarray]  # which of a speaker's rows are enrolled
TOGETHER = 1 << 20  # trials scored at a time
SPEEDS = (0.85, 1.15, 0.8, 1.2, 0.9, 1.1)  # of the people beside, where there are too few


@dataclass(frozen=True)
class Corpus:
    """Embeddings (U, D), the number of each one's speaker (U,), and what the model's calibration weighs."""

    voices: Voices
    speaker_U: np.ndarray
    measures: tuple[str, ...] = ()
    cohort: Cohort | None = None

    def rows(self, speakers: np.ndarray) -> np.ndarray:
        return np.flatnonzero(np.isin(self.speaker_U, speakers))


def read(model: str, data: str) -> Corpus:
    """Embed every recording, or take it from the cache."""
    runtime = voxid.load(model)
    corpus = read_data(data, "auto")
    voices = embed_used(runtime, corpus, np.arange(len(corpus.utterances)), cache=EmbeddingCache.of(runtime))
    line = runtime.model.calibration
    measures = line.measures if line else ()
    cohort = runtime.model.cohort if "cohort_mean" in measures else None
    return Corpus(voices, corpus.speakers()[voices.row_N >= 0], measures, cohort)


def crowd(model: str, folder: str, clips: int, people: int) -> Side:
    """Return at least `people` references of the speakers of a prepared folder, or as many as it gives.

    A speaker's first `clips` recordings make a reference. At another speed it is the first recording alone.
    """
    packed, runtime = Packed.open(folder), voxid.load(model)
    whose = packed.speakers_N
    first = [np.flatnonzero(whose == who)[:clips] for who in np.unique(whose)]
    waves = [packed.wave(n) for rows in first for n in rows]
    sizes = [rows.size for rows in first]
    for factor in SPEEDS:
        if len(sizes) >= people:
            break
        waves += [speed(to_float(packed.wave(rows[0])), factor).numpy() for rows in first]
        sizes += [1] * len(first)
    unusable: list[int] = []  # a recording without speech enrolls nobody
    audio = ((wave, SAMPLE_RATE) for wave in waves)
    kept = list(runtime.embed_each(audio, lambda index, error: unusable.append(index)))
    print(f"beside: {len(kept):,} recordings, {len(unusable):,} cannot be used")
    owner = np.repeat(np.arange(len(sizes)), sizes)[[one.position for one in kept]]
    begin = np.flatnonzero(np.diff(owner, prepend=-1))
    return reference([one.embedding for one in kept], [one.info.net_speech_s for one in kept], begin)


def calibrated(corpus: Corpus, speakers: np.ndarray) -> Calibration:
    """Return a calibration on all pairs of the recordings of `speakers`; it weighs what the model's does."""
    rows = corpus.rows(speakers)
    voices = Voices(
        emb_UD=corpus.voices.emb_UD[rows],
        row_N=np.arange(rows.size, dtype=np.int32),
        speech_s_U=corpus.voices.speech_s_U[rows],
        net_speech_s_U=corpus.voices.net_speech_s_U[rows],
        full_sequence=0,
        left_out=[],
        from_cache=0,
        seconds=0.0,
        warnings=[],
    )
    unit_UD, who_U = unit_rows(voices.emb_UD), corpus.speaker_U[rows].astype(np.int64)
    left, right = np.triu_indices(rows.size, 1)
    pair = speaker_pairs(who_U[left], who_U[right])
    score = (unit_UD @ unit_UD.T)[left, right]
    sides = voices.sides
    weighed = qualities(corpus.measures, sides, sides, corpus.cohort, left_K=left, right_K=right)
    crowd = corpus.cohort.info if corpus.cohort else None
    same = who_U[left] == who_U[right]
    line = fit(score, same, prior=0.05, pairs=pair, qualities=weighed, cohort=crowd)
    return line.model_copy(update={"enrollments": enrollment_terms(line, voices, who_U, corpus.cohort)})


def search(
    corpus: Corpus,
    line: Calibration,
    gallery: np.ndarray,
    chosen: Chosen,
    rng: np.random.Generator,
    beside: Side | None = None,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return LLRs (recordings, people), what each person's reference is worth, and the enrolled rows."""
    clips = [chosen(corpus.rows(np.array([who])), rng) for who in gallery]
    enrolled = np.concatenate(clips)
    net = corpus.voices.net_speech_s_U[enrolled]
    begin = np.cumsum([0] + [rows.size for rows in clips[:-1]])
    made = reference(corpus.voices.emb_UD[enrolled], net, begin)
    if beside is not None:
        made = Side(
            np.concatenate([made.emb_ND, beside.emb_ND]),
            np.concatenate([made.speech_s_N, beside.speech_s_N]),
            np.concatenate([made.clips_N, beside.clips_N]),
        )
    heard, cohort = corpus.voices.sides, corpus.cohort and corpus.cohort.remembering()
    blocks = np.array_split(np.arange(len(heard)), -(-len(heard) * len(made) // TOGETHER))
    llr_NP = np.concatenate([llr_table(line, heard.take(rows), made, cohort) for rows in blocks])
    return llr_NP, made.clips_N, enrolled


def matched(llr: np.ndarray, asked: Rule, worth: np.ndarray, among: int) -> np.ndarray:
    """Return who each recording is matched to: a column of `llr`, or -1 for unknown."""
    best = llr.argmax(axis=1)
    if among == 1:  # what one comparison would ask for
        threshold_N = asked.bars(worth, 1)[0][best]
    else:
        threshold_N = np.array(
            [asked.bars(worth, among, row)[0][at] for row, at in zip(llr, best, strict=True)]
        )
    return np.where(llr.max(axis=1) >= threshold_N, best, -1)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("model", nargs="?", default="voxid-base")
    parser.add_argument("data", nargs="?", default=str(DATA))
    parser.add_argument("--clips", type=int, default=3)
    parser.add_argument("--splits", type=int, default=10)
    parser.add_argument("--own-calibration", action="store_true")
    parser.add_argument("--people", type=int, nargs="+", default=PEOPLE)
    parser.add_argument("--beside")
    parser.add_argument("--seconds", type=float, help="of net speech enrolled, in place of --clips")
    arguments = parser.parse_args()
    corpus = read(arguments.model, arguments.data)
    speakers = np.unique(corpus.speaker_U)
    print(
        f"{arguments.model} on {speakers.size} speakers, {corpus.speaker_U.size} recordings; "
        f"{f'{arguments.seconds:g} s' if arguments.seconds else f'{arguments.clips} clips'} enrolled; "
        f"{arguments.splits} splits"
    )
    beside = None
    if arguments.beside:
        beside = crowd(arguments.model, arguments.beside, arguments.clips, max(arguments.people))
    line = voxid.load(arguments.model).model.calibration if arguments.own_calibration else None
    chosen = partial(enough, corpus.voices.net_speech_s_U, arguments.clips, arguments.seconds)
    counts = measure(corpus, chosen, arguments.people, arguments.splits, line, beside)
    print(
        f"{'rule':14} {'N':>5} {'someone matched':>16} {'without N':>10} {'missed':>7} {'wrong person':>13}"
    )
    for (name, people), rows in counts.items():
        false, naive, miss, wrong = np.mean(rows, axis=0)
        spread = np.std([row[0] for row in rows]) / np.sqrt(len(rows) / GALLERIES.get(people, 1))
        print(
            f"{name:14} {people:5d} {false:9.2%} ±{spread:5.2%} {naive:10.2%} {miss:7.1%} {wrong:13.2%}",
            flush=True,
        )


def enough(
    net_U: np.ndarray, clips: int, seconds: float | None, rows: np.ndarray, rng: np.random.Generator
) -> np.ndarray:
    """Return which of one speaker's recordings are enrolled: `clips` of them, or `seconds` of speech."""
    order = rng.permutation(rows)
    if seconds is None:
        return order[:clips]
    return order[: np.searchsorted(np.cumsum(net_U[order]), seconds) + 1]


def measure(
    corpus: Corpus,
    chosen: Chosen,
    sizes: Sequence[int],
    splits: int,
    own: Calibration | None = None,
    beside: Side | None = None,
) -> dict[tuple[str, int], list[tuple[float, float, float, float]]]:
    """Return by rule and N: (someone matched, the same without N, missed, wrong person) of each gallery.

    A rule that the calibration has too few speakers for is left out, and so is an N without enough people.
    """
    speakers = np.unique(corpus.speaker_U)
    counts: dict[tuple[str, int], list[tuple[float, float, float, float]]] = defaultdict(list)
    first = 0.0 if own else CALIBRATING
    share = 0.5 if own else ENROLLED
    for split in range(splits):
        rng = np.random.default_rng([split, 1])
        order = rng.permutation(speakers)
        ends = (np.array([first, first + share]) * order.size).astype(int)
        calibrating, pool, strangers = np.split(order, ends)
        line = own or calibrated(corpus, calibrating)
        hows = _rules(line)
        outside = corpus.rows(strangers)
        for people in sizes:
            theirs = people if beside is None else min(pool.size, -(-people // 2))
            others = people - theirs
            there = pool.size if beside is None else theirs + len(beside)
            if people > there:
                if split == 0:
                    print(f"without N = {people:,}: there are {there:,} people")
                continue
            for _ in range(GALLERIES.get(people, 1)):
                gallery = rng.permutation(pool)[:theirs]
                more = beside.take(rng.permutation(len(beside))[:others]) if beside and others else None
                llr, worth, enrolled = search(corpus, line, gallery, chosen, rng, more)
                again = np.setdiff1d(corpus.rows(gallery), enrolled)
                truth = np.array([np.flatnonzero(gallery == who)[0] for who in corpus.speaker_U[again]])
                for name, how in hows.items():
                    found = matched(llr[again], how, worth, people)
                    counts[name, people].append(
                        (
                            float((matched(llr[outside], how, worth, people) >= 0).mean()),
                            float((matched(llr[outside], how, worth, 1) >= 0).mean()),
                            float((found != truth).mean()),
                            float(((found >= 0) & (found != truth)).mean()),
                        )
                    )
    names = [name for name, _ in counts]
    return dict(sorted(counts.items(), key=lambda row: (names.index(row[0][0]), row[0][1])))


def _rules(line: Calibration) -> dict[str, Rule]:
    """Return the rules by what they are called, as far as the calibration knows enough strangers for them."""
    rules = {}
    for asked in RULES:
        name = next(f"{k} {v:g}" for k, v in asked.items())
        try:
            rules[name] = rule(line, **asked)
        except BadScores as error:
            print(f"without {name}: {error}")
    return rules


if __name__ == "__main__":
    main()
