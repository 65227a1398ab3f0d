"""Does "someone was matched" stay as rare as asked while more people are enrolled? On real strangers.

The speakers of a corpus are split at random in three: those who calibrate, those who may be enrolled, and
strangers. N people are enrolled with some clips each, every recording of a stranger is identified, and the
share for which anybody is matched is counted, by the rule that accounts for N and by one that does not; and
the share of recordings of enrolled people that were not matched to them. Averaged over splits and galleries.

With `--own-calibration` nobody calibrates: the line in the model's folder is used as it is, which tells what
its threshold is worth on speakers it has not met, and speakers are either enrolled or strangers.

    python -m benchmarks.openset [MODEL] [DATA] [--clips 3] [--splits 10] [--own-calibration]
"""

from __future__ import annotations

import argparse
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path

import numpy as np

import voxid
from voxid.errors import BadScores
from voxid.evaluation.cache import EmbeddingCache
from voxid.evaluation.calibrating import enrollment_terms
from voxid.evaluation.embedding import Voices, embed_used
from voxid.scoring import Calibration, Cohort, fit, qualities, reference, speaker_pairs, unit_rows
from voxid.scoring.decision import Rule, rule
from voxid.scoring.evidence import llr_table
from voxid.trials.data import read_data

DATA = Path(__file__).resolve().parents[2] / "shared" / "data" / "speechocean762" / "train"
PEOPLE = (1, 3, 10, 30)
RULES = ({"prior": 0.05}, {"far": 0.05}, {"far": 0.01})
CALIBRATING, ENROLLED = 0.4, 0.3  # shares of the speakers; the rest are strangers
GALLERIES = {1: 20, 3: 10, 10: 5, 30: 3}  # random galleries of each size, a split


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
    corpus: Corpus, line: Calibration, gallery: np.ndarray, clips: int, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return LLRs (recordings, people), what each person's reference is worth, and the enrolled rows."""
    enrolled = np.concatenate([rng.permutation(corpus.rows(np.array([who])))[:clips] for who in gallery])
    net = corpus.voices.net_speech_s_U[enrolled]
    made = reference(corpus.voices.emb_UD[enrolled], net, np.arange(gallery.size) * clips)
    return llr_table(line, corpus.voices.sides, made, corpus.cohort), made.clips_N, enrolled


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
    arguments = parser.parse_args()
    corpus = read(arguments.model, arguments.data)
    speakers = np.unique(corpus.speaker_U)
    print(
        f"{arguments.model} on {speakers.size} speakers, {corpus.speaker_U.size} recordings; "
        f"{arguments.clips} clips enrolled; {arguments.splits} splits"
    )
    line = voxid.load(arguments.model).model.calibration if arguments.own_calibration else None
    counts = measure(corpus, speakers, arguments.clips, arguments.splits, line)
    print(
        f"{'rule':14} {'N':>3} {'someone matched':>16} {'without N':>10} {'missed':>7} {'wrong person':>13}"
    )
    for (name, people), rows in counts.items():
        false, naive, miss, wrong = np.mean(rows, axis=0)
        spread = np.std([row[0] for row in rows]) / np.sqrt(len(rows) / GALLERIES[people])
        print(
            f"{name:14} {people:3d} {false:9.2%} ±{spread:5.2%} {naive:10.2%} {miss:7.1%} {wrong:13.2%}",
            flush=True,
        )


def measure(
    corpus: Corpus, speakers: np.ndarray, clips: int, splits: int, own: Calibration | None = None
) -> dict[tuple[str, int], list[tuple[float, float, float, float]]]:
    """Return by rule and N: (someone matched, the same without N, missed, wrong person) of each gallery.

    A rule that the calibration has too few speakers for is left out.
    """
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
        for people in PEOPLE:
            if people > pool.size:
                continue
            for _ in range(GALLERIES[people]):
                gallery = rng.permutation(pool)[:people]
                llr, worth, enrolled = search(corpus, line, gallery, clips, rng)
                theirs = np.setdiff1d(corpus.rows(gallery), enrolled)
                truth = np.array([np.flatnonzero(gallery == who)[0] for who in corpus.speaker_U[theirs]])
                for name, how in hows.items():
                    found = matched(llr[theirs], how, worth, people)
                    counts[name, people].append(
                        (
                            float((matched(llr[outside], how, worth, people) >= 0).mean()),
                            float((matched(llr[outside], how, worth, 1) >= 0).mean()),
                            float((found != truth).mean()),
                            float(((found >= 0) & (found != truth)).mean()),
                        )
                    )
    return dict(sorted(counts.items(), key=lambda row: (list(hows).index(row[0][0]), row[0][1])))


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
