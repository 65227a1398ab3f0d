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

from voxid import __version__, metrics, plots
from voxid.errors import BadScores, OutputError
from voxid.evaluation.data import EvaluationData, read_data
from voxid.evaluation.report import ModelReport, Report
from voxid.evaluation.scores import READABLE_TRIALS, Scored, score, write_readable_scores, write_scores
from voxid.evaluation.trials import Trials, make_trials
from voxid.files import output_error
from voxid.runtime import Runtime, load

StrPath = str | os.PathLike[str]


def evaluate(
    models: Sequence[StrPath | Runtime],
    data: StrPath | Iterable[StrPath],
    trials: StrPath = "all",
    out: StrPath | None = None,
    *,
    inference: str | None = None,
    eer_grid: bool = False,
    seed: int = 0,
    layout: str = "auto",
    device: str = "cpu",
    progress: Callable[[int, int], None] | None = None,
) -> Report:
    """Return the error rates of `models` on `trials` of `data`, and write them with figures into `out`.

    `models` are folders or runtimes; `data` a prepared folder or corpora; `trials` "all", "N-triplets" (with
    `seed`) or a list (see `make_trials`). `inference` ("sliding" or "full") replaces the models' own way of
    scoring. Each utterance that a trial uses is embedded once per model. `out` gets report.json, det.png,
    histogram.png, scores-MODEL.npz and, for lists of up to 100,000 trials, scores-MODEL.csv; None writes
    nothing.

    Raise a ModelError, CorpusError, BadTrials, NotEnoughSpeakers, BadScores or OutputError.

    Example: `evaluate(["runs/bilstm"], "LibriSpeech/test-clean", "10000-triplets", "report").models[0].eer`
    """
    folder = _make_folder(out)
    runtimes = [
        load(model, device=device, mode=inference) if isinstance(model, str | os.PathLike) else model
        for model in models
    ]
    names = _names(models, runtimes)
    test = read_data(data, layout)
    plan = make_trials(trials, test, seed)
    found: list[tuple[ModelReport, Scored]] = []
    for number, (runtime, name, given) in enumerate(zip(runtimes, names, models, strict=True)):
        scored = score(runtime, test, plan, _share(progress, number, len(runtimes)))
        source = os.fspath(given) if isinstance(given, str | os.PathLike) else ""
        found.append((_measure(runtime, name, source, test, scored, eer_grid), scored))
    files = _write_files(folder, found, test) if folder else []
    report = Report(
        voxid=__version__,
        data=_describe_data(test, plan),
        trials=_describe_trials(plan, seed),
        left_out=_left_out(test, plan, [scored for _, scored in found]),
        models=[model for model, _ in found],
        out=str(folder or ""),
        files=[*files, "report.json"] if folder else [],
    )
    if folder:
        report.write(folder / "report.json")
    return report


def _measure(
    runtime: Runtime, name: str, source: str, data: EvaluationData, scored: Scored, with_grid: bool
) -> ModelReport:
    scores, same = scored.score_K, scored.same_K
    rate, threshold = metrics.eer(scores, same)
    grid = _grid(scores, same) if with_grid else None
    calibration = getattr(runtime.model, "calibration", None)
    if calibration is not None and not calibration.fits(runtime.fingerprint):
        calibration = None  # fitted before the weights or the inference were changed
    llrs = scores.astype(np.float64) if calibration is None else calibration.llr(scores.astype(np.float64))
    return ModelReport(
        model=name,
        folder=source,
        fingerprint=runtime.fingerprint,
        inference=runtime.score_mode,
        eer=rate,
        eer_threshold=threshold,
        eer_grid=grid.rate if grid else None,
        eer_grid_threshold=grid.threshold if grid else None,
        min_dcf=metrics.min_dcf(scores, same, p_target=0.01),
        min_dcf_05=metrics.min_dcf(scores, same, p_target=0.05),
        act_dcf=metrics.act_dcf(llrs, same, p_target=0.01) if calibration else None,
        cllr=metrics.cllr(llrs, same),
        cllr_of="llr" if calibration else "cosine taken as llr",
        min_cllr=metrics.min_cllr(scores, same),
        trials=int(scores.size),
        targets=int(np.count_nonzero(same)),
        nontargets=int(np.count_nonzero(~same)),
        trials_lost=int(np.count_nonzero(~scored.kept_K)),
        utterances=scored.utterances,
        left_out=dict(Counter(dropped.reason for dropped in scored.left_out)),
        full_sequence=scored.full_sequence,
        groups=_groups(data, scored),
        embed_s=round(scored.embed_s, 3),
        score_s=round(scored.score_s, 3),
    )


def _grid(scores: np.ndarray, same: np.ndarray) -> metrics.Eer | None:
    try:
        return metrics.eer_grid(scores, same)
    except BadScores:  # every score is outside the grid; the exact EER stands beside it
        return None


def _groups(data: EvaluationData, scored: Scored) -> dict[str, dict[str, Any]]:
    """Return the error rates of the harder trials, whose two speakers are alike, as far as labels tell.

    "same_sex_and_age_group" needs sex and age of both speakers; "same_sex" stands in where no age is known.
    """
    sex_N, adult_N = data.sexes(), data.adults()
    left, right = scored.left_K, scored.right_K
    alike_K = (sex_N[left] == sex_N[right]) & (sex_N[left] >= 0)
    name = "same_sex"
    if (adult_N >= 0).any():
        alike_K &= (adult_N[left] == adult_N[right]) & (adult_N[left] >= 0)
        name = "same_sex_and_age_group"
    same_K, score_K = scored.same_K[alike_K], scored.score_K[alike_K]
    targets = int(np.count_nonzero(same_K))
    if targets in (0, same_K.size):
        return {}
    rate, threshold = metrics.eer(score_K, same_K)
    return {
        name: {
            "eer": rate,
            "eer_threshold": threshold,
            "min_dcf": metrics.min_dcf(score_K, same_K),
            "trials": int(same_K.size),
            "targets": targets,
            "nontargets": int(same_K.size) - targets,
        }
    }


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


def _share(
    progress: Callable[[int, int], None] | None, number: int, models: int
) -> Callable[[int, int], None] | None:
    """Return a progress callable for one of several models that each have the same work."""
    if progress is None:
        return None
    return lambda done, total: progress(number * total + done, models * total)


def _make_folder(out: StrPath | None) -> Path | None:
    """Return the output folder, made before the long work rather than after it."""
    if out is None:
        return None
    folder = Path(out).expanduser()
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise output_error(error, folder) from error
    if not os.access(folder, os.W_OK):
        raise OutputError(f"cannot write into {folder}. Choose a folder you may write to.")
    return folder


def _write_files(folder: Path, found: list[tuple[ModelReport, Scored]], data: EvaluationData) -> list[str]:
    files = ["det.png", "histogram.png"]
    curves = [(model.model, metrics.det(scored.score_K, scored.same_K)) for model, scored in found]
    plots.save(plots.det_curve(curves), folder / "det.png")
    panels = [(model.model, scored.score_K, scored.same_K, model.eer_threshold) for model, scored in found]
    plots.save(plots.score_histograms(panels), folder / "histogram.png")
    for model, scored in found:
        files.append(f"scores-{model.model}.npz")
        write_scores(folder / files[-1], scored, data)
        if scored.score_K.size <= READABLE_TRIALS:
            files.append(f"scores-{model.model}.csv")
            write_readable_scores(folder / files[-1], scored, data)
    return files


def _describe_data(data: EvaluationData, trials: Trials) -> dict[str, Any]:
    return {
        "name": data.name,
        "paths": data.paths,
        "fingerprint": data.fingerprint,
        "utterances": len(data.utterances),
        "speakers": int(data.speakers().max()) + 1,
        "used_in_trials": int(np.unique(np.concatenate((trials.left_K, trials.right_K))).size),
        "warnings": data.warnings,
    }


def _describe_trials(trials: Trials, seed: int) -> dict[str, Any]:
    targets = int(np.count_nonzero(trials.same_K))
    return {
        "spec": trials.spec,
        "seed": seed if trials.spec.endswith("-triplets") else None,
        "count": len(trials),
        "targets": targets,
        "nontargets": len(trials) - targets,
        "warnings": trials.warnings,
    }


def _left_out(data: EvaluationData, trials: Trials, all_scored: list[Scored]) -> dict[str, Any]:
    """Return what no model, or not every model, was measured on."""
    reasons = {dropped.utterance: dropped.reason for scored in all_scored for dropped in scored.left_out}
    kept_K = np.logical_and.reduce([scored.kept_K for scored in all_scored])
    return {
        "utterances": dict(Counter(reasons.values())),
        "trials": len(trials) - int(np.count_nonzero(kept_K)),
        "when_prepared": data.dropped,
    }
