"""Models on the same trials: embed, score, measure, draw, write the report.

# N utterances, K trials
"""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from voxid import plots
from voxid.embed import Embedder, load
from voxid.errors import BadTrials
from voxid.evaluation.all_pairs import WHY_NO_INTERVALS, measure_all_pairs
from voxid.evaluation.cache import EmbeddingCache
from voxid.evaluation.embedding import Progress, embed_used
from voxid.evaluation.measure import LEVEL, RESAMPLES, measure, of_systems
from voxid.evaluation.overlap import TESTED_SPEAKERS
from voxid.evaluation.report.values import Report, describe_data, describe_trials
from voxid.evaluation.report.writing import make_folder, recordings, write_report
from voxid.evaluation.scores import Scores, numbered, write_scores
from voxid.evaluation.systems import Steps, SystemMaker, parse_scorers
from voxid.trials import Trials, make_trials
from voxid.trials.data import EvaluationData, read_data
from voxid.trials.values import MOST_TRIALS

StrPath = str | os.PathLike[str]
Data = StrPath | Iterable[StrPath]


def evaluate(
    models: Sequence[StrPath | Embedder],
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
    vad: str = "energy",
    device: str = "cpu",
    cache: bool = True,
    force: bool = False,
    progress: Progress | None = None,
    command: str | None = None,
) -> Report:
    """Return the error rates of `models` on `trials` of `data`, and write them with figures into `out`.

    `models` are folders or runtimes; `data` a prepared folder or corpora; `trials` a spec such as "all" or
    "10000-triplets" (with `seed`), or a list (see `make_trials`). `scoring` names one or several scorers
    ("cosine", "llr", "mean", "s-norm", "as-norm", "plda"; options follow a colon: "as-norm:top_k=200"); all
    but the first two learn from `cohort`, a corpus of other speakers. "llr" is the score by which the model
    decides. None means "cosine", and "llr" too for a model whose calibration weighs more than the cosine.
    Each model with each scorer is one system of the report. `inference` ("sliding" or "full") replaces the
    models' own way of embedding, and `vad` ("energy" or "silero") measures net speech. Intervals and paired
    tests take `resamples` draws of the speakers; 0 leaves them out. Each utterance that a trial uses is
    embedded once per model, and with `cache` never again. A calibration that was fitted on speakers of this
    test is not applied, and a warning says so; with `force` it is, and the warning says that.

    `command`, what the user typed, is shown in the report.

    `out` gets report.json, report.html, det.png, histogram.png, scores-SYSTEM.npz and, for lists of up to
    100,000 trials, scores-SYSTEM.csv; None writes nothing.

    All pairs of more than 20,000 utterances are counted in bins as they are scored: the report then has error
    rates with a bound, by cosine, and no intervals, groups or HTML page.

    Raise a ModelError, CorpusError, BadTrials, NotEnoughSpeakers, BadScores, BadCohort, EvaluationError (test
    speakers in the cohort, unless `force`), BadConfig ("llr" without a calibration) or OutputError.

    >>> report = voxid.evaluate(["voxid-base"], "people", "all", resamples=0, cache=False)
    >>> report.models[0].trials, report.models[0].eer < 0.2
    (66, True)
    """
    folder = make_folder(out)
    scorers = parse_scorers(scoring or ["cosine"], cohort)
    named = _named(models, device, inference)
    test = read_data(data, layout)
    others = read_data(cohort, layout) if cohort is not None else None
    if os.fspath(trials) == "all" and len(test.utterances) * (len(test.utterances) - 1) // 2 > MOST_TRIALS:
        if list(scorers) != ["cosine"]:
            raise BadTrials(
                f"all pairs of {len(test.utterances):,} utterances are scored by cosine only, not by "
                f"{', '.join(scorers)}. Take random ones, for example 1000000-pairs."
            )
        return _all_pairs(named, test, folder, cache, progress)
    plan = make_trials(trials, test, seed)
    parts = [plan.used().size, *([len(others.utterances)] if others else [])]
    steps = Steps(progress, parts * len(named))
    maker = SystemMaker(
        test, plan, scorers, others, steps, cache, force, not scoring, vad=vad, resamples=resamples, seed=seed
    )
    systems = [system for name, source, runtime in named for system in maker.of(name, source, runtime)]
    listed = plan.extended(test)
    sure = of_systems(systems, listed, resamples=resamples, seed=seed)
    report = Report(
        data=describe_data(test, plan.used().size, maker.warnings, others),
        trials=describe_trials(
            plan.spec,
            len(plan),
            int(np.count_nonzero(plan.same_K)),
            seed=plan.seed,
            enrollment_models=len(plan.models) if plan.models else 0,
            warnings=plan.warnings,
            left_out=plan.left_out,
        ),
        left_out=_left_out(test, plan, systems),
        intervals=sure.how,
        models=[
            measure(system, listed, found, eer_grid)
            for system, found in zip(systems, sure.intervals, strict=True)
        ],
        paired=sure.paired,
        out=str(folder or ""),
    )
    if folder is None:
        return report
    files = [name for system in systems for name in write_scores(folder, system, listed)]
    for name, met in maker.speakers.items():
        files.append(TESTED_SPEAKERS.format(name))
        met.save(folder / files[-1])
    return write_report(folder, report, systems, files, recordings(listed), command)


def _all_pairs(
    named: Sequence[tuple[str, str, Embedder]],
    test: EvaluationData,
    folder: Path | None,
    cache: bool,
    progress: Progress | None,
) -> Report:
    """Return the report of models on so many trials that they are only counted; no page, no intervals."""
    everyone = np.arange(len(test.utterances))
    steps = Steps(progress, [everyone.size] * len(named))
    models, curves, warnings = [], [], []
    for name, source, runtime in named:
        kept = EmbeddingCache.of(runtime) if cache else None
        voices = embed_used(runtime, test, everyone, speech=False, cache=kept, progress=steps.next())
        model, curve = measure_all_pairs(name, source, runtime, voices, test)
        models.append(model)
        curves.append((name, curve))
        warnings += voices.warnings
    of_each = np.bincount(test.speakers())
    targets, count = int((of_each * (of_each - 1) // 2).sum()), everyone.size * (everyone.size - 1) // 2
    report = Report(
        data=describe_data(test, everyone.size, warnings),
        trials=describe_trials("all", count, targets),
        left_out={
            "utterances": models[0].left_out,
            "trials": max(model.trials_lost for model in models),
            "when_prepared": test.dropped,
        },
        intervals={
            "level": LEVEL,
            "resamples": 0,
            "seed": None,
            "resampled": "speakers",
            "why_not": WHY_NO_INTERVALS,
        },
        models=models,
        paired=[],
        out=str(folder or ""),
        files=["det.png", "report.json"] if folder else [],
    )
    if folder:
        plots.save(plots.det_curve(curves), folder / "det.png")
        report.write(folder / "report.json")
    return report


def _named(
    models: Sequence[StrPath | Embedder], device: str, inference: str | None
) -> list[tuple[str, str, Embedder]]:
    """Return each model with a name, good for a file too, and the folder or name that it was loaded by."""
    names, sources, runtimes = [], [], []
    for model in models:
        if isinstance(model, str | os.PathLike):
            names.append(Path(model).expanduser().resolve().name)
            sources.append(os.fspath(model))
            runtimes.append(load(model, device=device, mode=inference))
        else:
            names.append(str(model.model.metadata.get("name", "model")))
            sources.append("")
            runtimes.append(model)
    unique = numbered(re.sub(r"[^\w.+-]+", "_", name) or "model" for name in names)
    return list(zip(unique, sources, runtimes, strict=True))


def _left_out(data: EvaluationData, trials: Trials, systems: Sequence[Scores]) -> dict[str, Any]:
    """Return what no system, or not every system, was measured on."""
    reasons = {dropped.utterance: dropped.reason for system in systems for dropped in system.left_out}
    kept = [system.kept_K for system in systems if system.kept_K is not None]
    lost = len(trials) - int(np.count_nonzero(np.logical_and.reduce(kept))) if kept else 0
    return {
        "utterances": dict(Counter(reasons.values())),
        "trials": lost,
        "when_prepared": data.dropped,
    }
