"""`voxid download`: bring a published corpus to this disk."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from voxid.cli._common import JsonFlag, emit, progress_bar


def download(
    corpus: Annotated[str, typer.Argument(help="librispeech or mini-librispeech.", show_default=False)],
    parts: Annotated[list[str], typer.Argument(help="One or more parts, listed below.", show_default=False)],
    out: Annotated[
        Path, typer.Option("-o", "--out", help="Folder to put the corpus in.", show_default="here")
    ] = Path(),
    mirror: Annotated[
        str,
        typer.Option(
            help="us, eu, cn, the URL of a folder that holds the archives, or a folder on this disk."
        ),
    ] = "us",
    keep_archives: Annotated[bool, typer.Option(help="Keep the .tar.gz files after unpacking.")] = False,
    as_json: JsonFlag = False,
) -> None:
    """Download a published corpus, verify it, and unpack it.

    A download that breaks off, or is stopped by Ctrl-C, goes on where it was when the same command is run
    again. What is already there is left alone.

    Parts of **librispeech** (CC BY 4.0): dev-clean (0.3 GB), dev-other (0.3 GB), test-clean (0.3 GB),
    test-other (0.3 GB), train-clean-100 (6.4 GB), train-clean-360 (23 GB), train-other-500 (31 GB).

    Parts of **mini-librispeech** (CC BY 4.0): dev-clean-2 (0.1 GB), train-clean-5 (0.3 GB).

    Example: `voxid download librispeech train-clean-100 test-clean --mirror eu -o corpora`

    Example, from a folder of archives: `voxid download librispeech dev-clean --mirror archives -o corpora`
    """
    from voxid.corpora.download import download as run
    from voxid.corpora.download import find_corpus, is_complete

    known = find_corpus(corpus)
    there = [a.part for a in known.archives if a.part in parts and is_complete(a, out)]
    with progress_bar(known.name, quiet=as_json, in_bytes=True) as update:
        say = (lambda line: None) if as_json else (lambda line: typer.echo(line, err=True))
        folder = run(corpus, parts, out, mirror, update, say=say, keep_archives=keep_archives)
    fetched = [part for part in parts if part not in there]
    result = {"corpus": known.name, "folder": str(folder), "fetched": fetched, "already_there": there}
    emit(result, as_json, lambda: typer.echo(f"{known.about}\n{', '.join(parts)}: in {folder}"))
