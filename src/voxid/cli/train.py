"""`voxid train`: from a recipe and a corpus to a model folder."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from voxid.cli import _complete
from voxid.cli._common import DeviceOption, JsonFlag, LayoutOption, echo, emit

if TYPE_CHECKING:
    from voxid.training import Plan, TrainResult
    from voxid.training.run_folder import Row

LINE_EVERY_S = 10.0  # seconds of training between two lines, for output that goes to a file


def train(
    recipe: Annotated[
        str,
        typer.Argument(
            help="A recipe that comes with voxid (`voxid recipes` lists them), or a TOML file.",
            autocompletion=_complete.recipes,
        ),
    ],
    train_data: Annotated[
        list[Path],
        typer.Option(
            "--train", readable=False, help="Corpus or prepared folder to learn from; may be repeated."
        ),
    ],
    out: Annotated[
        Path, typer.Option("--out", "-o", readable=False, help="Run folder; it becomes the model folder.")
    ],
    test_data: Annotated[
        Path | None,
        typer.Option("--test", readable=False, help="Corpus or prepared folder to measure on at the end."),
    ] = None,
    valid_data: Annotated[
        Path | None,
        typer.Option(
            "--valid", readable=False, help="Held-out speakers: their error rate is logged as training runs."
        ),
    ] = None,
    init: Annotated[
        str | None,
        typer.Option(
            "--init",
            help="Fine-tune this model (a name or a folder): its weights, and a new loss.",
            autocompletion=_complete.models,
        ),
    ] = None,
    overrides: Annotated[
        list[str] | None,
        typer.Option("--set", help="Change the recipe, for example optimizer.lr=1e-3."),
    ] = None,
    trials: Annotated[
        str, typer.Option(help="What to measure on --test: all, N-triplets, or a trial list.")
    ] = "10000-triplets",
    layout: LayoutOption = "auto",
    resume: Annotated[bool, typer.Option("--resume", help="Go on from the newest checkpoint in -o.")] = False,
    device: DeviceOption = "auto",
    tensorboard: Annotated[bool, typer.Option("--tensorboard", help="Write TensorBoard events too.")] = False,
    as_json: JsonFlag = False,
) -> None:
    """Train a recipe on a corpus, then measure it on speakers it has not heard.

    Example: `voxid train bilstm-clean100 --train LibriSpeech/train-clean-100 --test LibriSpeech/test-clean
    -o runs/bilstm` · go on after a stop: the same command with `--resume` · shorter:
    `--set training.steps=2000` · fine-tune: `--init runs/bilstm`, with a small `--set optimizer.lr=1e-5`
    """
    from voxid.training import train as run

    def on_plan(plan: Plan, warnings: list[str]) -> None:
        pause()
        for warning in warnings:
            echo(f"warning: {warning}", err=True)
        if not as_json:
            echo("\n  ".join(_plan_lines(plan, init)))

    with _live(quiet=as_json) as (callbacks, pause):
        result = run(
            recipe,
            train_data,
            out,
            valid=valid_data,
            test=test_data,
            trials=trials,
            init=init,
            overrides=overrides or (),
            layout=layout,
            device=device,
            resume=resume,
            tensorboard=tensorboard,
            on_plan=on_plan,
            **callbacks,
        )
    if os.environ.get("RANK", "0") == "0":  # of torchrun's processes one speaks
        emit(_summary(result), as_json, lambda: echo("\n".join(_result_lines(result))))


def _plan_lines(plan: Plan, init: str | None) -> Iterator[str]:
    yield f"{plan.recipe}: {plan.speakers} speakers, {plan.utterances:,} utterances, {plan.hours:.2f} h"
    if plan.dropped:
        reasons = ", ".join(f"{count:,} {reason}" for reason, count in plan.dropped.items())
        yield f"left out when the speech was prepared: {reasons}"
    if len(plan.corpora) > 1:
        yield ", ".join(f"{name}: {count:,}" for name, count in plan.corpora.items())
    if plan.classes > plan.speakers:
        yield f"{plan.classes:,} classes: everyone at {plan.classes // plan.speakers} speeds"
    if plan.single_speakers and plan.needs_pairs:
        pairs = "two windows of it are their pairs" if plan.self_pairs else "never a pair, but negatives"
        yield f"{plan.single_speakers} speakers have one utterance: {pairs}"
    if plan.short:
        done = "repeated to fill it" if plan.short_policy == "repeat" else "left out"
        yield f"{plan.short:,} utterances are shorter than the window of {plan.window} frames: {done}"
    learned = f" and {plan.loss_parameters:,} of the loss" if plan.loss_parameters else ""
    limit = f", at most {plan.max_seconds:g} s" if plan.max_seconds else ""
    yield f"{plan.parameters:,} parameters{learned}; {plan.steps:,} steps of {plan.rows} windows{limit}"
    for stage in plan.stages if len(plan.stages) > 1 else ():
        yield (
            f"{stage.name}: {stage.steps:,} steps ({stage.epochs:g} epochs) of {stage.rows} x "
            f"{stage.window} frames, learning rate {stage.first_lr:.2g} to {stage.last_lr:.2g}"
        )
    if init is not None:
        yield f"starting from the weights of {init}"


def _result_lines(result: TrainResult) -> Iterator[str]:
    yield (
        f"{result.steps:,} steps in {result.seconds:.0f} s ({result.steps_per_s:.1f} steps/s); "
        f"loss {result.first_loss:.4f} -> {result.last_loss:.4f}; model in {result.folder}"
    )
    if result.valid_eer is not None:
        yield f"EER {100 * result.valid_eer:.2f} % on the held-out speakers"
    if result.report is not None:
        for model in result.report.models:
            yield f"EER {100 * model.eer:.2f} % over {model.trials:,} trials"
        yield f"report, scores and figures are in {result.folder / 'evaluation'}"


def _summary(result: TrainResult) -> dict[str, Any]:
    values = {name: value for name, value in vars(result).items() if name not in ("plan", "report")}
    summary = {"plan": asdict(result.plan), "result": {**values, "folder": str(result.folder)}}
    if result.report is not None:
        measured = [{"eer": model.eer, "trials": model.trials} for model in result.report.models]
        summary["evaluation"] = measured
    return summary


@contextmanager
def _live(quiet: bool) -> Iterator[tuple[dict[str, Any], Callable[[], None]]]:
    """Yield `train`'s callbacks for a bar (what is going on, time left, speed, loss), and what takes it away.

    Without a terminal, a line every ten seconds of training.
    """
    if quiet or not sys.stderr.isatty():
        yield {} if quiet else _plain_lines(), lambda: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    words, numbers = TextColumn("{task.description}"), TextColumn("{task.fields[numbers]}")
    columns = (words, BarColumn(), MofNCompleteColumn(), TextColumn("left"), TimeRemainingColumn(), numbers)
    bar = Progress(*columns, console=Console(stderr=True), transient=True)
    task = bar.add_task("", total=None, numbers="")

    def progress(what: str, done: int, total: int) -> None:
        if what != bar.tasks[0].description:
            bar.reset(task, description=what, numbers="")
        bar.update(task, completed=done, total=total or None)
        bar.start()

    def on_row(row: Row) -> None:
        bar.update(task, numbers=f"{row.steps_per_s:.1f} steps/s, {_numbers(row)}")

    try:
        yield {"progress": progress, "on_row": on_row}, bar.stop
    finally:
        bar.stop()


def _plain_lines() -> dict[str, Any]:
    """Return callbacks that print a log row every ten seconds of training."""
    printed_s, steps = 0.0, 0

    def progress(what: str, done: int, total: int) -> None:
        nonlocal steps
        steps = total if what == "training" else 0

    def on_row(row: Row) -> None:
        nonlocal printed_s
        if row.seconds - printed_s >= LINE_EVERY_S or row.valid_eer is not None:
            printed_s = row.seconds
            of = f"/{steps:,}" if steps else ""
            line = f"step {row.step:,}{of}  {row.steps_per_s:.1f} steps/s  {_numbers(row)}"
            echo(line, err=True)

    return {"progress": progress, "on_row": on_row}


def _numbers(row: Row) -> str:
    """Return what a line of the log says about learning."""
    valid = "" if row.valid_eer is None else f"  held-out EER {100 * row.valid_eer:.2f} %"
    return f"loss {row.loss:.4f}  wrong {100 * row.active:.1f} %{valid}"
