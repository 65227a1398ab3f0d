"""Models on the same trials: embed, score, measure, draw, write the report.

# N utterances, K trials
"""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from voxid import __version__
from voxid.embed import Runtime, load
from voxid.errors import BadTrials
from voxid.evaluation.all_pairs import evaluate_all_pairs
from voxid.evaluation.confidence import RESAMPLES, of_systems
from voxid.evaluation.measure import System, measure
from voxid.evaluation.report.values import Report, describe_data, now
from voxid.evaluation.systems import SystemMaker, parse_scorers
from voxid.evaluation.writing import make_folder, write_files
from voxid.trials import Trials, make_trials
from voxid.trials.data import EvaluationData, read_data
from voxid.trials.values import MOST_TRIALS

StrPath = str | os.PathLike[str]
Data = StrPath | Iterable[StrPath]


def evaluate(
    models: Sequence[StrPath | Runtime],
    data: Data,
    trials: StrPath = "all",
    out: StrPath | None = None,
    *,
    scoring: Sequence[str] | None = ("cosine",),
    cohort: Data | None = None,
    inference: str | None = None,
    eer_grid: bool = False,
    resamples: int = RESAMPLES,
    seed: int = 0,
    layout: str = "auto",
    device: str = "cpu",
    cache: bool = True,
    force: bool = False,
    progress: Callable[[int, int], None] | None = None,
    command: str | None = None,
) -> Report:
    """Return the error rates of `models` on `trials` of `data`, and write them with figures into `out`.

    `models` are folders or runtimes; `data` a prepared folder or corpora; `trials` a spec such as "all" or
    "10000-triplets" (with `seed`), or a list (see `make_trials`). `scoring` names one or several scorers
    ("cosine", "llr", "mean", "s-norm", "as-norm", "plda"; options follow a colon: "as-norm:top_k=200"); all
    but the first two learn from `cohort`, a corpus of other speakers. "llr" is what the model decides by.
    None is "cosine", and "llr" too for a model whose calibration weighs more than the cosine. Each model with
    each scorer is one system of the report. `inference` ("sliding" or "full") replaces the models' own way of
    embedding. Intervals and paired tests take `resamples` draws of the speakers; 0 leaves them out. Each
    utterance that a trial uses is embedded once per model, and with `cache` never again. A calibration that
    was fitted on speakers of this test is not applied, and a warning says so; with `force` it is, and the
    warning says that.

    `command`, what the user typed, is shown in the report.

    `out` gets report.json, report.html, det.png, histogram.png, scores-SYSTEM.npz and, for lists of up to
    100,000 trials, scores-SYSTEM.csv; None writes nothing.

    All pairs of more than 20,000 utterances are counted in bins as they are scored: the report then has error
    rates with a bound, by cosine, and no intervals, groups or HTML page.

    Raise a ModelError, CorpusError, BadTrials, NotEnoughSpeakers, BadScores, BadCohort, EvaluationError (test
    speakers in the cohort, unless `force`), BadConfig ("llr" without a calibration) or OutputError.

    Example: `evaluate(["runs/bilstm"], "LibriSpeech/test-clean", "10000-triplets", "report").models[0].eer`
    """
    folder = make_folder(out)
    scorers = parse_scorers(scoring or ["cosine"], cohort)
    runtimes = [
        load(model, device=device, mode=inference) if isinstance(model, str | os.PathLike) else model
        for model in models
    ]
    named = list(zip(_names(models, runtimes), map(_source, models), runtimes, strict=True))
    test = read_data(data, layout)
    others = read_data(cohort, layout) if cohort is not None else None
    if os.fspath(trials) == "all" and len(test.utterances) * (len(test.utterances) - 1) // 2 > MOST_TRIALS:
        if list(scorers) != ["cosine"]:
            raise BadTrials(
                f"all pairs of {len(test.utterances):,} utterances are counted by cosine only, not by "
                f"{', '.join(scorers)}. Take random ones, for example 1000000-pairs."
            )
        return evaluate_all_pairs(named, test, folder, cache=cache, progress=progress)
    plan = make_trials(trials, test, seed)
    maker = SystemMaker(
        test,
        plan,
        scorers,
        others,
        cache=cache,
        force=force,
        models=len(named),
        progress=progress,
        by_itself=not scoring,
    )
    systems = [system for name, source, runtime in named for system in maker.of(name, source, runtime)]
    listed = plan.extended(test)
    sure = of_systems(systems, listed, resamples=resamples, seed=seed)
    report = Report(
        voxid=__version__,
        made=now(),
        data=describe_data(test, plan.used().size, maker.warnings, others),
        trials=describe_trials(plan),
        left_out=left_out(test, plan, systems),
        intervals=sure.how,
        models=[
            measure(system, listed, found, eer_grid)
            for system, found in zip(systems, sure.intervals, strict=True)
        ],
        paired=sure.paired,
        out=str(folder or ""),
    )
    return write_files(folder, report, systems, listed, maker.speakers, command) if folder else report


def _source(model: StrPath | Runtime) -> str:
    return os.fspath(model) if isinstance(model, str | os.PathLike) else ""


def _names(models: Sequence[Any], runtimes: list[Runtime]) -> list[str]:
    """Return a name for each model, good for a file too: its folder's, with a number where two are alike."""
    names: list[str] = []
    for given, runtime in zip(models, runtimes, strict=True):
        if isinstance(given, str | os.PathLike):
            name = Path(given).expanduser().resolve().name
        else:
            name = str((getattr(runtime.model, "metadata", None) or {}).get("name", "model"))
        name = base = re.sub(r"[^\w.+-]+", "_", name) or "model"
        number = 2
        while name in names:
            name, number = f"{base}-{number}", number + 1
        names.append(name)
    return names


def describe_trials(trials: Trials) -> dict[str, Any]:
    """Return what report.json says of the trials."""
    targets = int(np.count_nonzero(trials.same_K))
    return {
        "spec": trials.spec,
        "seed": trials.seed,
        "count": len(trials),
        "targets": targets,
        "nontargets": len(trials) - targets,
        "enrollment_models": len(trials.models) if trials.models else 0,
        "warnings": trials.warnings,
        "left_out": trials.left_out,
    }


def left_out(data: EvaluationData, trials: Trials, systems: Sequence[System]) -> dict[str, Any]:
    """Return what no system, or not every system, was measured on."""
    reasons = {dropped.utterance: dropped.reason for system in systems for dropped in system.left_out}
    kept = [system.kept_K for system in systems if system.kept_K is not None]
    lost = len(trials) - int(np.count_nonzero(np.logical_and.reduce(kept))) if kept else 0
    return {
        "utterances": dict(Counter(reasons.values())),
        "trials": lost,
        "when_prepared": data.dropped,
    }
