"""10,000 random triplets on 1,460 utterances: `voxid evaluate` against embedding afresh for each triplet.

Afresh is how the original course system evaluates: for every triplet three files are read, librosa computes
their MFCCs and the encoder runs on their windows, in a pool of as many threads as there are cores. It is
timed on a sample of the same triplets and scaled to all of them. Ours is `evaluate`: finding the files,
decoding, embedding, scoring, all error rates; once as that, and once with the score files, drawings and the
page with its recordings; then the same from a prepared folder. No embedding is kept from run to run, and no
intervals are computed (`benchmarks.bootstrap`).

Afresh runs with as many torch threads as torch likes, and with one, since on a busy machine torch's threads
wait for each other; ours is compared with the faster. voxid embeds in workers of one core each, whatever that
number. Machines are shared, so the processor time stands beside the wall time.

Needs real speech (VOXID_DATA, else ../shared/data, with speechocean762/dev in it); else voices are synthetic.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from time import perf_counter, process_time
from typing import Any, NamedTuple

import librosa
import numpy as np
import soundfile as sf
import torch

from voxid.corpora import scan
from voxid.corpora.synthetic import make_corpus
from voxid.data.prepare import prepare
from voxid.evaluation import EvaluationData, Trials, evaluate, make_trials, read_data
from voxid.model.network import Model
from voxid.published.seed import import_seed

TRIPLETS = 10_000
SAMPLE = int(os.environ.get("VOXID_BENCH_TRIPLETS", "60"))  # triplets that are timed afresh
TARGET = 50
CHECKPOINT = "saved_model.bilstm.mean.clean100.gpu100000.pt"


class Timed(NamedTuple):
    result: Any
    wall_s: float
    processor_s: float

    def times(self, factor: float) -> Timed:
        return Timed(self.result, self.wall_s * factor, self.processor_s * factor)


def timed(work: Callable[..., Any], *arguments: Any, **options: Any) -> Timed:
    wall, processor = perf_counter(), process_time()
    result = work(*arguments, **options)
    return Timed(result, perf_counter() - wall, process_time() - processor)


def shared_data() -> Path:
    return Path(os.environ.get("VOXID_DATA", "../shared/data"))


def find_corpus(scratch: Path) -> Path:
    if (shared_data() / "speechocean762" / "dev").is_dir():
        return shared_data() / "speechocean762" / "dev"
    print("no real speech: these voices are synthetic, and the error rates mean nothing")
    return make_corpus(scratch / "voices", speakers=73, utterances=20, seconds=(2.0, 7.0))


def make_model(folder: Path) -> Path:
    """Return the published encoder if it is at hand, else one of the same size: the time is the same."""
    published = shared_data().parent / "seed" / CHECKPOINT
    if published.is_file():
        import_seed(published, folder)
    else:
        Model.build({"name": "mfcc"}, {"name": "lstm"}).save(folder)
    return folder


def embed_afresh(path: str, encoder: torch.nn.Module) -> np.ndarray:
    wave, rate = sf.read(path, dtype="float32")
    features = librosa.feature.mfcc(y=wave, sr=rate, n_mfcc=40).T
    starts = range(0, len(features) - 99, 50) if len(features) >= 100 else [0]
    windows = torch.from_numpy(np.stack([features[start : start + 100] for start in starts]))
    with torch.no_grad():
        return encoder(windows).mean(dim=0).numpy()


def score_afresh(data: EvaluationData, trials: Trials, count: int, encoder: torch.nn.Module) -> np.ndarray:
    """Return the scores of the first `count` triplets, each from its three files."""

    def one(triplet: int) -> list[float]:
        rows = trials.left_K[2 * triplet], *trials.right_K[2 * triplet : 2 * triplet + 2]
        anchor, *others = (embed_afresh(data.utterances[row].path, encoder) for row in rows)
        return [float(anchor @ other / np.linalg.norm(anchor) / np.linalg.norm(other)) for other in others]

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        return np.array(list(pool.map(one, range(count)))).ravel()


def fastest_afresh(data: EvaluationData, trials: Trials, encoder: torch.nn.Module) -> Timed:
    """Return the faster of afresh with torch's own number of threads and with one."""
    before = torch.get_num_threads()
    turns: list[Timed] = []
    for threads in (before, 1):
        torch.set_num_threads(threads)
        turns.append(timed(score_afresh, data, trials, SAMPLE, encoder))
        scaled = turns[-1].times(TRIPLETS / SAMPLE)
        print(
            f"afresh, torch threads {threads}: {scaled.wall_s:,.0f} s wall, "
            f"{scaled.processor_s:,.0f} s processor, scaled"
        )
    torch.set_num_threads(before)
    return min(turns, key=lambda turn: turn.wall_s)


def main() -> None:
    with tempfile.TemporaryDirectory() as name:
        scratch = Path(name)
        corpus, folder = find_corpus(scratch), make_model(scratch / "model")
        spec = f"{TRIPLETS}-triplets"
        data = read_data(corpus)
        trials = make_trials(spec, data)
        encoder = Model.load(folder).encoder
        score_afresh(data, trials, 2, encoder)  # librosa compiles and caches on first use
        packing = timed(prepare, scan([corpus]), scratch / "prepared")
        print(f"{TRIPLETS:,} triplets on {len(data.utterances):,} utterances of {data.name}")
        print(
            f"preparing the folder, once: {packing.wall_s:.1f} s wall, {packing.processor_s:.1f} s processor"
        )
        afresh = fastest_afresh(data, trials, encoder)
        scaled = afresh.times(TRIPLETS / SAMPLE)
        for what, source in (("the files", corpus), ("a prepared folder", scratch / "prepared")):
            options = {"resamples": 0, "cache": False}
            figures = timed(evaluate, [folder], source, spec, None, **options)
            ours = timed(evaluate, [folder], source, spec, scratch / what, **options)
            print(
                f"voxid from {what}: figures alone {figures.wall_s:.1f} s wall, {figures.processor_s:.1f} s "
                f"processor; ratio {scaled.wall_s / figures.wall_s:,.0f}x wall (target >= {TARGET}x), "
                f"{scaled.processor_s / figures.processor_s:,.0f}x processor"
            )
            print(
                f"  with all files, drawings and the page: {ours.wall_s:.1f} s wall, "
                f"{ours.processor_s:.1f} s processor; "
                f"ratio {scaled.wall_s / ours.wall_s:,.0f}x wall, "
                f"{scaled.processor_s / ours.processor_s:,.0f}x processor; EER "
                f"{100 * ours.result.models[0].eer:.2f} %"
            )
            scores = np.load(scratch / what / "scores-model.npz")["scores"]
            apart = np.abs(scores[: afresh.result.size] - afresh.result).max()
            print(f"  scores of the sample differ from afresh by {apart:.1e} at most")
        pairs = timed(
            evaluate, [folder], scratch / "prepared", "all", scratch / "all", resamples=0, cache=False
        )
        model = pairs.result.models[0]
        print(
            f"all {model.trials:,} pairs: {pairs.wall_s:.1f} s wall, of which scoring {model.score_s:.2f} s; "
            f"EER {100 * model.eer:.2f} %"
        )


if __name__ == "__main__":
    main()
