"""`voxid trials`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from voxid.cli._common import MAX_SEED, JsonFlag, LayoutOption, echo, emit, some


def trials(
    spec: Annotated[str, typer.Argument(help="all, 10000-pairs, 10000-triplets, 3-enrol, ..., or a list.")],
    data: Annotated[
        list[Path],
        typer.Option("--data", readable=False, help="A prepared folder or corpora; may be repeated."),
    ],
    out: Annotated[Path, typer.Option("--out", "-o", readable=False, help="The list to write.")],
    format: Annotated[str, typer.Option(help="voxceleb, kaldi or csv.")] = "voxceleb",
    seed: Annotated[int, typer.Option(min=0, max=MAX_SEED, help="Seed of the random trials.")] = 0,
    layout: LayoutOption = "auto",
    json: JsonFlag = False,
) -> None:
    """Make a list of trials, or check a list and write it in another format.

    `all`: every pair of utterances, once. `N-pairs`: N random pairs, half of them of one speaker, with every
    speaker equally often. `N-triplets`: N random utterances, each with one of its own speaker and with one of
    another. `N-enrol`: each speaker enrolled with N utterances, against all other utterances (the enrollments
    go into LIST.enrol).

    Options follow a colon, joined by +: `same-sex`, `same-age-group`, `same-corpus`, `duration=2-4` (seconds,
    both sides), for `all` `other-session` (same-speaker pairs of two sessions only, where a corpus has such),
    for `N-enrol` `max=N`, and for `N-triplets` `original` (the test of the original course system: only
    triplets of utterances that fill its window of 3.2 s). With one seed a shorter list is the beginning of a
    longer one.

    Example: `voxid trials 20000-pairs:same-sex --data LibriSpeech/test-clean -o trials.txt --seed 1`
    """
    import numpy as np

    from voxid.trials import make_trials, write_trials
    from voxid.trials.data import read_data

    corpus = read_data(data, layout)
    made = make_trials(spec, corpus, seed)
    write_trials(out, made, corpus, format)
    targets = int(np.count_nonzero(made.same_K))
    result = {
        "path": str(out),
        **some(made, "spec", "seed", "left_out", "warnings"),
        "trials": len(made),
        "targets": targets,
        "nontargets": len(made) - targets,
        "utterances": int(made.used().size),
        "models": 0 if made.models is None else len(made.models),
    }

    def text() -> None:
        models = f" of {result['models']:,} models" if made.models is not None else ""
        echo(
            f"{out}: {len(made):,} trials{models} ({targets:,} target, {len(made) - targets:,} non-target) "
            f"with {result['utterances']:,} utterances"
        )
        for reason, count in made.left_out.items():
            echo(f"left out: {count:,} {reason.replace('_', ' ')}")
        for kind, count in made.warnings.items():
            echo(f"warning: {count:,} {kind.replace('_', ' ')}")

    emit(result, json, text)
