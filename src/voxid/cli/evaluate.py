"""`voxid evaluate`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from voxid.cli._common import JsonFlag, emit, progress_bar

if TYPE_CHECKING:
    from voxid.evaluation import Report

WIDTH = 120  # columns of a table that goes into a file or another program


def evaluate(
    models: Annotated[
        list[Path], typer.Argument(readable=False, help="Model folders, measured on the same trials.")
    ],
    data: Annotated[
        list[Path],
        typer.Option("--data", readable=False, help="A prepared folder or corpora; may be repeated."),
    ],
    trials: Annotated[
        str, typer.Option("--trials", help="all, N-triplets (for example 10000-triplets), or a list.")
    ] = "all",
    out: Annotated[
        Path, typer.Option("--out", "-o", readable=False, help="Folder for report.json, scores, figures.")
    ] = Path("report"),
    inference: Annotated[
        str | None, typer.Option(help="sliding or full, instead of the models' own.")
    ] = None,
    eer_grid: Annotated[
        bool, typer.Option("--eer-grid", help="Add the EER of the original's 0.001 threshold grid.")
    ] = False,
    seed: Annotated[int, typer.Option(help="Which random triplets.")] = 0,
    layout: Annotated[str, typer.Option(help="The corpus layout; found out by itself.")] = "auto",
    device: Annotated[str, typer.Option(help="cpu, cuda, mps or auto.")] = "cpu",
    json: JsonFlag = False,
) -> None:
    """Measure models on trials: equal error rate, detection cost, Cllr, DET curve, histogram.

    Each utterance is embedded once, however many trials use it. What is left out is counted. A trial list
    has lines such as `1 left right`, `left right target` or `left,right,label`.

    Example: `voxid evaluate runs/a runs/b --data LibriSpeech/test-clean --trials 10000-triplets -o report`

    The output folder gets report.json, det.png, histogram.png and scores-MODEL.npz (arrays utterances, left,
    right, scores, same), and scores-MODEL.csv for lists of up to 100,000 trials.
    """
    from voxid import evaluation

    with progress_bar("embedding", quiet=json) as update:
        report = evaluation.evaluate(
            models,
            data,
            trials,
            out,
            inference=inference,
            eer_grid=eer_grid,
            seed=seed,
            layout=layout,
            device=device,
            progress=update,
        )
    emit(report.as_dict(), json, lambda: _print(report, eer_grid))


def _print(report: Report, eer_grid: bool) -> None:
    from rich.console import Console
    from rich.table import Table

    console = Console(width=None if sys.stdout.isatty() else WIDTH)
    trials, data = report.trials, report.data
    console.print(
        f"{data['name']}: {data['used_in_trials']:,} of {data['utterances']:,} utterances of "
        f"{data['speakers']:,} speakers in {trials['count']:,} trials ({trials['targets']:,} of one speaker, "
        f"{trials['nontargets']:,} of two)",
        highlight=False,
    )
    table = Table(box=None, header_style="bold", pad_edge=False)
    table.add_column("model", overflow="fold", min_width=16)
    columns = ["EER %", "threshold", "minDCF 0.01", "Cllr", "min Cllr", "trials", "left out"]
    for column in [*columns, *(["grid EER %"] if eer_grid else [])]:
        table.add_column(column, justify="right", no_wrap=True)
    for model in report.models:
        grid = "-" if model.eer_grid is None else f"{100 * model.eer_grid:.2f}"
        cells = [
            f"{100 * model.eer:.2f}",
            f"{model.eer_threshold:.4f}",
            f"{model.min_dcf:.3f}",
            f"{model.cllr:.3f}" if model.act_dcf is not None else "-",
            f"{model.min_cllr:.3f}",
            f"{model.trials:,}",
            f"{sum(model.left_out.values()):,}",
        ]
        table.add_row(model.model, *cells, *([grid] if eer_grid else []))
        for name, group in model.groups.items():
            alike = f"  {name.replace('_and_', ', ').replace('_', ' ')}"
            table.add_row(
                alike,
                f"{100 * group['eer']:.2f}",
                f"{group['eer_threshold']:.4f}",
                f"{group['min_dcf']:.3f}",
                "",
                "",
                f"{group['trials']:,}",
                style="dim",
            )
    console.print(table)
    for line in _notes(report):
        console.print(line, highlight=False)


def _notes(report: Report) -> list[str]:
    """Return a line for all that a reader of the table should know besides."""
    notes = []
    for model in report.models:
        if model.left_out:
            reasons = ", ".join(f"{count:,} {reason}" for reason, count in model.left_out.items())
            notes.append(f"{model.model}: left out {reasons}; {model.trials_lost:,} trials fell with them")
        if model.full_sequence and model.inference == "sliding":
            notes.append(
                f"{model.model}: {model.full_sequence:,} of {model.utterances:,} utterances are shorter than "
                "a window and were embedded by their full sequence"
            )
        if model.act_dcf is None:
            notes.append(f"{model.model}: not calibrated, so no Cllr; `voxid calibrate` makes it decide")
    if dropped := report.left_out["when_prepared"]:
        notes.append(
            "dropped when prepared: " + ", ".join(f"{n:,} {reason}" for reason, n in dropped.items())
        )
    for kind, count in report.trials["warnings"].items():
        notes.append(
            f"warning: {count:,} trials of the list are {kind.replace('_', ' ')}; they count as given"
        )
    notes += [f"warning: {warning}" for warning in report.data["warnings"]]
    return [*notes, f"in {report.out}: {', '.join(report.files)}"]
