"""How often a stranger is taken for one of N enrolled people, N from 1e3 to 1e9: measured, and extended.

    python -m benchmarks.population --probes CORPUS... --enrolled CORPUS... [-o docs/img/scale]

Probes are recordings of speakers that the model has not heard; enrolled are other people, one recording each.
No probe's speaker is enrolled, so every score is a stranger's. The far end of all scores (the highest
`--tail` of them) is fitted by a generalised Pareto distribution (Pickands 1975; by probability-weighted
moments, Hosking and Wallis 1987), and the highest of N is the highest of N draws from it. Intervals
resample probe speakers and enrolled speakers (200 times). Checks: fitted to a quarter of the enrolled, the
fit says how often the highest of all of them passes a threshold, and it is counted.

Misses: of pairs of recordings of one speaker (other sessions where the corpus knows them).
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

import voxid
from voxid import corpora

CLIPS, DRAWS = 6, 200
PEOPLE = 10.0 ** np.arange(3, 10)
FARS = 10.0 ** -np.arange(2, 13)


class Tail(NamedTuple):
    """P(score > x) = share * (1 + shape (x - start) / scale) ** (-1 / shape) for x >= start."""

    start: float
    share: float
    scale: float
    shape: float

    def above(self, x: np.ndarray) -> np.ndarray:
        base = np.maximum(1 + self.shape * (np.asarray(x) - self.start) / self.scale, 0)
        return self.share * base ** (-1 / self.shape)

    def at(self, probability: np.ndarray) -> np.ndarray:
        """Return the score that is passed with a probability below `share`."""
        rarer = np.asarray(probability) / self.share
        return self.start + self.scale / self.shape * (rarer**-self.shape - 1)


def fit(scores: np.ndarray, share: float) -> Tail:
    """Fit the highest `share` of the scores by probability-weighted moments."""
    count = max(30, round(share * scores.size))
    top = np.sort(np.partition(scores.ravel(), -count - 1)[-count - 1 :])
    start, over = top[0], top[1:] - top[0]
    mean = over.mean()
    weighted = np.mean(over * (count - np.arange(1, count + 1) + 0.35) / count)
    shape = 2 - mean / (mean - 2 * weighted)
    return Tail(float(start), count / scores.size, float((1 - shape) * mean), float(shape) or 1e-9)


def embedded(model: Any, folders: list[str], clips: int) -> tuple[np.ndarray, np.ndarray, list[str]]:
    """Return unit embeddings, whose they are, their sessions; of up to `clips` recordings of a speaker."""
    by_speaker: dict[str, list[Any]] = {}
    for folder in folders:
        for said in corpora.scan([folder]):
            by_speaker.setdefault(f"{folder}/{said.speaker}", []).append(said)
    rng = np.random.default_rng(0)
    chosen = [rng.permutation(np.array(some, object))[:clips] for some in by_speaker.values()]
    said = [one for some in chosen for one in some]
    rows, whose, sessions = [], [], []
    speakers = np.repeat(np.arange(len(chosen)), [len(some) for some in chosen])
    for at, emb_D, _ in model.embed_each(said, lambda *_: None, vad=None):
        rows.append(emb_D / np.linalg.norm(emb_D))
        whose.append(speakers[at])
        sessions.append(said[at].session)
    return np.stack(rows), np.array(whose), sessions


def genuine(emb_ND: np.ndarray, whose_N: np.ndarray, sessions: list[str]) -> np.ndarray:
    """Return cosines of pairs of one speaker, of other sessions where there are some."""
    label_N = np.unique(sessions, return_inverse=True)[1]
    found = []
    for speaker in np.unique(whose_N):
        mine = np.flatnonzero(whose_N == speaker)
        left, right = np.triu_indices(len(mine), 1)
        other = label_N[mine[left]] != label_N[mine[right]]
        if other.any():
            left, right = left[other], right[other]
        found.append((emb_ND[mine[left]] * emb_ND[mine[right]]).sum(axis=1))
    return np.concatenate(found)


def resampled(scores_QN: np.ndarray, whose_Q: np.ndarray, share: float) -> list[Tail]:
    rng, tails = np.random.default_rng(0), []
    people = np.unique(whose_Q)
    rows = [np.flatnonzero(whose_Q == one) for one in people]
    for _ in range(DRAWS):
        some = np.concatenate([rows[i] for i in rng.integers(len(people), size=len(people))])
        columns = rng.integers(scores_QN.shape[1], size=scores_QN.shape[1])
        tails.append(fit(scores_QN[some][:, columns], share))
    return tails


def check(scores_QN: np.ndarray, share: float) -> list[dict[str, float]]:
    """Return how often the highest of N passes a score: as a fit to a quarter says, and as it is counted."""
    rng = np.random.default_rng(1)
    order = rng.permutation(scores_QN.shape[1])
    part = fit(scores_QN[:, order[: len(order) // 4]], share)
    found = []
    for people in (100, 300, 1000, len(order)):
        highest_Q = scores_QN[:, rng.permutation(len(order))[:people]].max(axis=1)
        for rate in (0.5, 0.1, 0.03):
            threshold = float(part.at(-np.expm1(np.log1p(-rate) / people)))
            found.append(
                {
                    "people": people,
                    "said": rate,
                    "counted": float((highest_Q > threshold).mean()),
                    "at": threshold,
                }
            )
    return found


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--probes", nargs="+", required=True)
    parser.add_argument("--enrolled", nargs="+", required=True)
    parser.add_argument("--model", default="voxid-base")
    parser.add_argument("--tail", type=float, default=0.002)
    parser.add_argument("-o", "--out", type=Path, default=Path("docs/img/scale"))
    arguments = parser.parse_args()
    model = voxid.load(arguments.model)
    probe_QD, whose_Q, sessions = embedded(model, arguments.probes, CLIPS)
    other_ND, _, _ = embedded(model, arguments.enrolled, 1)
    scores_QN = probe_QD @ other_ND.T
    same = genuine(probe_QD, whose_Q, sessions)
    tail, draws = fit(scores_QN, arguments.tail), resampled(scores_QN, whose_Q, arguments.tail)
    print(
        f"{len(probe_QD):,} probes of {len(np.unique(whose_Q))} speakers, {len(other_ND):,} enrolled, "
        f"{scores_QN.size:,} scores of strangers, {len(same):,} of one speaker; {tail}"
    )
    for one in check(scores_QN, arguments.tail):
        print(f"highest of {one['people']:>5,}: {one['said']:.2f} said, {one['counted']:.3f} counted")
    rows = []
    for far in FARS:
        at = tail.at(far) if far < tail.share else np.quantile(scores_QN, 1 - far)
        ats = [t.at(far) if far < t.share else at for t in draws]
        miss, misses = float((same < at).mean()), [(same < one).mean() for one in ats]
        low, high = np.percentile(misses, [2.5, 97.5])
        rows.append(
            {"far": float(far), "cosine": float(at), "miss": miss, "low": float(low), "high": float(high)}
        )
        print(f"far {far:.0e}: cosine {at:.3f}, miss {miss:.3f} ({low:.3f} to {high:.3f})")
    arguments.out.mkdir(parents=True, exist_ok=True)
    (arguments.out / "population.json").write_text(
        json.dumps({"tail": tail._asdict(), "rows": rows}, indent=1)
    )
    draw(arguments.out / "population.svg", tail, draws, scores_QN, same)
    return 0


def draw(path: Path, tail: Tail, draws: list[Tail], scores_QN: np.ndarray, same: np.ndarray) -> None:
    import matplotlib.pyplot as plt

    figure, (left, right) = plt.subplots(1, 2, figsize=(10, 4))
    half = lambda t, people: t.at(-np.expm1(np.log(0.5) / people))  # noqa: E731
    spread = np.array([[half(t, people) for people in PEOPLE] for t in draws])
    left.fill_between(
        PEOPLE, *np.percentile(spread, [2.5, 97.5], axis=0), alpha=0.3, label="95 %, speakers resampled"
    )
    left.plot(PEOPLE, [half(tail, people) for people in PEOPLE], label="fitted")
    rng = np.random.default_rng(2)
    counted = [c for c in (10, 30, 100, 300, 1000, scores_QN.shape[1]) if c <= scores_QN.shape[1]]
    medians = [
        np.median(scores_QN[:, rng.permutation(scores_QN.shape[1])[:people]].max(axis=1))
        for people in counted
    ]
    left.plot(counted, medians, "o", label="counted")
    left.axhline(float(np.median(same)), color="grey", ls=":", label="median of one speaker")
    left.set(xscale="log", xlabel="people enrolled", ylabel="cosine of the nearest stranger (median)")
    left.legend()
    fars = FARS[tail.share > FARS]
    misses = np.array([[(same < t.at(far)).mean() for far in fars] for t in draws])
    right.fill_between(fars, *np.percentile(misses, [2.5, 97.5], axis=0), alpha=0.3)
    right.plot(fars, [(same < tail.at(far)).mean() for far in fars])
    right.set(xscale="log", xlabel="false alarms, of one comparison", ylabel="misses", ylim=(0, 1))
    figure.tight_layout()
    figure.savefig(path)


if __name__ == "__main__":
    sys.exit(main())
