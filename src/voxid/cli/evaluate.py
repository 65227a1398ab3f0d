"""`voxid evaluate`."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path
from typing import Annotated

import typer

from voxid.cli import _complete
from voxid.cli._common import MAX_SEED, DeviceOption, JsonFlag, LayoutOption, VadOption, emit, progress_bar
from voxid.cli._report import print_report


def evaluate(
    models: Annotated[
        list[Path],
        typer.Argument(
            readable=False,
            help="Models, by name or folder, measured on the same trials.",
            autocompletion=_complete.models,
        ),
    ],
    data: Annotated[
        list[Path],
        typer.Option("--data", readable=False, help="A prepared folder or corpora; may be repeated."),
    ],
    trials: Annotated[
        str,
        typer.Option("--trials", help="all, 10000-triplets, 3-enrol, ... (see `voxid trials`), or a list."),
    ] = "all",
    out: Annotated[
        Path, typer.Option("--out", "-o", readable=False, help="Folder for report.html, report.json, scores.")
    ] = Path("report"),
    scoring: Annotated[
        list[str] | None,
        typer.Option(help="cosine, llr, mean, s-norm, as-norm or plda; may be repeated, to compare them."),
    ] = None,
    cohort: Annotated[
        list[Path] | None,
        typer.Option(
            "--cohort",
            readable=False,
            help="Other speakers, which all scoring but cosine and llr needs.",
        ),
    ] = None,
    inference: Annotated[
        str | None, typer.Option(help="sliding or full, instead of the models' own.")
    ] = None,
    eer_grid: Annotated[
        bool, typer.Option("--eer-grid", help="Add the EER of the original's 0.001 threshold grid.")
    ] = False,
    resamples: Annotated[
        int,
        typer.Option(min=0, help="How often to redraw the speakers for intervals and tests; 0: none."),
    ] = 1000,
    seed: Annotated[int, typer.Option(min=0, max=MAX_SEED, help="Seed of trials and redraws.")] = 0,
    layout: LayoutOption = "auto",
    vad: VadOption = "energy",
    device: DeviceOption = "cpu",
    cache: Annotated[
        bool, typer.Option("--cache/--no-cache", help="Keep embeddings for the next evaluation.")
    ] = True,
    force: Annotated[
        bool,
        typer.Option(
            "--force",
            help="Allow a calibration that was fitted on these speakers.",
        ),
    ] = False,
    json: JsonFlag = False,
) -> None:
    """Measure the error rates of models on the same trials, with confidence intervals and a report.

    Each utterance is embedded once, however many trials use it. What is left out is counted. A trial list
    has lines such as `1 left right`, `left right target` or `left,right,label`.

    Example: `voxid evaluate runs/a runs/b --data LibriSpeech/test-clean --trials 10000-triplets -o report`

    The output folder gets report.html, report.json, det.png, histogram.png and scores-SYSTEM.npz (arrays
    utterances, left, right, scores, same), and scores-SYSTEM.csv for lists of up to 100,000 trials.
    """
    from voxid import evaluation

    with progress_bar("embedding", quiet=json) as update:
        report = evaluation.evaluate(
            models,
            data,
            trials,
            out,
            scoring=scoring,
            cohort=cohort or None,
            inference=inference,
            eer_grid=eer_grid,
            resamples=resamples,
            seed=seed,
            layout=layout,
            vad=vad,
            device=device,
            cache=cache,
            force=force,
            progress=update,
            command=shlex.join(["voxid", *sys.argv[1:]]),
        )
    emit(report.as_dict(), json, lambda: print_report(report, eer_grid))
