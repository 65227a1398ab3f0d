"""`voxid metrics`."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path
from typing import Annotated

import typer

from voxid.cli._common import MAX_SEED, JsonFlag, emit
from voxid.cli._report import print_report


def metrics(
    scores: Annotated[
        list[Path], typer.Argument(readable=False, help="Score files of any system, measured side by side.")
    ],
    trials: Annotated[
        Path | None,
        typer.Option("--trials", readable=False, help="The trial list, where scores lack labels."),
    ] = None,
    out: Annotated[
        Path,
        typer.Option("--out", "-o", readable=False, help="Folder for report.html, report.json, figures."),
    ] = Path("report"),
    columns: Annotated[
        str | None, typer.Option(help="What the columns are, for example 'left right score label'.")
    ] = None,
    speakers: Annotated[
        Path | None,
        typer.Option(
            "--speakers", readable=False, help="Lines `utterance speaker`, for intervals and tests."
        ),
    ] = None,
    llr: Annotated[
        bool, typer.Option("--llr", help="The scores are natural-log likelihood ratios: add actDCF and Cllr.")
    ] = False,
    eer_grid: Annotated[
        bool, typer.Option("--eer-grid", help="Add the EER of the original's 0.001 threshold grid.")
    ] = False,
    resamples: Annotated[
        int,
        typer.Option(min=0, help="How often to redraw the speakers for intervals and tests; 0: none."),
    ] = 1000,
    seed: Annotated[int, typer.Option(min=0, max=MAX_SEED, help="Seed of the redraws.")] = 0,
    json: JsonFlag = False,
) -> None:
    """Measure the scores of any system: files of WeSpeaker, SpeechBrain, NeMo, Kaldi, or voxid; CSV.

    The content of a file tells its format. Trials that have no score are counted and reported: a system that
    leaves out hard trials must not look better for it.

    Example: `voxid metrics theirs.score ours.score --trials vox1_O.txt --speakers utt2spk -o report`
    """
    from voxid.evaluation.score_report import measure_scores

    report = measure_scores(
        scores,
        trials,
        out,
        columns=columns,
        speakers=speakers,
        llr=llr,
        eer_grid=eer_grid,
        resamples=resamples,
        seed=seed,
        command=shlex.join(["voxid", *sys.argv[1:]]),
    )
    emit(report.as_dict(), json, lambda: print_report(report, eer_grid))
