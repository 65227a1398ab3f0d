"""Models on the same trials: embed, score, measure, draw, write the report.

# N utterances, K trials
"""

from __future__ import annotations

import json
import os
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

from voxid import __version__
from voxid.errors import BadCohort, BadConfig, SpeakersMet
from voxid.evaluation.cache import EmbeddingCache
from voxid.evaluation.confidence import RESAMPLES, of_systems
from voxid.evaluation.data import EvaluationData, read_data
from voxid.evaluation.embedding import Progress, Voices, embed_used
from voxid.evaluation.measure import System, measure
from voxid.evaluation.overlap import CALIBRATION_SPEAKERS, SpeakerSet
from voxid.evaluation.report import Report
from voxid.evaluation.scores import Scored, qualities_of, score_trials
from voxid.evaluation.trials import Trials, make_trials, with_models
from voxid.evaluation.writing import make_folder, write_files
from voxid.runtime import Runtime, load
from voxid.scoring import Calibration, FittedScorer, Scorer, make_scorer

StrPath = str | os.PathLike[str]
Data = StrPath | Iterable[StrPath]


def evaluate(
    models: Sequence[StrPath | Runtime],
    data: Data,
    trials: StrPath = "all",
    out: StrPath | None = None,
    *,
    scoring: Sequence[str] = ("cosine",),
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
    ("cosine", "mean", "s-norm", "as-norm", "plda"; options follow a colon: "as-norm:top_k=200"); all but
    "cosine" learn from `cohort`, a corpus of other speakers. Each model with each scorer is one system of the
    report. `inference` ("sliding" or "full") replaces the models' own way of embedding. Intervals and paired
    tests take `resamples` draws of the speakers; 0 leaves them out. Each utterance that a trial uses is
    embedded once per model, and with `cache` never again. A calibration that was fitted on speakers of this
    test is not applied, and a warning says so; with `force` it is, and the warning says that.

    `command`, what the user typed, is shown in the report.

    `out` gets report.json, report.html, det.png, histogram.png, scores-SYSTEM.npz and, for lists of up to
    100,000 trials, scores-SYSTEM.csv; None writes nothing.

    Raise a ModelError, CorpusError, BadTrials, NotEnoughSpeakers, BadScores, BadCohort, SpeakersMet (test
    speakers in the cohort, unless `force`) or OutputError.

    Example: `evaluate(["runs/bilstm"], "LibriSpeech/test-clean", "10000-triplets", "report").models[0].eer`
    """
    folder = make_folder(out)
    scorers = {spec: make_scorer(_scorer_table(spec)) for spec in dict.fromkeys(scoring)}
    _need_cohort(scorers, cohort)
    runtimes = [
        load(model, device=device, mode=inference) if isinstance(model, str | os.PathLike) else model
        for model in models
    ]
    names = _names(models, runtimes)
    test = read_data(data, layout)
    plan = make_trials(trials, test, seed)
    others = read_data(cohort, layout) if cohort is not None else None
    systems: list[System] = []
    speakers: dict[str, SpeakerSet] = {}
    warnings: list[str] = []
    steps = _Steps(progress, plan.used().size, len(others.utterances) if others else 0, len(runtimes))
    for runtime, name, given in zip(runtimes, names, models, strict=True):
        kept = EmbeddingCache.of(runtime) if cache else None
        voices = embed_used(runtime, test, plan.used(), cache=kept, progress=steps.next())
        speakers[name] = SpeakerSet.of(test, voices)
        enrolled = with_models(voices, plan)
        fitted, met = _fit(scorers, runtime, others, kept, steps, speakers[name])
        _refuse_cohort(met, force)
        source = os.fspath(given) if isinstance(given, str | os.PathLike) else ""
        calibration, doubts = usable_calibration(runtime, source, speakers[name], force)
        for spec, scorer in fitted.items():
            scored = score_trials(enrolled, plan, scorer)
            system_name = name if len(scorers) == 1 else f"{name} {spec}"
            systems.append(
                _system(
                    system_name,
                    source,
                    runtime,
                    spec,
                    scorers[spec],
                    scored,
                    voices,
                    calibration,
                    plan.models is not None,
                )
            )
        warnings += [*enrolled.warnings, *(f"{name}: {doubt}" for doubt in doubts)]
        warnings += [f"{len(met)} speakers of the test are in the cohort: its scores are too good"] * bool(
            met
        )
    listed = plan.extended(test)
    sure = of_systems(systems, listed, resamples=resamples, seed=seed)
    report = Report(
        voxid=__version__,
        made=datetime.now(UTC).isoformat(timespec="seconds"),
        data=describe_data(test, plan, warnings, others),
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
    return write_files(folder, report, systems, listed, speakers, command) if folder else report


def _scorer_table(spec: str) -> dict[str, Any]:
    """Return the table of a spec: "as-norm:top_k=200" is {"name": "as-norm", "top_k": 200}."""
    name, _, options = spec.partition(":")
    table: dict[str, Any] = {"name": name}
    for option in filter(None, options.split(",")):
        key, equals, value = option.partition("=")
        if not equals:
            raise BadConfig(
                f"{spec}: {option!r} is no option. Write name:option=value, as in as-norm:top_k=200."
            )
        try:
            table[key.strip()] = json.loads(value)
        except ValueError:
            table[key.strip()] = value.strip()
    return table


def _need_cohort(scorers: dict[str, Scorer], cohort: Data | None) -> None:
    needy = [spec for spec, scorer in scorers.items() if scorer.needs_cohort]
    if needy and cohort is None:
        raise BadCohort(
            f"{needy[0]} scoring learns from other speakers, and no cohort was given. Give one (--cohort D): "
            "a corpus whose speakers are not those of the test."
        )


def _fit(
    scorers: dict[str, Scorer],
    runtime: Runtime,
    others: EvaluationData | None,
    cache: EmbeddingCache | None,
    steps: _Steps,
    tested: SpeakerSet,
) -> tuple[dict[str, FittedScorer], list[str]]:
    """Return every scorer after it has learned from the cohort, and the test speakers in the cohort."""
    if others is None:
        return {spec: scorer.fit() for spec, scorer in scorers.items()}, []
    everyone = np.arange(len(others.utterances))
    voices = embed_used(runtime, others, everyone, cache=cache, progress=steps.next())
    speaker_C = others.speakers()[voices.row_N >= 0]
    fitted = {spec: scorer.fit(voices.emb_UD, speaker_C) for spec, scorer in scorers.items()}
    return fitted, tested.common(SpeakerSet.of(others, voices))


def _refuse_cohort(met: list[str], force: bool) -> None:
    if met and not force:
        names = ", ".join(met[:3]) + ", ..." * (len(met) > 3)
        raise SpeakersMet(
            f"{len(met)} speakers of the test are in the cohort too ({names}): scoring would know them. "
            "Take a cohort of other speakers, or --force it."
        )


def usable_calibration(
    runtime: Runtime, folder: str, speakers: SpeakerSet, force: bool
) -> tuple[Calibration | None, list[str]]:
    """Return the model's calibration, None when its figures would mislead, and what a reader should know."""
    calibration = getattr(runtime.model, "calibration", None)
    if calibration is None:
        return None, []
    if not calibration.fits(runtime.fingerprint):
        return None, ["its calibration is for other weights or another inference, and is not used"]
    met = Path(folder).expanduser() / CALIBRATION_SPEAKERS if folder else None
    if met is None or not met.is_file():
        return calibration, []
    common = speakers.common(SpeakerSet.load(met))
    if not common:
        return calibration, []
    who = f"its calibration was fitted on {len(common)} of these speakers ({', '.join(common[:3])}, ...)"
    if force:
        return calibration, [f"{who}: actual DCF and Cllr are too good"]
    return None, [f"{who} and is not used; --force uses it all the same"]


def _system(
    name: str,
    source: str,
    runtime: Runtime,
    spec: str,
    scorer: Scorer,
    scored: Scored,
    voices: Voices,
    calibration: Calibration | None,
    enrolled: bool,
) -> System:
    score_K = scored.score_K
    llr_K = score_K.astype(np.float64) if scorer.gives_llr else None
    if calibration is not None and spec == "cosine":
        qualities = qualities_of(scored, calibration.measures, getattr(runtime.model, "cohort", None))
        llr_K = calibration.llr(score_K.astype(np.float64), qualities)
    else:
        calibration = None  # it is for cosines
    return System(
        name=name,
        left_K=scored.left_K,
        right_K=scored.right_K,
        same_K=scored.same_K,
        score_K=score_K,
        llr_K=llr_K,
        speech_s_N=_by_utterance(scored.voices),
        kept_K=scored.kept_K,
        enrolled=enrolled,
        scoring=spec,
        folder=source,
        fingerprint=runtime.fingerprint,
        inference=runtime.score_mode,
        calibration=None if calibration is None else calibration.model_dump(mode="json"),
        utterances=voices.utterances,
        trials_lost=int(np.count_nonzero(~scored.kept_K)),
        left_out=voices.left_out,
        full_sequence=voices.full_sequence,
        from_cache=voices.from_cache,
        embed_s=voices.seconds,
        score_s=scored.seconds,
    )


def _by_utterance(voices: Voices) -> np.ndarray:
    speech_s_N = np.full(voices.row_N.size, np.nan)
    speech_s_N[voices.row_N >= 0] = voices.speech_s_U
    return speech_s_N


class _Steps:
    """One progress count over everything that is embedded: each model, on the test and on the cohort."""

    def __init__(self, progress: Progress | None, test: int, cohort: int, models: int) -> None:
        self._progress = progress
        self._parts: Iterator[int] = iter([part for part in (test, cohort) if part] * models)
        self._total = (test + cohort) * models
        self._before = 0

    def next(self) -> Progress | None:
        """Return the callable for the next piece of work."""
        if self._progress is None:
            return None
        before, progress, total = self._before, self._progress, self._total
        self._before += next(self._parts)
        return lambda done, _: progress(before + done, total)


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


def describe_data(
    data: EvaluationData, trials: Trials, warnings: Iterable[str] = (), cohort: EvaluationData | None = None
) -> dict[str, Any]:
    """Return what report.json says of the data."""
    described = {
        "name": data.name,
        "paths": data.paths,
        "fingerprint": data.fingerprint,
        "utterances": len(data.utterances),
        "speakers": len(data.speaker_names()),
        "used_in_trials": int(trials.used().size),
        "warnings": [*data.warnings, *dict.fromkeys(warnings)],
    }
    if cohort is not None:
        described["cohort"] = {
            "name": cohort.name,
            "paths": cohort.paths,
            "fingerprint": cohort.fingerprint,
            "utterances": len(cohort.utterances),
            "speakers": len(cohort.speaker_names()),
        }
    return described


def describe_trials(trials: Trials) -> dict[str, Any]:
    """Return what report.json says of the trials."""
    targets = int(np.count_nonzero(trials.same_K))
    return {
        "spec": trials.spec,
        "seed": trials.seed,
        "count": len(trials),
        "targets": targets,
        "nontargets": len(trials) - targets,
        "enrolment_models": len(trials.models) if trials.models else 0,
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
