"""What an evaluation found, as values and as report.json."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from typing import Any

from voxid import __version__
from voxid.files import atomic_write
from voxid.trials.data import EvaluationData

FRR = "frr_at_far_"  # followed by the FAR: the name of a figure


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelReport:
    """The figures of one system: a model and a way of scoring. Rates are fractions, times are seconds.

    `eer_grid` is the original's threshold grid on these scores (None when not asked for, or when the grid
    cannot tell the scores apart). `cllr_of` says what the Cllr was computed on. `left_out` counts utterances
    by reason, `trials_lost` the trials that fell with them, `full_sequence` the utterances embedded by their
    full sequence (shorter than a window, or inference by full sequence).

    >>> report = voxid.evaluate(["voxid-base"], "people", "all", resamples=0, cache=False)
    >>> report.models[0].targets, report.models[0].nontargets
    (12, 54)
    """

    model: str
    folder: str
    fingerprint: str
    inference: str
    scoring: str  # "cosine", "as-norm", ...
    eer: float
    eer_threshold: float
    eer_error_bound: float = 0.0  # the exact EER is within this; 0 but where trials were too many to hold
    eer_grid: float | None = None
    eer_grid_threshold: float | None = None
    min_dcf: float  # p_target = 0.01
    min_dcf_05: float  # p_target = 0.05
    act_dcf: float | None = None  # p_target = 0.01; None without a calibration
    act_dcf_05: float | None = None
    cllr: float | None = None
    cllr_of: str = ""
    min_cllr: float | None = None
    frr_at_far: dict[str, float | None]  # keys "0.01", "0.001", "0.0001"; None: too few non-target trials
    # figure -> [low, high], 95 % unless report.intervals says otherwise
    intervals: dict[str, list[float]] = field(default_factory=dict)
    calibration: dict[str, Any] | None = None  # as stored with the model, with the set it was fitted on
    # asked ("default", "far=0.01", ...), false_alarm_rate, miss_rate and their intervals, or why_not
    decisions: list[dict[str, Any]] = field(default_factory=list)
    trials: int
    targets: int
    nontargets: int
    trials_lost: int
    utterances: int
    left_out: dict[str, int]
    full_sequence: int
    # enrolled, probes, top_1, top_5, fnir, fpir; for enrollment trials
    identification: dict[str, Any] | None = None
    # "sex: female, female" -> kind, eer, min_dcf, far, frr, trials, targets, ...
    groups: dict[str, dict[str, Any]] = field(default_factory=dict)
    # speakers with the most errors, and whom they are taken for
    hardest: list[dict[str, Any]] = field(default_factory=list)
    # "false_accepts", "false_rejects": the worst trials of each
    worst: dict[str, list[dict[str, Any]]] = field(
        default_factory=lambda: {"false_accepts": [], "false_rejects": []}
    )
    embed_s: float = 0.0
    score_s: float = 0.0
    from_cache: int = 0  # utterances whose embedding was known from an earlier evaluation


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """All systems on the same trials; `out` is the folder that holds report.json, scores and figures.

    >>> report = voxid.evaluate(["voxid-base"], "people", "all", resamples=0, cache=False)
    >>> report.trials["count"], sorted(report.as_dict())[:2]
    (66, ['data', 'files'])
    """

    voxid: str = __version__
    made: str = field(default_factory=lambda: datetime.now(UTC).isoformat(timespec="seconds"))
    data: dict[str, Any]
    trials: dict[str, Any]
    left_out: dict[str, Any]
    intervals: dict[str, Any]  # level, resamples, seed, resampled; "why_not" where there are none
    models: list[ModelReport]
    paired: list[dict[str, Any]]  # a, b, figure, difference (a - b), low, high, p_value, trials
    out: str
    files: list[str] = field(default_factory=list)

    def as_dict(self) -> dict[str, Any]:
        """Return the report as plain values, all finite: what report.json holds."""
        return asdict(self)

    def write(self, path: str | os.PathLike[str]) -> None:
        """Write the report as JSON, whole or not at all; raise DiskFull, NotWritable or OutputError.

        >>> report = voxid.evaluate(["voxid-base"], "people", "all", resamples=0, cache=False)
        >>> report.write("copy.json")
        """
        text = json.dumps(self.as_dict(), indent=2, ensure_ascii=False, allow_nan=False)
        with atomic_write(path, "w") as file:
            file.write(text + "\n")


def describe_data(
    data: EvaluationData, used: int, warnings: Iterable[str], cohort: EvaluationData | None = None
) -> dict[str, Any]:
    """Return what report.json says of the data."""
    told = {"used_in_trials": int(used), "warnings": [*data.warnings, *dict.fromkeys(warnings)]}
    return _described(data) | told | ({} if cohort is None else {"cohort": _described(cohort)})


def _described(data: EvaluationData) -> dict[str, Any]:
    return {
        "name": data.name,
        "paths": data.paths,
        "fingerprint": data.fingerprint,
        "utterances": len(data.utterances),
        "speakers": len(data.speaker_names()),
    }


def describe_trials(
    spec: str,
    count: int,
    targets: int,
    *,
    seed: int | None = None,
    enrollment_models: int = 0,
    warnings: dict[str, int] | None = None,
    left_out: dict[str, int] | None = None,
) -> dict[str, Any]:
    """Return what report.json says of the trials."""
    return {
        "spec": spec,
        "seed": seed,
        "count": count,
        "targets": targets,
        "nontargets": count - targets,
        "enrollment_models": enrollment_models,
        "warnings": warnings or {},
        "left_out": left_out or {},
    }
