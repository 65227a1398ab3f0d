"""`voxid calibrate`."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from voxid.cli import _complete
from voxid.cli._common import (
    MAX_SEED,
    DeviceOption,
    JsonFlag,
    LayoutOption,
    VadOption,
    echo,
    emit,
    progress_bar,
)


def calibrate(
    model: Annotated[
        Path,
        typer.Argument(
            readable=False,
            help="A model folder; its config.json gets the calibration.",
            autocompletion=_complete.models,
        ),
    ],
    data: Annotated[
        list[Path],
        typer.Option("--data", readable=False, help="A prepared folder or corpora; may be repeated."),
    ],
    prior: Annotated[
        float | None,
        typer.Option(
            help="Probability of one speaker in two recordings, before anything is heard. Default: the "
            "model's own (0.05 for voxid-base), 0.5 if it has none."
        ),
    ] = None,
    trials: Annotated[
        str, typer.Option("--trials", help="all, 10000-triplets, ... (see `voxid trials`), or a list.")
    ] = "all",
    quality: Annotated[
        list[str] | None,
        typer.Option(help="Weigh beside the score: speech, norm or cohort_mean; may be repeated."),
    ] = None,
    cohort: Annotated[
        list[Path] | None,
        typer.Option("--cohort", readable=False, help="Other speakers, for the quality cohort_mean."),
    ] = None,
    top_k: Annotated[
        int | None,
        typer.Option(min=1, help="How many of the nearest speakers of the cohort count. Default: 300."),
    ] = None,
    anew: Annotated[
        bool, typer.Option("--anew", help="Begin from nothing, not from the calibration that the model has.")
    ] = False,
    test: Annotated[
        list[Path] | None,
        typer.Option("--test", readable=False, help="Data you will test on: its speakers are refused."),
    ] = None,
    force: Annotated[
        bool, typer.Option("--force", help="Allow speakers of the test, the training or the cohort.")
    ] = False,
    seed: Annotated[int, typer.Option(min=0, max=MAX_SEED, help="Seed of the random trials.")] = 0,
    layout: LayoutOption = "auto",
    vad: VadOption = "energy",
    device: DeviceOption = "cpu",
    json: JsonFlag = False,
) -> None:
    """Teach a model to decide: fit the line that turns its score into a log-likelihood ratio (LLR).

    If the model has a calibration, the fit starts from it: ten speakers of yours are enough to improve it.
    With `--anew`, or with a `--quality`, the fit starts from nothing, and needs about a hundred speakers.

    **Do not calibrate on the test set**: the test would know the answers. Do not calibrate on the training
    set: its scores are too good. voxid refuses both where it can tell. `voxid split` sets speakers aside.

    Example: `voxid calibrate runs/bilstm --data LibriSpeech/dev-clean --test LibriSpeech/test-clean`
    """
    from voxid import evaluation

    with progress_bar("embedding", quiet=json) as update:
        result = evaluation.calibrate(
            model,
            data,
            prior=prior,
            trials=trials,
            quality=quality or (),
            cohort=cohort or None,
            top_k=top_k,
            anew=anew,
            test=test or None,
            force=force,
            seed=seed,
            layout=layout,
            vad=vad,
            device=device,
            progress=update,
        )
    line = result.calibration
    summary = {"model": str(model), **asdict(result), "calibration": line.model_dump(mode="json")}

    def text() -> None:
        fitted_on = line.fitted_on
        name = fitted_on.name if fitted_on else "the data"
        terms = "".join(f" {term.weight:+.3f} x {term.name}" for term in line.qualities)
        echo(
            f"{model}: LLR = {line.scale:.3f} x cosine {line.offset:+.3f}{terms}; "
            f"accepts an LLR from {line.threshold:.3f} (prior {line.prior:g})"
        )
        echo(
            f"fitted on {result.trials:,} trials of {name}: EER {100 * result.eer:.2f} %, "
            f"Cllr {result.cllr:.3f} (the best any calibration could do there: {result.min_cllr:.3f})"
        )
        for reason, count in result.left_out.items():
            echo(f"left out {count:,} {reason.replace('_', ' ')}")
        for warning in result.warnings:
            echo(f"warning: {warning}")
        echo(f"Test on other speakers than those of {name}, or the figures will be too good.")

    emit(summary, json, text)
