"""`voxid train`: from a recipe and a corpus to a model folder."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from voxid.cli._common import JsonFlag, emit, progress_bar

if TYPE_CHECKING:
    from voxid.data.pack import Packed
    from voxid.training import Plan, TrainResult
    from voxid.training.log import Row


def train(
    recipe: Annotated[str, typer.Argument(help="A shipped recipe (see `voxid recipes`) or a TOML file.")],
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
        typer.Option("--init", help="A model, by name or folder, to start from: fine-tune it, loss afresh."),
    ] = None,
    overrides: Annotated[
        list[str] | None,
        typer.Option("--set", help="Change the recipe, for example optimizer.lr=1e-3."),
    ] = None,
    trials: Annotated[
        str, typer.Option(help="What to measure on --test: all, N-triplets, or a trial list.")
    ] = "10000-triplets",
    layout: Annotated[str, typer.Option(help="Layout of the corpora, if it is not recognised.")] = "auto",
    resume: Annotated[bool, typer.Option("--resume", help="Go on from the newest checkpoint in -o.")] = False,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda or mps.")] = "auto",
    tensorboard: Annotated[bool, typer.Option("--tensorboard", help="Write TensorBoard events too.")] = False,
    as_json: JsonFlag = False,
) -> None:
    """Train a recipe on a corpus, then measure it on speakers it has not heard.

    Example: `voxid train bilstm-clean100 --train LibriSpeech/train-clean-100 --test LibriSpeech/test-clean
    -o runs/bilstm` · go on after a stop: the same command with `--resume` · shorter:
    `--set training.steps=2000` · fine-tune: `--init runs/bilstm`, with a small `--set optimizer.lr=1e-5`
    """
    from voxid.data.pack import Packed
    from voxid.data.prepare import ensure_prepared
    from voxid.training import check_init, check_recipe, load_recipe, make_plan, refuse_to_spoil
    from voxid.training import train as run_training

    loaded = load_recipe(recipe, overrides)
    check_recipe(loaded, device)  # this and what follows: before minutes of decoding
    refuse_to_spoil(out, resume)
    if init is not None:
        check_init(loaded, init)
    with progress_bar("decoding the training speech", quiet=as_json) as progress:
        packed = Packed.open(ensure_prepared(train_data, layout=layout, progress=progress))
    prepared_test = None
    if test_data is not None:
        with progress_bar("decoding the test speech", quiet=as_json) as progress:
            prepared_test = ensure_prepared(test_data, layout=layout, progress=progress)
        _check_trials(prepared_test, trials)
    prepared_valid = None
    if valid_data is not None:
        with progress_bar("decoding the held-out speech", quiet=as_json) as progress:
            prepared_valid = ensure_prepared(valid_data, layout=layout, progress=progress)
        _check_trials(prepared_valid, "all")
        _warn_of_speakers_met(packed, Packed.open(prepared_valid))
    plan = make_plan(loaded, packed)
    if not as_json:
        _print_plan(plan, packed.info)
        if init is not None:
            typer.echo(f"  starting from the weights of {init}")
    with _live(plan, quiet=as_json) as callbacks:
        result = run_training(
            loaded,
            packed,
            out,
            device=device,
            resume=resume,
            tensorboard=tensorboard,
            valid_data=prepared_valid,
            init=init,
            **callbacks,
        )
    report = None
    if prepared_test is not None:
        from voxid.evaluation import evaluate

        with progress_bar("measuring", quiet=as_json) as progress:
            report = evaluate(
                [out], prepared_test, trials, out / "evaluation", device=device, progress=progress
            )
    emit(_summary(plan, result, report), as_json, lambda: _print_result(result, report))


def _check_trials(prepared: Path, trials: str) -> None:
    """Raise now what measuring would raise after hours of training."""
    from voxid.evaluation import make_trials, read_data

    make_trials(trials, read_data(prepared))


def _warn_of_speakers_met(packed: Packed, valid: Packed) -> None:
    """Say so where speakers that should be held out are trained on."""
    met = set(packed.speaker_names) & set(valid.speaker_names)
    if met:
        typer.echo(
            f"warning: {len(met)} speakers of --valid have the names of training speakers "
            f"({', '.join(sorted(met)[:3])}, ...): if they are the same people, their error rate says little",
            err=True,
        )


def _print_plan(plan: Plan, info: dict[str, Any]) -> None:
    typer.echo(f"{plan.recipe}: {plan.speakers} speakers, {plan.utterances:,} utterances, {plan.hours:.2f} h")
    if info["dropped"]:
        reasons = ", ".join(f"{count:,} {reason}" for reason, count in info["dropped"].items())
        typer.echo(f"  left out when the speech was prepared: {reasons}")
    if len(plan.corpora) > 1:
        typer.echo("  " + ", ".join(f"{name}: {count:,}" for name, count in plan.corpora.items()))
    if plan.classes > plan.speakers:
        typer.echo(f"  {plan.classes:,} classes: everyone at {plan.classes // plan.speakers} speeds")
    if plan.single_speakers and plan.needs_pairs:
        pairs = "two windows of it are their pairs" if plan.self_pairs else "never a pair, but negatives"
        typer.echo(f"  {plan.single_speakers} speakers have one utterance: {pairs}")
    if plan.short:
        done = "repeated to fill it" if plan.short_policy == "repeat" else "left out"
        typer.echo(f"  {plan.short:,} utterances are shorter than the window of {plan.window} frames: {done}")
    learned = f" and {plan.loss_parameters:,} of the loss" if plan.loss_parameters else ""
    limit = f", at most {plan.max_seconds:g} s" if plan.max_seconds else ""
    typer.echo(
        f"  {plan.parameters:,} parameters{learned}; {plan.steps:,} steps of {plan.rows} windows{limit}"
    )
    for stage in plan.stages if len(plan.stages) > 1 else ():
        typer.echo(
            f"  {stage.name}: {stage.steps:,} steps ({stage.epochs:g} epochs) of {stage.rows} x "
            f"{stage.window} frames, learning rate {stage.first_lr:.2g} to {stage.last_lr:.2g}"
        )


def _print_result(result: TrainResult, report: Any) -> None:
    for warning in result.warnings:
        typer.echo(f"warning: {warning}", err=True)
    typer.echo(
        f"{result.steps:,} steps in {result.seconds:.0f} s ({result.steps_per_s:.1f} steps/s); "
        f"loss {result.first_loss:.4f} -> {result.last_loss:.4f}; model in {result.folder}"
    )
    if result.valid_eer is not None:
        typer.echo(f"EER {100 * result.valid_eer:.2f} % on the held-out speakers")
    if report is not None:
        for model in report.models:
            typer.echo(f"EER {100 * model.eer:.2f} % over {model.trials:,} trials")
        typer.echo(f"report, scores and figures are in {result.folder / 'evaluation'}")


def _summary(plan: Plan, result: TrainResult, report: Any) -> dict[str, Any]:
    summary = {"plan": asdict(plan), "result": {**asdict(result), "folder": str(result.folder)}}
    if report is not None:
        summary["evaluation"] = [{"eer": model.eer, "trials": model.trials} for model in report.models]
    return summary


@contextmanager
def _live(plan: Plan, quiet: bool) -> Iterator[dict[str, Any]]:
    """Yield `train`'s callbacks: features, then steps with speed, loss and time left.

    Without a terminal, a line every ten seconds of training.
    """
    if quiet or not sys.stderr.isatty():
        yield {} if quiet else {"on_row": _PlainLines(plan.steps)}
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
        TextColumn("{task.fields[numbers]}"),
    )
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        features = bar.add_task("features", total=plan.utterances, numbers="", visible=False)
        steps = bar.add_task("training", total=plan.steps, numbers="", visible=False)

        def on_step(done: int, total: int) -> None:
            bar.update(features, visible=False)
            bar.update(steps, completed=done, total=total, visible=True)

        def on_row(row: Row) -> None:
            bar.update(steps, numbers=f"{row.steps_per_s:.1f} steps/s, {_numbers(row)}")

        yield {
            "features_progress": lambda done, total: bar.update(features, completed=done, visible=True),
            "progress": on_step,
            "on_row": on_row,
        }


def _numbers(row: Row) -> str:
    """Return what a line of the log says about learning."""
    valid = "" if row.valid_eer is None else f"  held-out EER {100 * row.valid_eer:.2f} %"
    return f"loss {row.loss:.4f}  wrong {100 * row.active:.1f} %{valid}"


class _PlainLines:
    """Prints a log row every ten seconds of training, for output that goes to a file."""

    def __init__(self, steps: int) -> None:
        self.steps = steps
        self.printed = 0.0

    def __call__(self, row: Row) -> None:
        if row.seconds - self.printed >= 10 or row.valid_eer is not None:
            self.printed = row.seconds
            typer.echo(
                f"step {row.step:,}/{self.steps:,}  {row.steps_per_s:.1f} steps/s  {_numbers(row)}", err=True
            )
