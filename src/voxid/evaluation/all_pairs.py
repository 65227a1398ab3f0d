"""All pairs of a test set that is too large to hold its trials: counted as they are scored.

# N utterances, D embedding
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from voxid import __version__, metrics, plots
from voxid.embed import Runtime
from voxid.evaluation.cache import EmbeddingCache
from voxid.evaluation.embedding import Progress, Voices, embed_used
from voxid.evaluation.measure import FARS, count_reasons
from voxid.evaluation.report.values import ModelReport, Report, describe_data, now
from voxid.evaluation.streaming import all_pairs_histogram
from voxid.evaluation.systems import Steps
from voxid.metrics import ScoreHistogram
from voxid.trials.data import EvaluationData

WHY_NOT = "there are too many trials to hold; take N-pairs for intervals, groups and the worst trials"


def evaluate_all_pairs(
    named: Sequence[tuple[str, str, Runtime]],
    test: EvaluationData,
    folder: Path | None,
    *,
    cache: bool = True,
    progress: Progress | None = None,
) -> Report:
    """Return the error rates of (name, folder, runtime) on all pairs of `test`, by cosine, in bounded memory.

    Scores are counted in narrow bins: each EER comes with `eer_error_bound`, which the exact one is within.
    There are no intervals, groups or lists of trials; `folder` gets report.json and det.png.
    """
    everyone = np.arange(len(test.utterances))
    steps = Steps(progress, [everyone.size] * len(named))
    models, curves, warnings = [], [], []
    for name, source, runtime in named:
        kept = EmbeddingCache.of(runtime) if cache else None
        voices = embed_used(runtime, test, everyone, cache=kept, progress=steps.next())
        counted = all_pairs_histogram(voices.emb_UD, test.speakers()[voices.row_N >= 0])
        models.append(_measure(name, source, runtime, voices, counted, everyone.size))
        curves.append((name, counted.det()))
        warnings += voices.warnings
    pairs = everyone.size * (everyone.size - 1) // 2
    of_each = np.bincount(test.speakers())
    targets = int((of_each * (of_each - 1) // 2).sum())
    report = Report(
        voxid=__version__,
        made=now(),
        data=describe_data(test, everyone.size, warnings),
        trials={
            "spec": "all",
            "seed": None,
            "count": pairs,
            "targets": targets,
            "nontargets": pairs - targets,
            "enrollment_models": 0,
            "warnings": {},
            "left_out": {},
        },
        left_out={
            "utterances": models[0].left_out,
            "trials": max(model.trials_lost for model in models),
            "when_prepared": test.dropped,
        },
        intervals={"level": 0.95, "resamples": 0, "seed": None, "resampled": "speakers", "why_not": WHY_NOT},
        models=models,
        paired=[],
        out=str(folder or ""),
        files=["det.png", "report.json"] if folder else [],
    )
    if folder:
        plots.save(plots.det_curve(curves), folder / "det.png")
        report.write(folder / "report.json")
    return report


def _measure(
    name: str, source: str, runtime: Runtime, voices: Voices, counted: ScoreHistogram, utterances: int
) -> ModelReport:
    rate = counted.eer()
    curve = counted.det()
    return ModelReport(
        model=name,
        folder=source,
        fingerprint=runtime.fingerprint,
        inference=runtime.score_mode,
        scoring="cosine",
        eer=rate.rate,
        eer_threshold=rate.threshold,
        eer_error_bound=rate.error_bound,
        eer_grid=None,
        eer_grid_threshold=None,
        min_dcf=counted.min_dcf(0.01).cost,
        min_dcf_05=counted.min_dcf(0.05).cost,
        act_dcf=None,
        act_dcf_05=None,
        cllr=None,
        cllr_of="",
        min_cllr=None,
        frr_at_far={f"{far:g}": _frr(curve, far, counted.nontargets) for far in FARS},
        intervals={},
        calibration=None,
        trials=counted.targets + counted.nontargets,
        targets=counted.targets,
        nontargets=counted.nontargets,
        trials_lost=utterances * (utterances - 1) // 2 - counted.targets - counted.nontargets,
        utterances=voices.utterances,
        left_out=count_reasons(voices.left_out),
        full_sequence=voices.full_sequence,
        identification=None,
        groups={},
        hardest=[],
        worst={"false_accepts": [], "false_rejects": []},
        embed_s=round(voices.seconds, 3),
        score_s=0.0,
        from_cache=voices.from_cache,
    )


def _frr(curve: metrics.Det, far: float, nontargets: int) -> float | None:
    if far * nontargets < 1:
        return None
    return float(curve.frr[int(np.argmax(curve.far <= far))])
