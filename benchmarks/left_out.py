"""What a calibration is worth where nobody calibrated: each corpus left out in turn.

    python -m benchmarks.left_out MODEL --data HELD-OUT --cohort TRAINING [--quality cohort_mean ...]

HELD-OUT and TRAINING are prepared folders of several corpora. For each corpus a calibration is fitted on the
held-out speakers of all others (each corpus weighs the same, across sessions where there are some; strangers
are the training speakers of the others), and tried on its own: EER and costs at a prior of 0.01, strangers
accepted and speakers refused at the threshold for `far`. "Adapted": recordings of half of its speakers,
without names, have joined the strangers, and the other half is tried; "before" is that half without them.
"""

from __future__ import annotations

import argparse

import numpy as np

from benchmarks._measuring import markdown
from voxid import metrics
from voxid.data.samplers import corpora_of
from voxid.embed import load
from voxid.evaluation.cache import EmbeddingCache
from voxid.evaluation.embedding import Voices, embed_used
from voxid.scoring import Calibration, Cohort, fit, qualities, speaker_pairs
from voxid.scoring.evidence import cosines, llr
from voxid.trials import make_trials
from voxid.trials.data import EvaluationData, read_data

PRIOR = 0.01
LEAST = 10  # speakers and trials of each kind that make a row
SPLITS = 6


def embedded(model: str, folder: str) -> tuple[EvaluationData, Voices, np.ndarray]:
    """Return the data, its embeddings and the name of each utterance's corpus."""
    runtime, data = load(model), read_data(folder)
    voices = embed_used(runtime, data, np.arange(len(data.utterances)), cache=EmbeddingCache.of(runtime))
    names, corpus_N = corpora_of(data.speaker_names(), data.speakers())
    return data, voices, np.array(names)[corpus_N]


def crowd(voices: Voices, speaker_N: np.ndarray, used_N: np.ndarray, top_k: int) -> Cohort:
    """Return the cohort of the speakers of some utterances."""
    rows = voices.row_N[used_N]
    return Cohort.of(voices.emb_UD[rows[rows >= 0]], speaker_N[used_N][rows >= 0], top_k=top_k)


class Trials:
    """The trials of the held-out speakers, with what a calibration weighs."""

    def __init__(
        self, data: EvaluationData, voices: Voices, corpus_N: np.ndarray, quality: list[str], spec: str
    ) -> None:
        trials = make_trials(spec, data)
        kept = (voices.row_N[trials.left_K] >= 0) & (voices.row_N[trials.right_K] >= 0)
        self.left_K, self.right_K, self.same_K = (
            trials.left_K[kept],
            trials.right_K[kept],
            trials.same_K[kept],
        )
        self.corpus_K = corpus_N[self.left_K]
        speaker_N = data.speakers().astype(np.int64)
        self.pair_K = speaker_pairs(speaker_N[self.left_K], speaker_N[self.right_K])
        self.speaker_N, self.voices, self.quality = speaker_N, voices, quality
        self.rows = voices.row_N[self.left_K], voices.row_N[self.right_K]
        sides = voices.sides
        self.cosine_K = cosines(sides.take(self.rows[0]), sides.take(self.rows[1]))

    def fitted(self, used_K: np.ndarray, cohort: Cohort) -> Calibration:
        """Return the calibration on some of the trials."""
        sides, (left_K, right_K) = self.voices.sides, self.rows
        weighed = qualities(
            self.quality, sides, sides, cohort, left_K=left_K[used_K], right_K=right_K[used_K]
        )
        return fit(
            self.cosine_K[used_K],
            self.same_K[used_K],
            PRIOR,
            qualities=weighed,
            pairs=self.pair_K[used_K],
            groups=np.unique(self.corpus_K[used_K], return_inverse=True)[1],
        )

    def rates(self, line: Calibration, used_K: np.ndarray, cohort: Cohort, far: float) -> list[float]:
        """Return EER, minDCF, actDCF, strangers accepted and speakers refused on some of the trials."""
        sides, (left_K, right_K) = self.voices.sides, self.rows
        llr_K = llr(
            line,
            sides,
            sides,
            cohort,
            cosine_K=self.cosine_K[used_K],
            left_K=left_K[used_K],
            right_K=right_K[used_K],
        )
        same_K = self.same_K[used_K]
        assert line.impostors is not None
        threshold = line.impostors.threshold(far, beyond=True)
        return [
            metrics.eer(llr_K, same_K).rate,
            metrics.min_dcf(llr_K, same_K, PRIOR),
            metrics.act_dcf(llr_K, same_K, PRIOR),
            float(np.mean(llr_K[~same_K] >= threshold)),
            float(np.mean(llr_K[same_K] < threshold)),
        ]


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("model")
    parser.add_argument("--data", required=True)
    parser.add_argument("--cohort", required=True)
    parser.add_argument("--quality", nargs="*", default=["cohort_mean"])
    parser.add_argument("--trials", default="all:same-corpus+other-session")
    parser.add_argument("--top-k", type=int, default=30)
    parser.add_argument("--far", type=float, default=0.01)
    args = parser.parse_args()
    data, voices, corpus_N = embedded(args.model, args.data)
    others, strangers, stranger_corpus_N = embedded(args.model, args.cohort)
    trials = Trials(data, voices, corpus_N, args.quality, args.trials)
    everybody = crowd(strangers, others.speakers(), np.arange(len(stranger_corpus_N)), args.top_k)
    rows, ratios, accepted = [], [], []
    for corpus in np.unique(corpus_N):
        mine_K = trials.corpus_K == corpus
        speakers = np.unique(trials.speaker_N[corpus_N == corpus])
        if min(mine_K[trials.same_K].sum(), mine_K[~trials.same_K].sum(), speakers.size) < LEAST:
            continue
        line = trials.fitted(~mine_K, everybody)  # the others' own speakers are in their crowd
        away = crowd(strangers, others.speakers(), np.flatnonzero(stranger_corpus_N != corpus), args.top_k)
        alone = trials.rates(line, mine_K, away, args.far)
        ratios.append(alone[2] / alone[1])
        accepted.append(alone[3])
        halves = {"before": [], "adapted": []}
        for seed in range(SPLITS):
            order = np.random.default_rng(seed).permutation(speakers)
            named = np.isin(trials.speaker_N, order[: order.size // 2])
            used_K = mine_K & ~named[trials.left_K] & ~named[trials.right_K]
            if min(trials.same_K[used_K].sum(), (~trials.same_K[used_K]).sum()) < LEAST:
                continue
            row_N = voices.row_N[np.flatnonzero(named & (corpus_N == corpus))]
            place = away.joined(voices.emb_UD[row_N[row_N >= 0]], "adapted")
            halves["before"].append(trials.rates(line, used_K, away, args.far))
            halves["adapted"].append(trials.rates(line, used_K, place, args.far))
        for what, found in {"left out": [alone], **halves}.items():
            if found:
                eer, least, cost, strange, refused = np.mean(found, axis=0)
                cells = [f"{100 * eer:.2f} %", f"{least:.2f}", f"{cost:.2f}", f"{cost / least:.2f}"]
                rows.append([corpus, what, *cells, f"{strange:.2%}", f"{refused:.1%}"])
    print(
        markdown(
            ["corpus", "", "EER", "minDCF", "actDCF", "ratio", f"accepted at {args.far:g}", "refused"], rows
        )
    )
    print(
        f"left out: actDCF / minDCF at most {max(ratios):.2f}, in the geometric mean "
        f"{np.exp(np.mean(np.log(ratios))):.2f}; "
        f"strangers accepted {min(accepted):.2%} to {max(accepted):.2%}, asked {args.far:.2%}"
    )


if __name__ == "__main__":
    main()
