"""`voxid prepare`: decode, validate and pack a corpus once, and say what was kept and what was dropped."""

from __future__ import annotations

import json as json_module
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from voxid.cli._common import JsonFlag, LayoutOption, echo, emit, printable, progress_bar
from voxid.errors import CorpusError

if TYPE_CHECKING:
    from voxid.data.prepare import Prepared

# reason -> what it means, for the table
REASONS = {
    "missing": "no file at that path",
    "not_readable": "no permission, or a folder",
    "empty": "no bytes, or no samples",
    "undecodable": "not audio voxid can decode",
    "truncated": "breaks off before its end",
    "too_short": "shorter than a syllable",
    "silent": "nothing above the silence floor",
    "not_finite": "NaN or infinite samples",
    "bad_input": "times that make no sense",
    "duplicate_audio": "the same samples as an earlier one",
    "duplicate_name": "the same name as an earlier one",
}


def prepare(
    corpora: Annotated[
        list[Path], typer.Argument(readable=False, help="Corpora on disk: folders, or CSV files.")
    ],
    out: Annotated[
        str, typer.Option("--out", "-o", help="The prepared folder to write; shards may go to s3://....")
    ],
    layout: LayoutOption = "auto",
    subset: Annotated[
        list[str] | None, typer.Option(help="Take only this folder of the corpus; may be repeated.")
    ] = None,
    workers: Annotated[int, typer.Option(min=1, help="Recordings decoded at the same time.")] = 2,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace a prepared folder.")] = False,
    shards: Annotated[
        int | None, typer.Option(min=1, help="Pack into this many shards, with --workers processes.")
    ] = None,
    shard: Annotated[
        int | None, typer.Option(min=0, help="Pack this shard only: another machine packs another one.")
    ] = None,
    verify: Annotated[bool, typer.Option("--verify", help="First check every shard that is there.")] = False,
    json: JsonFlag = False,
) -> None:
    """Decode, validate and pack a corpus: what training and evaluation read.

    Prints what it kept, and what it dropped by reason; dropped.csv in the folder lists every recording
    that was left out.

    Example: `voxid prepare LibriSpeech -o prepared/train --subset train-clean-100 --subset train-clean-360`
    · a CSV of speaker,path: `voxid prepare my-voices.csv -o prepared/mine` · in parts, on disk or in object
    storage, resumable: `voxid prepare voices.csv -o s3://bucket/voices --shards 64 --workers 16`
    """
    from voxid.corpora import scan
    from voxid.data.prepare import prepare as run

    if shards is not None:
        _sharded(partial(scan, corpora, layout, subset), out, shards, shard, workers, verify, json)
        return
    utterances = scan(corpora, layout, subset)
    with progress_bar("preparing", quiet=json) as update:
        result = run(utterances, out, workers=workers, progress=update, overwrite=overwrite)
    emit(asdict(result), json, lambda: _print(result))


def _sharded(
    scanned: Any, out: str, shards: int, shard: int | None, workers: int, verify: bool, json: bool
) -> None:
    from voxid.data.shards import damaged_shards, prepare_shard, prepare_shards

    if verify and (wrong := damaged_shards(out)):
        raise CorpusError(
            f"{'; '.join(wrong)}. Delete these folders in {out} and run the same command without --verify."
        )
    if shard is not None:
        prepare_shard(scanned, out, shard, shards)
        emit({"shard": shard}, json, lambda: echo(f"{out}: shard {shard} of {shards} is there"))
        return
    info = prepare_shards(scanned, out, shards, workers=workers)
    echoed = f"{info['n_utterances']:,} utterances of {info['n_speakers']:,} speakers"
    emit({**info, "folder": out}, json, lambda: echo(f"{out}: {echoed} in {len(info['shards'])} shards"))


def _print(result: Prepared) -> None:
    from rich.console import Console
    from rich.table import Table

    console = Console()
    table = Table(title=printable(str(result.folder)), title_justify="left")
    table.add_column("")
    table.add_column("utterances", justify="right")
    table.add_column("what it means")
    hours, minutes = divmod(round(result.seconds / 60), 60)
    table.add_row(
        "kept", f"{result.kept:,}", f"{result.speakers:,} speakers, {hours} h {minutes} min of speech"
    )
    for reason, count in result.dropped.items():
        table.add_row(f"dropped: {reason}", f"{count:,}", REASONS.get(reason, ""))
    console.print(table)
    names = json_module.loads((result.folder / "speaker_names.json").read_text("utf-8"))
    some = ", ".join(names[:5]) + ", ..." * (len(names) > 5)
    console.print(printable(f"speakers: {some}"), markup=False, highlight=False)
    for warning in result.warnings:
        console.print(printable(f"warning: {warning}"), style="yellow", markup=False, highlight=False)
    if result.dropped:
        console.print(
            f"every dropped recording, with its reason: {result.folder / 'dropped.csv'}", markup=False
        )
