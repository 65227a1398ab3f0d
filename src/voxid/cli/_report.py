"""An evaluation's report as text for a terminal: what `voxid evaluate` and `voxid metrics` print."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from voxid.cli._common import echo, printable

if TYPE_CHECKING:
    from voxid.evaluation import ModelReport, Report

WIDTH = 120  # columns of a table that goes into a file or another program


def print_report(report: Report, eer_grid: bool = False) -> None:
    """Print what was measured, a line for each system, the paired tests, and what else to know."""
    from rich.console import Console

    console = Console(width=None if sys.stdout.isatty() else WIDTH)
    trials, data = report.trials, report.data
    console.print(
        f"{data['name']}: {data['used_in_trials']:,} of {data['utterances']:,} utterances of "
        f"{data['speakers']:,} speakers in {trials['count']:,} trials ({trials['targets']:,} of one speaker, "
        f"{trials['nontargets']:,} of two)",
        highlight=False,
    )
    console.print(_table(report, eer_grid))
    for line in [*_tests(report), *_notes(report)]:
        echo(line)


def _table(report: Report, eer_grid: bool) -> object:
    from rich.table import Table

    table = Table(box=None, header_style="bold", pad_edge=False)
    table.add_column("model", overflow="fold", min_width=16)
    with_intervals = any(model.intervals for model in report.models)
    interval = f"{100 * report.intervals['level']:g} % interval"
    columns = ["EER %", *([interval] if with_intervals else []), "threshold", "minDCF 0.01", "actDCF", "Cllr"]
    columns += ["min Cllr", "trials", "left out", *(["grid EER %"] if eer_grid else [])]
    for column in columns:
        table.add_column(column, justify="right", no_wrap=True)
    for model in report.models:
        grid = "-" if model.eer_grid is None else f"{100 * model.eer_grid:.2f}"
        calibrated = model.act_dcf is not None
        cells = [
            f"{100 * model.eer:.2f}",
            *([_interval(model)] if with_intervals else []),
            f"{model.eer_threshold:.4f}",
            f"{model.min_dcf:.3f}",
            f"{model.act_dcf:.3f}" if calibrated else "-",
            f"{model.cllr:.3f}" if calibrated else "-",
            "-" if model.min_cllr is None else f"{model.min_cllr:.3f}",
            f"{model.trials:,}",
            f"{sum(model.left_out.values()):,}",
        ]
        table.add_row(printable(model.model), *cells, *([grid] if eer_grid else []))
        for name, group in model.groups.items():
            if group["kind"] != "alike" or group["eer"] is None:
                continue
            row = [f"{100 * group['eer']:.2f}", f"{group['eer_threshold']:.4f}", f"{group['min_dcf']:.3f}"]
            if with_intervals:
                row.insert(1, "")
            alike = f"  {name.replace('_and_', ', ').replace('_', ' ')}"
            table.add_row(alike, *row, "", "", "", f"{group['trials']:,}", style="dim")
    return table


def _interval(model: ModelReport) -> str:
    if "eer" not in model.intervals:
        return "-"
    low, high = model.intervals["eer"]
    return f"{100 * low:.2f} to {100 * high:.2f}"


def _tests(report: Report) -> list[str]:
    """Return a line for each paired test: which system is better, and how sure that is."""
    from voxid.evaluation.report import findings

    lines = []
    for test in findings.paired(report):
        factor, unit, digits = (100, " points", 2) if test["figure"] == "eer" else (1, "", 3)
        difference, low, high = (factor * test[name] for name in ("difference", "low", "high"))
        sure = "better" if test["shown"] else "not clearly better"
        lines.append(
            f"{test['name']}: {test['better']} is {sure} than {test['worse']}: {test['a']} - {test['b']} = "
            f"{difference:+.{digits}f}{unit} ({low:+.{digits}f} to {high:+.{digits}f}), "
            f"p = {test['p_value']:.3g}"
        )
    return lines


def _notes(report: Report) -> list[str]:
    """Return a line for all that a reader of the table should know besides."""
    from voxid.evaluation.report import findings
    from voxid.metrics import worse_than_guessing
    from voxid.types import reasons

    notes: list[str] = []
    told: list[object] = []  # decisions: a model decides alike, whichever of its scores are measured
    for model in report.models:
        if doubt := worse_than_guessing(model.eer):
            notes.append(f"warning: {model.model}: {doubt}")
        if model.left_out:
            lost = ", ".join(f"{count:,} {reason}" for reason, count in model.left_out.items())
            notes.append(
                f"{model.model}: left out {lost}; {model.trials_lost:,} trials were left out with them"
            )
        if model.full_sequence and model.inference == "sliding":
            notes.append(
                f"{model.model}: {model.full_sequence:,} of {model.utterances:,} utterances are shorter than "
                "a window and were embedded by their full sequence"
            )
        if found := model.identification:
            notes.append(
                f"{model.model}: among {found['enrolled']:,} enrolled speakers, "
                f"top 1 {100 * found['top_1']:.1f} %"
                + (f", top 5 {100 * found['top_5']:.1f} %" if "top_5" in found else "")
                + (f"; FNIR {100 * found['fnir']:.1f} % at FPIR 1 %" if found["fnir"] is not None else "")
            )
        if (decides := (model.folder, model.fingerprint, model.decisions)) not in told:
            told.append(decides)
            notes += [f"{findings.decider(model)}: {_decided(row)}" for row in findings.decisions(model)]
            notes += [f"warning: {line}" for line in findings.broken_promises(model)]
        if model.act_dcf is None and model.fingerprint and model.scoring == "cosine":
            notes.append(f"{model.model}: not calibrated, so no Cllr; `voxid calibrate` makes it decide")
    if why := report.intervals.get("why_not"):
        notes.append(f"no intervals: {why}")
    if dropped := report.left_out["when_prepared"]:
        notes.append(
            "dropped when prepared: " + ", ".join(f"{n:,} {reason}" for reason, n in dropped.items())
        )
    if unused := report.trials["left_out"]:
        notes.append(f"left out when the trials were made: {reasons(unused)}")
    notes += [f"warning: {line}" for line in (*findings.of_list(report), *report.data["warnings"])]
    if report.out:
        notes.append(f"in {report.out}: {', '.join(report.files)}")
    return notes


def _decided(row: dict[str, str]) -> str:
    """Return one of `findings.decisions` as text."""
    if row["note"]:
        return f"{row['asked']}: {row['note']}"

    def rate(name: str) -> str:
        bounds = row[f"{name}_interval"]
        return f"{row[name]} %{f' ({bounds})' if bounds else ''}"

    return f"{row['asked']}: {rate('false_alarm')} of strangers accepted, {rate('miss')} of speakers refused"
