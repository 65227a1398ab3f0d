"""The rows of the page's tables, as plain values: the template only lays them out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from voxid.evaluation.report.formats import NOTHING, cost, percent
from voxid.evaluation.report.values import FRR, ModelReport
from voxid.metrics.resampling import FARS

FEW_SPEAKERS = 20
FEW_ERRORS = 30  # Doddington's rule: 30 errors for a rate that is right within 30 %, nine times in ten
KINDS = {
    "alike": "Speakers who are alike",
    "sex": "Sex",
    "age": "Age",
    "duration": "Duration",
    "language": "Language",
    "corpus": "Corpus",
}


@dataclass(frozen=True, slots=True)
class Column:
    """One figure of the headline table; `key` is its name elsewhere."""

    key: str
    heading: str
    meaning: str
    percent: bool = False
    calibrated: bool = False  # means something only for a calibrated system


COLUMNS = (
    Column(
        "eer",
        "EER %",
        "Equal error rate: the threshold is set where strangers are let in as often as speakers are turned "
        "away, and this is how often. 0 is perfect, 50 is tossing a coin.",
        percent=True,
    ),
    Column(
        "min_dcf",
        "minDCF 0.01",
        "Minimum detection cost: the cheapest threshold when 1 trial in 100 is of the same speaker and both "
        "errors cost the same. 1 is no better than turning everybody away.",
    ),
    Column("min_dcf_05", "minDCF 0.05", "The same when 5 trials in 100 are of the same speaker."),
    Column(
        "act_dcf",
        "actDCF 0.01",
        "Actual detection cost: the threshold is not searched for but follows from the calibration. What it "
        "has above minDCF is the price of a bad calibration; it may exceed 1.",
        calibrated=True,
    ),
    Column(
        "act_dcf_05",
        "actDCF 0.05",
        "The same when 5 trials in 100 are of the same speaker.",
        calibrated=True,
    ),
    Column(
        "cllr",
        "Cllr",
        "Cost of the log-likelihood ratios over all priors at once, in bits: 0 is perfect, 1 says nothing, "
        "more than 1 misleads.",
        calibrated=True,
    ),
    Column("min_cllr", "minCllr", "Cllr after the best calibration possible: what the scores alone cost."),
    *(
        Column(
            f"{FRR}{far:g}",
            f"FRR % at FAR {100 * far:g} %",
            f"How many speakers are turned away when 1 stranger in {round(1 / far):,} is let in.",
            percent=True,
        )
        for far in FARS
    ),
)


def value_of(model: ModelReport, column: Column) -> float | None:
    """Return the value of a headline figure; None where it does not exist or would mean nothing."""
    if column.key.startswith(FRR):
        return model.frr_at_far.get(column.key.removeprefix(FRR))
    if column.calibrated and model.act_dcf is None:
        return None
    return getattr(model, column.key)


def interval_of(model: ModelReport, column: Column) -> str:
    """Return "low–high" of a headline figure, or an empty string."""
    bounds = model.intervals.get(column.key)
    if not bounds or value_of(model, column) is None:
        return ""
    show = percent if column.percent else cost
    return f"{show(bounds[0])}–{show(bounds[1])}"


def headline(models: Sequence[ModelReport]) -> list[dict[str, Any]]:
    """Return a row for each system: its name and, for each column, text, interval and whether it is best."""
    best = {}
    for column in COLUMNS:
        values = [value for model in models if (value := value_of(model, column)) is not None]
        best[column.key] = min(values) if len(values) > 1 and min(values) < max(values) else None
    rows = []
    for model in models:
        cells = []
        for column in COLUMNS:
            value = value_of(model, column)
            cells.append(
                {
                    "text": percent(value) if column.percent else cost(value),
                    "interval": interval_of(model, column),
                    "best": value is not None and value == best[column.key],
                }
            )
        rows.append({"model": model, "cells": cells, "left_out": sum(model.left_out.values())})
    return rows


def groups(models: Sequence[ModelReport]) -> list[dict[str, Any]]:
    """Return the groups by kind, each with one cell a system; the kinds in the order of `KINDS`."""
    names = list(dict.fromkeys(name for model in models for name in model.groups))
    found: dict[str, list[dict[str, Any]]] = {}
    for name in names:
        cells = [model.groups.get(name) for model in models]
        known = next(cell for cell in cells if cell)
        row = {
            "name": name.partition(": ")[2] or name.replace("_", " "),
            "speakers": known["speakers"],
            "trials": known["trials"],
            "targets": known["targets"],
            "few_speakers": known["speakers"] < FEW_SPEAKERS,
            "cells": [_group_cell(model, cell) for model, cell in zip(models, cells, strict=True)],
        }
        found.setdefault(known["kind"], []).append(row)
    return [{"title": title, "rows": found[kind]} for kind, title in KINDS.items() if kind in found]


def _group_cell(model: ModelReport, group: dict[str, Any] | None) -> dict[str, Any]:
    if group is None:
        return {"eer": NOTHING, "min_dcf": NOTHING, "far": NOTHING, "frr": NOTHING, "bar": None, "few": False}
    rate = group["eer"]
    return {
        "eer": percent(rate),
        "min_dcf": cost(group["min_dcf"]),
        "far": percent(group["far"]),
        "frr": percent(group["frr"]),
        "bar": min(100, round(50 * rate / model.eer)) if rate is not None and model.eer else None,
        "few": rate is not None and rate * min(group["targets"], group["nontargets"]) < FEW_ERRORS,
    }


def absent_kinds(models: Sequence[ModelReport]) -> list[str]:
    """Return the kinds of groups that no system has: the data does not tell them apart."""
    present = {group["kind"] for model in models for group in model.groups.values()}
    return [title.lower() for kind, title in KINDS.items() if kind not in present]
