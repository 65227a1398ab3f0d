"""How well models tell held-out training speakers apart, corpus by corpus: the figure to choose by.

    python -m benchmarks.held_out MODEL... --data PREPARED-OR-CORPORA... [--json FILE]

The speakers have to be held out of the training and be in no test (`voxid split`). Trials are all pairs
inside a corpus. For each corpus: the EER by cosine of all trials; of those whose different speakers are alike
(sex, language, adults or children), as far as that is known; and of those whose same-speaker pairs are of
different sessions. At the end the geometric mean over the corpora, so that no corpus decides: halving any
rate counts alike.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import numpy as np

from benchmarks._measuring import markdown
from voxid.data.pack import Packed
from voxid.data.prepare import ensure_prepared
from voxid.data.samplers import corpora_of, sessions_of
from voxid.embed import load
from voxid.metrics import eer
from voxid.types import ADULT_AGE, SAMPLE_RATE

LEAST_PAIRS = 10  # pairs of one speaker, and of two, that make a rate worth printing
LEAST_RATE = 0.002  # a rate below counts as this in the geometric mean, which knows no zero


def rates(model: str, packed: Packed) -> dict[str, dict[str, float]]:
    """Return kind -> corpus -> EER: kinds are "all", "alike" and "sessions"."""
    runtime = load(model)
    emb_ND = runtime.embed_many([(packed.wave(i), SAMPLE_RATE) for i in range(packed.n)])
    emb_ND /= np.linalg.norm(emb_ND, axis=1, keepdims=True)
    names, corpus_N = corpora_of(packed.speaker_names, packed.speakers_N)
    session_N = sessions_of(packed)
    table = packed.manifest().select(["sex", "language", "age"]).to_pydict()
    group_N = np.array(
        [
            f"{sex} {language} {'' if age is None else age >= ADULT_AGE}"
            for sex, language, age in zip(*table.values(), strict=True)
        ]
    )
    found: dict[str, dict[str, float]] = {"all": {}, "alike": {}, "sessions": {}}
    for number, name in enumerate(names):
        mine = np.flatnonzero(corpus_N == number)
        left, right = np.triu_indices(len(mine), 1)
        score_K = np.einsum("kd,kd->k", emb_ND[mine[left]], emb_ND[mine[right]])
        equal = {
            what: values[mine[left]] == values[mine[right]]
            for what, values in (
                ("speaker", packed.speakers_N),
                ("group", group_N),
                ("session", session_N),
            )
        }
        same_K = equal["speaker"]
        for kind, used_K in {
            "all": np.ones_like(same_K),
            "alike": same_K | equal["group"],
            "sessions": ~same_K | ~equal["session"],
        }.items():
            if same_K[used_K].sum() >= LEAST_PAIRS and (~same_K[used_K]).sum() >= LEAST_PAIRS:
                found[kind][name] = eer(score_K[used_K], same_K[used_K]).rate
    return found


def geometric_mean(by_corpus: dict[str, float]) -> float:
    """Return the geometric mean of rates."""
    return float(np.exp(np.mean(np.log(np.maximum(list(by_corpus.values()), LEAST_RATE)))))


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("models", nargs="+")
    parser.add_argument("--data", nargs="+", required=True)
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    packed = Packed.open(ensure_prepared(args.data))
    results = {model: rates(model, packed) for model in args.models}
    corpora = list(next(iter(results.values()))["all"])
    rows = []
    for model, found in results.items():
        for kind, by_corpus in found.items():
            cells = [f"{100 * by_corpus[c]:.2f}" if c in by_corpus else "" for c in corpora]
            rows.append([Path(model).name, kind, *cells, f"{100 * geometric_mean(by_corpus):.2f}"])
    print(markdown(["model", "trials", *corpora, "geometric mean"], rows))
    if args.json:
        args.json.write_text(json.dumps(results, indent=2))


if __name__ == "__main__":
    main()
