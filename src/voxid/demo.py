"""The whole road on a small scale: data, training, measuring, figures, one verification (`voxid demo`).

It reads like the experiment it is; each step is one public call that a reader can repeat alone.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from voxid import plots
from voxid.corpora import scan
from voxid.corpora.download import download
from voxid.corpora.synthetic import make_corpus
from voxid.data.pack import Packed
from voxid.data.prepare import Prepared, prepare
from voxid.embed import load
from voxid.errors import CorpusNotFound, DownloadError
from voxid.evaluation import ModelReport, calibrate, evaluate
from voxid.model.network import Model
from voxid.recognizer import compare
from voxid.training import initial_model, load_recipe, train
from voxid.types import SAMPLE_RATE, Decision, Utterance

CALIBRATION_SPEAKERS = 40  # kept out of training: a threshold fitted on trained voices is too lenient
SYNTHETIC_SPEAKERS = (80, 20)  # to train on, to test on

Say = Callable[[str], None]
Progress = Callable[[str], AbstractContextManager[Callable[[int, int], None] | None]]


def no_bar(label: str) -> AbstractContextManager[None]:
    """Show no progress."""
    return nullcontext()


@dataclass(frozen=True, slots=True)
class DemoData:
    """Where the demo's speech is, and a sentence that says plainly what it is."""

    train: Path
    test: Path
    what: str


@dataclass(frozen=True, slots=True)
class DemoResult:
    """What the demo measured: equal error rates as fractions, before and after training."""

    data: str
    eer_before: float
    eer_after: float
    trials: int
    same: Decision
    different: Decision
    out: Path
    figures: list[Path]


def run_demo(
    out: Path,
    *,
    data: Path | None = None,
    offline: bool = False,
    overrides: list[str] | None = None,
    device: str = "auto",
    say: Say = print,
    progress: Progress = no_bar,
) -> DemoResult:
    """Return what a small encoder learns in about two minutes, with every file and figure under `out`.

    `data` is a folder that holds `LibriSpeech/`; without it, see `find_data`, which uses the network unless
    `offline`. `overrides` are recipe settings such as `["training.max_seconds=10"]`; `device` is where to
    train. `say` gets one paragraph (Markdown) at each step; `progress` gets a label, and its context yields a
    callable of (done, total).

    Raise as `find_data` does, and the steps it takes: prepare, train, calibrate, evaluate.
    """
    recipe = load_recipe("demo", overrides or ())
    found = find_data(out, data, offline=offline, say=say, progress=progress)
    say("## 1 Data")
    say(f"{found.what}. Every file is decoded once, checked, and packed for fast random access.")
    learn, held_out = split_speakers(scan(found.train), CALIBRATION_SPEAKERS)
    parts = {"train": learn, "calibration": held_out, "test": list(scan(found.test))}
    prepared: dict[str, Prepared] = {}
    for name, utterances in parts.items():
        with progress(f"prepare {name}") as update:
            prepared[name] = prepare(utterances, out / "data" / name, progress=update, overwrite=True)
    say("\n".join(f"- {name}: {_described(part)}" for name, part in prepared.items()))
    say("The test speakers are never trained on: the encoder must learn what tells *any* two voices apart.")
    test = prepared["test"].folder

    say("## 2 Before training")
    untrained, model = out / "untrained", out / "model"
    initial_model(recipe).save(untrained)
    before = evaluate([untrained], test, "all", out / "evaluation-before", resamples=0, cache=False).models[0]
    say(
        "Even with random weights the encoder keeps something of the sound. Equal error rate on the test "
        f"speakers: **{100 * before.eer:.1f} %** (guessing is 50 %, perfect is 0 %)."
    )

    say("## 3 Training")
    say("Triplets: pull an anchor towards another utterance of its speaker, push it away from a stranger's.")
    with progress("train") as update:
        told = (lambda _, done, total: update(done, total)) if update else None
        result = train(recipe, prepared["train"].folder, model, overwrite=True, device=device, progress=told)
    loss = f"{result.first_loss:.4f} -> {result.last_loss:.4f}"
    say(f"{result.steps:,} steps in {result.seconds:.0f} s; loss {loss}.")

    say("## 4 After training")
    calibrate(model, prepared["calibration"].folder, cache=False)
    after = evaluate([model], test, "all", out / "evaluation", cache=False).models[0]
    say(
        f"Equal error rate on the same {after.trials:,} trials of speakers it has never heard: "
        f"**{100 * before.eer:.1f} % -> {100 * after.eer:.1f} %**{_how_sure(after)}. "
        f"Open `{out / 'evaluation' / 'report.html'}` in a browser: figures, groups, and the worst errors to "
        "listen to."
    )

    say("## 5 Verify")
    kept_out = prepared["calibration"].speakers
    say(
        f"A score becomes a decision by calibration, fitted on {kept_out} speakers kept out of training. "
        "Two files of one speaker, then of two:"
    )
    packed = Packed.open(test)
    paths, first = packed.manifest().column("path").to_pylist(), packed.speakers_N[0]
    one, other = np.flatnonzero(packed.speakers_N == first), np.flatnonzero(packed.speakers_N != first)
    same = compare(paths[one[0]], paths[one[1]], model=load(model))
    different = compare(paths[one[0]], paths[other[0]], model=load(model))
    say(f"- one speaker: {_sentence(same)}\n- two speakers: {_sentence(different)}")
    if not same.accepted or different.accepted:
        say("One of them is **wrong**: this is what an error rate above zero means, and why it is measured.")

    figures = draw(packed, {"before": untrained, "after": model}, out / "figures")
    figures += [model / "training.png", out / "evaluation" / "det.png", out / "evaluation" / "histogram.png"]
    return DemoResult(found.what, before.eer, after.eer, after.trials, same, different, out, figures)


def find_data(
    out: Path,
    data: Path | None = None,
    *,
    offline: bool = False,
    say: Say = print,
    progress: Progress = no_bar,
) -> DemoData:
    """Return the demo's speech: real if there is any, downloaded if there is a network, else synthetic.

    Looked for in this order: `data`, the folder VOXID_DATA names, `../shared/data`, OpenSLR's mini
    LibriSpeech over the network (not when `offline`), voices made by a source-filter synthesiser. Raise
    CorpusNotFound when `data` or VOXID_DATA was given and holds no LibriSpeech subset.
    """
    named = data or (Path(os.environ["VOXID_DATA"]) if os.environ.get("VOXID_DATA") else None)
    if found := _librispeech_in(named or Path("../shared/data")):
        return found
    if named:
        raise CorpusNotFound(
            f"no LibriSpeech under {named}: expected {named}/LibriSpeech/ with train-... and test-... in it. "
            "Point --data or VOXID_DATA at a folder that has them, or leave both out."
        )
    if not offline:
        try:
            say("No speech on this machine: downloading the mini LibriSpeech (about 460 MB) from OpenSLR.")
            with progress("download") as update:
                parts = ["train-clean-5", "dev-clean-2"]
                root = download("mini-librispeech", parts, out / "download", progress=update, waits_s=(1.0,))
            return DemoData(root / parts[0], root / parts[1], "Mini LibriSpeech, real speech")
        except DownloadError as error:
            say(f"The download did not work: {error}")
    n_train, n_test = SYNTHETIC_SPEAKERS
    say(
        "**These voices are synthetic**, made by a source-filter synthesiser, since no real speech is here. "
        "The numbers below show how the machinery works and say nothing about real voices."
    )
    length_s = (3.3, 5.0)
    folder = out / "synthetic"
    return DemoData(
        make_corpus(folder / "train", speakers=n_train, utterances=8, seconds=length_s),
        make_corpus(folder / "test", speakers=n_test, utterances=8, seconds=length_s, start=n_train),
        f"Synthetic voices, {n_train} to learn from and {n_test} others to test on",
    )


def _librispeech_in(folder: Path) -> DemoData | None:
    root = folder / "LibriSpeech"
    train_sets = sorted(root.glob("train-*"))
    test_sets = sorted(root.glob("test-*")) or sorted(root.glob("dev-*"))
    if not (train_sets and test_sets):
        return None
    what = f"LibriSpeech, real speech: {train_sets[0].name} to learn from, {test_sets[-1].name} to test on"
    return DemoData(train_sets[0], test_sets[-1], what)


def split_speakers(utterances: Iterable[Utterance], held_out: int) -> tuple[list[Utterance], list[Utterance]]:
    """Return the utterances of all but `held_out` speakers, and those of the speakers held out.

    Speakers are taken evenly from the sorted list of names: at most a fifth of them, but two, which is what a
    calibration needs.
    """
    utterances = list(utterances)
    names = sorted({u.speaker for u in utterances})
    count = min(held_out, max(2, len(names) // 5), len(names))
    picked = {names[i] for i in np.linspace(0, len(names) - 1, count).round().astype(int)} if count else set()
    return [u for u in utterances if u.speaker not in picked], [u for u in utterances if u.speaker in picked]


def _described(part: Prepared) -> str:
    dropped = "".join(f"; {count} dropped, {reason}" for reason, count in part.dropped.items())
    return f"{part.speakers} speakers, {part.kept} utterances, {part.seconds / 60:.1f} min{dropped}"


def _how_sure(model: ModelReport) -> str:
    """Return the interval of the error rate in words, nothing where there are too few speakers for one."""
    if "eer" not in model.intervals:
        return ""
    low, high = model.intervals["eer"]
    return f" (other speakers would give {100 * low:.1f} to {100 * high:.1f} %, 95 times in 100)"


def _sentence(decision: Decision) -> str:
    verdict = "accepted as the same speaker" if decision.accepted else "not accepted as the same speaker"
    return f"**{verdict}**, since {decision.reason} (probability {decision.probability:.1%})"


def draw(packed: Packed, models: dict[str, Path], folder: Path) -> list[Path]:
    """Return the pictures drawn into `folder`: a voice, its features, and the embeddings of each model."""
    wave_S = packed.wave(0).astype(np.float32) / 32768
    runtimes = {name: load(path) for name, path in models.items()}
    feat_TF = Model.load(next(iter(models.values()))).features(torch.from_numpy(wave_S)[None])[0]
    figures = {
        "waveform": plots.waveform(wave_S, title="One utterance"),
        "mfcc": plots.features_image(feat_TF, title="Its mel-frequency cepstral coefficients"),
    }
    speakers = [packed.speaker_names[number] for number in packed.speakers_N]
    for name, runtime in runtimes.items():
        emb_ND = runtime.embed_many((packed.wave(i), SAMPLE_RATE) for i in range(packed.n))
        title = f"Test utterances, {name} training"
        figures[f"embeddings-{name}"] = plots.embedding_scatter(emb_ND, speakers, title=title)
    paths = []
    for name, figure in figures.items():
        paths.append(folder / f"{name}.png")
        plots.save(figure, paths[-1])
    return paths
