"""What several clips do to a voiceprint, and whether a clip of another voice is noticed. On real speech.

Half of the speakers of a corpus calibrate, the others are enrolled with 1 to 8 clips each; all their other
recordings are the tests. "One line" makes LLRs as of one clip, "own line" by the line for as many clips. Then
clips of one speaker are enrolled, all their own or the last one another's.

    python -m benchmarks.enrollment [MODEL] [DATA] [--splits 5]
"""

from __future__ import annotations

import argparse

import numpy as np

from benchmarks.openset import DATA, Corpus, calibrated, read
from voxid import metrics
from voxid.recognizer.enrolling import clip_llrs
from voxid.scoring import Calibration, reference
from voxid.scoring.evidence import llr_table

CLIPS = (1, 2, 3, 5, 8)
OUTLIERS = (2, 3, 5)
DRAWS = 200  # enrollments a split

Row = tuple[float, float, float, float, float, float]


def clips_row(
    corpus: Corpus, line: Calibration, others: np.ndarray, clips: int, rng: np.random.Generator
) -> Row:
    """Return (EER, Cllr by one line, by its own, false alarms by one line, by its own, misses by its own)."""
    enrolled = np.concatenate([rng.permutation(corpus.rows(np.array([who])))[:clips] for who in others])
    tests = np.setdiff1d(corpus.rows(others), enrolled)
    net = corpus.voices.net_speech_s_U[enrolled]
    made = reference(corpus.voices.emb_UD[enrolled], net, np.arange(others.size) * clips)
    same = (corpus.speaker_U[tests][:, None] == others).ravel()
    one_line = line.model_copy(update={"enrollments": ()})
    heard = corpus.voices.sides.take(tests)
    one, own = (llr_table(each, heard, made, corpus.cohort).ravel() for each in (one_line, line))
    bar = line.threshold
    return (
        metrics.eer(own, same).rate,
        metrics.cllr(one, same),
        metrics.cllr(own, same),
        float((one[~same] >= bar).mean()),
        float((own[~same] >= bar).mean()),
        float((own[same] < bar).mean()),
    )


def outlier_row(
    corpus: Corpus, line: Calibration, others: np.ndarray, clips: int, rng: np.random.Generator
) -> tuple[float, float, float]:
    """Return shares: clean enrollments with a flag, strange clips found, clips beside them flagged."""
    sides = corpus.voices.sides
    clean, found, beside = [], [], []
    for _ in range(DRAWS):
        who, other = rng.permutation(others)[:2]
        rows = rng.permutation(corpus.rows(np.array([who])))[:clips]
        clean.append(clip_llrs(line, sides.take(rows), corpus.cohort)[1].any())
        rows[-1] = rng.permutation(corpus.rows(np.array([other])))[0]
        odd = clip_llrs(line, sides.take(rows), corpus.cohort)[1]
        found.append(odd[-1])
        beside.append(odd[:-1].mean())
    return float(np.mean(clean)), float(np.mean(found)), float(np.mean(beside))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("model", nargs="?", default="voxid-base")
    parser.add_argument("data", nargs="?", default=str(DATA))
    parser.add_argument("--splits", type=int, default=5)
    arguments = parser.parse_args()
    corpus = read(arguments.model, arguments.data)
    speakers = np.unique(corpus.speaker_U)
    rows: dict[int, list[Row]] = {clips: [] for clips in CLIPS}
    odd: dict[int, list[tuple[float, float, float]]] = {clips: [] for clips in OUTLIERS}
    for split in range(arguments.splits):
        rng = np.random.default_rng([split, 2])
        half, others = np.array_split(rng.permutation(speakers), 2)
        line = calibrated(corpus, half)
        for clips in CLIPS:
            rows[clips].append(clips_row(corpus, line, others, clips, rng))
        for clips in OUTLIERS:
            odd[clips].append(outlier_row(corpus, line, others, clips, rng))
    print(f"{arguments.model}, {speakers.size} speakers, {arguments.splits} splits")
    print("clips    EER  Cllr: one line  own line  false alarms: one line  own line  missed")
    for clips, found in rows.items():
        rate, one, own, false_one, false_own, miss = np.mean(found, axis=0)
        print(f"{clips:5d} {rate:6.2%} {one:15.3f} {own:9.3f} {false_one:23.2%} {false_own:9.2%} {miss:7.1%}")
    print("clips  clean enrollments flagged  strange clip found  clips beside it flagged")
    for clips, found in odd.items():
        clean, hit, beside = np.mean(found, axis=0)
        print(f"{clips:5d} {clean:25.1%} {hit:19.1%} {beside:24.1%}")


if __name__ == "__main__":
    main()
