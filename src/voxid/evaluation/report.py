"""What an evaluation found, as values and as report.json."""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass, field
from typing import Any

from voxid.files import atomic_write


@dataclass(frozen=True, slots=True)
class ModelReport:
    """The figures of one model. Rates are fractions, times are seconds.

    `eer_grid` is the original's threshold grid on these scores (None when not asked for, or when the grid
    cannot tell the scores apart). `cllr_of` says what the Cllr was computed on. `left_out` counts utterances
    by reason, `trials_lost` the trials that fell with them, `full_sequence` the utterances embedded by their
    full sequence (shorter than a window, or inference by full sequence).
    """

    model: str
    folder: str
    fingerprint: str
    inference: str
    eer: float
    eer_threshold: float
    eer_grid: float | None
    eer_grid_threshold: float | None
    min_dcf: float  # p_target = 0.01
    min_dcf_05: float  # p_target = 0.05
    act_dcf: float | None  # p_target = 0.01; None without a calibration
    cllr: float
    cllr_of: str
    min_cllr: float
    trials: int
    targets: int
    nontargets: int
    trials_lost: int
    utterances: int
    left_out: dict[str, int]
    full_sequence: int
    groups: dict[str, dict[str, Any]]
    embed_s: float
    score_s: float


@dataclass(frozen=True, slots=True)
class Report:
    """All models on the same trials; `out` is the folder that holds report.json, scores and figures."""

    voxid: str
    data: dict[str, Any]
    trials: dict[str, Any]
    left_out: dict[str, Any]
    models: list[ModelReport]
    out: str
    files: list[str] = field(default_factory=list)

    def as_dict(self) -> dict[str, Any]:
        """Return the report as plain values, all finite: what report.json holds."""
        return asdict(self)

    def write(self, path: str | os.PathLike[str]) -> None:
        """Write the report as JSON, whole or not at all; raise DiskFull, NotWritable or OutputError."""
        text = json.dumps(self.as_dict(), indent=2, ensure_ascii=False, allow_nan=False)
        with atomic_write(path, "w") as file:
            file.write(text + "\n")
