"""The whole road on a small scale: data, training, measuring, figures, one verification. `voxid demo` shows it.

It reads like the experiment it is; each step is one public call that a reader can repeat alone.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from voxid import plots
from voxid.corpora import scan
from voxid.corpora.download import download
from voxid.corpora.synthetic import make_corpus
from voxid.data.pack import Packed
from voxid.data.prepare import prepare
from voxid.errors import CorpusNotFound, DownloadError
from voxid.evaluation import calibrate, evaluate
from voxid.features import Mfcc
from voxid.model import Model
from voxid.recognizer import compare
from voxid.runtime import load
from voxid.training import initial_model, load_recipe, train
from voxid.types import Decision, Utterance

CALIBRATION_SPEAKERS = 40  # kept out of training, so that the decision threshold is not fitted on trained voices
SYNTHETIC_SPEAKERS = (80, 20)  # to train on, to test on

Say = Callable[[str], None]
Progress = Callable[[str], Callable[[int, int], None]]


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


def find_data(out: Path, data: Path | None = None, *, offline: bool = False, say: Say = print) -> DemoData:
    """Return the demo's speech: real if there is any, downloaded if there is a network, else synthetic.

    Looked for in this order: `data`, the folder VOXID_DATA names, `../shared/data`, OpenSLR's mini
    LibriSpeech over the network (not when `offline`), voices made by a source-filter synthesiser.

    Raises:
        CorpusNotFound: `data` or VOXID_DATA was given and holds no LibriSpeech subset.
    """
    named = data or (Path(os.environ["VOXID_DATA"]) if os.environ.get("VOXID_DATA") else None)
    for folder in [named] if named else [Path("../shared/data")]:
        if found := _librispeech_in(folder):
            return found
    if named:
        raise CorpusNotFound(
            f"no LibriSpeech subsets under {named}: expected {named}/LibriSpeech/train-... and .../test-... "
            "Point --data or VOXID_DATA at a folder that has them, or leave both out."
        )
    if not offline:
        try:
            say("No speech on this machine: downloading the mini LibriSpeech (about 460 MB) from OpenSLR.")
            root = download("mini-librispeech", ["train-clean-5", "dev-clean-2"], out / "download")
            return DemoData(root / "train-clean-5", root / "dev-clean-2", "mini LibriSpeech, real speech")
        except DownloadError as error:
            say(f"The download did not work ({error}).")
    say("**These voices are synthetic**: made by a source-filter synthesiser, since no real speech is at hand. "
        "The numbers below show how the machinery works, and nothing about real voices.")  # fmt: skip
    n_train, n_test = SYNTHETIC_SPEAKERS
    return DemoData(
        make_corpus(out / "synthetic" / "train", speakers=n_train, utterances=8, seconds=(3.3, 5.0)),
        make_corpus(out / "synthetic" / "test", speakers=n_test, utterances=8, seconds=(3.3, 5.0), start=n_train),
        f"synthetic voices ({n_train} to train on, {n_test} others to test on)",
    )


def _librispeech_in(folder: Path) -> DemoData | None:
    root = folder / "LibriSpeech"
    train_sets = sorted(root.glob("train-*"))
    test_sets = sorted(root.glob("test-*")) or sorted(root.glob("dev-*"))
    if not (train_sets and test_sets):
        return None
    what = f"LibriSpeech, real speech (train on {train_sets[0].name}, test on {test_sets[-1].name})"
    return DemoData(train_sets[0], test_sets[-1], what)


def split_speakers(utterances: Iterable[Utterance], held_out: int) -> tuple[list[Utterance], list[Utterance]]:
    """Return the utterances of all but `held_out` speakers, and those of the speakers held out.

    Speakers are taken evenly from the sorted list of names, at most a fifth of them.
    """
    utterances = list(utterances)
    names = sorted({u.speaker for u in utterances})
    count = min(held_out, len(names) // 5)
    picked = {names[i] for i in np.linspace(0, len(names) - 1, count).round().astype(int)} if count else set()
    return [u for u in utterances if u.speaker not in picked], [u for u in utterances if u.speaker in picked]


def run_demo(
    out: Path,
    *,
    data: Path | None = None,
    offline: bool = False,
    overrides: list[str] | None = None,
    say: Say = print,
    progress: Progress = lambda label: lambda done, total: None,
) -> DemoResult:
    """Return what a small encoder learns in about two minutes, with every file and figure under `out`.

    Args:
        out: folder for the prepared data, the model, the evaluation and the figures.
        data: a folder that holds `LibriSpeech/`; see `find_data`.
        offline: never use the network.
        overrides: recipe settings such as `["training.max_seconds=10"]`.
        say: called with one paragraph (Markdown) at each step.
        progress: called with a label; returns a callable that takes (done, total).
    """
    found = find_data(out, data, offline=offline, say=say)
    recipe = load_recipe("demo", overrides or [])

    say(f"## 1. Data\n{found.what}. Every file is decoded once, checked, and packed for fast random access.")
    learn, held_out = split_speakers(scan([found.train]), CALIBRATION_SPEAKERS)
    for name, part in (("train", learn), ("calibration", held_out), ("test", scan([found.test]))):
        report = prepare(part, out / "data" / name, workers=1, progress=progress(f"prepare {name}"), overwrite=True)
        dropped = sum(report.dropped.values())
        say(f"- **{name}**: {report.speakers} speakers, {report.kept} utterances, {report.seconds / 60:.1f} min; {dropped} dropped")
    say("The test speakers are never seen in training: the encoder must learn what tells *any* two voices apart.")

    say("## 2. Before training\nAn encoder with random weights turns speech into 128 numbers that mean little yet.")
    before = out / "untrained"
    initial_model(recipe).save(before)
    trials = "all"
    eer_before = evaluate([before], out / "data" / "test", trials, out / "evaluation-before").models[0].eer
    say(f"Equal error rate on unseen speakers: **{100 * eer_before:.1f} %** (50 % is guessing).")

    say(f"## 3. Training\nTriplets: pull an anchor towards another utterance of its speaker, push it from a stranger's. "
        f"{recipe.training.max_seconds:.0f} seconds.")  # fmt: skip
    model = out / "model"
    result = train(recipe, out / "data" / "train", model, progress=progress("train"), overwrite=True)
    say(f"{result.steps} steps at {result.steps_per_s:.1f} steps/s; loss {result.first_loss:.3f} -> {result.last_loss:.3f}.")

    say("## 4. After training\nOn held-out *training* speakers we fit the map from score to log-likelihood ratio; on the test "
        "speakers we measure.")  # fmt: skip
    calibrate(model, out / "data" / "calibration")
    report = evaluate([model], out / "data" / "test", trials, out / "evaluation")
    measured = report.models[0]
    say(f"Equal error rate on unseen speakers: **{100 * eer_before:.1f} % -> {100 * measured.eer:.1f} %** "
        f"over {measured.trials:,} trials.")  # fmt: skip

    say("## 5. Verify\nTwo files of one speaker, then two files of two speakers:")
    packed = Packed.open(out / "data" / "test")
    same, different = _verify_two(packed, model)
    say(f"- same speaker: LLR {same.llr:+.2f} -> {same.reason}\n- different speakers: LLR {different.llr:+.2f} -> {different.reason}")

    figures = draw(packed, before, model, out / "figures", recipe.specaugment)
    say(f"## Figures\nIn {out}: `model/training.png`, `evaluation/det.png`, `evaluation/histogram.png`, `figures/*.png`.")
    return DemoResult(found.what, eer_before, measured.eer, measured.trials, same, different, out, figures)


def _verify_two(packed: Packed, model: Path) -> tuple[Decision, Decision]:
    """Return the decisions on the first speaker's first two files, and on the first files of two speakers."""
    paths = packed.manifest().column("path").to_pylist()
    first = np.flatnonzero(packed.speakers_N == packed.speakers_N[0])
    other = np.flatnonzero(packed.speakers_N != packed.speakers_N[0])
    runtime = load(model)
    return (
        compare(paths[first[0]], paths[first[1]], model=runtime),
        compare(paths[first[0]], paths[other[0]], model=runtime),
    )
