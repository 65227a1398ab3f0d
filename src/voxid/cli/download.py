"""`voxid download`: bring a published corpus to this disk."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from voxid.cli._common import JsonFlag, echo, emit, progress_bar, some


def download(
    corpus: Annotated[
        str,
        typer.Argument(
            help="A corpus listed below, voxid-base for every corpus that it learned from, or a name of "
            "`voxid models --available`.",
            show_default=False,
        ),
    ],
    parts: Annotated[
        list[str] | None,
        typer.Argument(help="Parts, where a corpus has several: see below.", show_default=False),
    ] = None,
    out: Annotated[
        Path, typer.Option("-o", "--out", help="Folder to put the corpus in.", show_default="here")
    ] = Path(),
    mirror: Annotated[
        str,
        typer.Option(
            help="us, eu, cn, the URL of a folder that holds the archives, or a folder on this disk."
        ),
    ] = "us",
    keep_archives: Annotated[
        bool, typer.Option(help="Keep the .tar.gz and .zip files after unpacking.")
    ] = False,
    accept_licence: Annotated[
        bool, typer.Option("--accept-licence", help="Models: for a use that the licence allows.")
    ] = False,
    as_json: JsonFlag = False,
) -> None:
    """Download a published corpus or model, verify it, and unpack it.

    A download that breaks off, or is stopped by Ctrl-C, goes on where it was when the same command is run
    again. What is already there is left alone. An archive is compared with its published checksum. Nobody
    publishes one of **speechocean762**, **emodb** and of what lies on GitHub: their SHA-256 is printed, and
    the recordings inside are counted.

    **librispeech** (CC BY 4.0): dev-clean (0.3 GB), dev-other (0.3 GB), test-clean (0.3 GB),
    test-other (0.3 GB), train-clean-100 (6.4 GB), train-clean-360 (23 GB), train-other-500 (31 GB).

    **mini-librispeech** (CC BY 4.0): dev-clean-2 (0.1 GB), train-clean-5 (0.3 GB).

    **speechocean762** (CC BY 4.0): speechocean762 (0.5 GB). **speech-commands** (CC BY 4.0): v0.02 (2.4 GB).
    **arabic-speech-commands** (CC BY 4.0): v1.0 (0.4 GB).

    Repositories on GitHub, each by its commit: **dspspeech20** and **alphanum** (MIT), **wuw2** and
    **msc-malayalam** (CC BY-SA 4.0), **aishell-sample** (Apache-2.0), **common-voice-sample**,
    **common-voice-uz**, **common-voice-vi** and **common-voice-tw** (CC0).

    **emodb** (CC0). **asterisk-prompts** (CC BY-SA 3.0): en, es, fr, it, ru (0.02 GB each); it-menardi
    (CC BY 3.0).

    To augment with: **musan** (CC BY 4.0): musan (11 GB). **rirs-noises** (Apache-2.0): rirs_noises (1.3 GB).

    **voxid-base**: every corpus that the model learned from, whole (it learned from a part of some), and
    rooms and noises in place of its own.

    **Models** that others published (`voxid models --available`) land in a folder for `voxid import`;
    **hub:owner/name** is a repository of the Hugging Face Hub (`pip install 'voxid[hub]'`). The licence is
    shown first.

    Example: `voxid download librispeech train-clean-100 test-clean --mirror eu -o corpora`

    Example, a model: `voxid download speechbrain-ecapa -o published`

    Example, all that voxid-base needs: `voxid download voxid-base -o corpora`

    Example, from a folder of archives: `voxid download librispeech dev-clean --mirror archives -o corpora`
    """
    from voxid.corpora.download import CORPORA, is_set

    if corpus not in CORPORA and not is_set(corpus) and _model(corpus, parts, out, accept_licence, as_json):
        return
    from voxid.corpora.download import download as run
    from voxid.corpora.download import is_complete, wanted

    needed = wanted(corpus, parts or ())
    there = [archive.part for _, archive in needed if is_complete(archive, out)]
    with progress_bar(corpus, quiet=as_json, in_bytes=True) as update:
        say = (lambda line: None) if as_json else (lambda line: echo(line, err=True))
        folder = run(corpus, parts or (), out, mirror, update, say=say, keep_archives=keep_archives)
    fetched = [archive.part for _, archive in needed if archive.part not in there]
    result = {"corpus": corpus, "folder": str(folder), "fetched": fetched, "already_there": there}

    def text() -> None:
        for known in dict.fromkeys(known.name for known, _ in needed):
            source = next(one for one, _ in needed if one.name == known)
            found = ", ".join(archive.part for one, archive in needed if one.name == known)
            echo(f"{source.about}\n{found}: in {out / source.root}")

    emit(result, as_json, text)


def _model(name: str, parts: list[str] | None, out: Path, accept_licence: bool, as_json: bool) -> bool:
    """Bring a published model here; return False where the name is of none."""
    from voxid.published.catalogue import HUB, available, download_from_hub, download_model

    entries = {entry.name: entry for entry in available()}
    if parts or (name not in entries and not name.startswith(HUB)):
        return False
    if name.startswith(HUB):
        done, entry = download_from_hub(name), None
    else:
        entry = entries[name]
        with progress_bar(name, quiet=as_json, in_bytes=True) as update:
            say = (lambda line: None) if as_json else (lambda line: echo(line, err=True))
            done = download_model(entry, out, accept_licence=accept_licence, progress=update, say=say)
    result = {
        "model": name,
        **some(done, "folder", "sha256", "verified"),
        "licence": "" if entry is None else entry.licence,
    }

    def text() -> None:
        echo(f"{name}: in {done.folder}")
        if entry is None:
            echo(
                f"next: voxid.load({name!r}); if it is not a model of voxid: voxid import "
                f"{done.folder} -o MODEL"
            )
        else:
            echo(f"next: voxid import {done.folder} --kind {entry.kind} -o models/{name}")

    emit(result, as_json, text)
    return True
