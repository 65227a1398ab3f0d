"""Embed a corpus, a prepared folder or audio files, and keep the result in one .npz file. No torch.

Shapes: N utterances, D embedding.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from voxid import corpora
from voxid.audio import AUDIO_SUFFIXES, Part, name_of
from voxid.data.pack import Packed, is_prepared
from voxid.embed.embedder import Embedder
from voxid.errors import AudioError, EmptyCorpus
from voxid.files import atomic_write
from voxid.types import SAMPLE_RATE, Dropped


@dataclass(frozen=True)
class Embeddings:
    """Embeddings and whose they are: row n belongs to `utterances[n]`, said by `speakers[n]`."""

    embeddings_ND: np.ndarray  # float32
    utterances: list[str]
    speakers: list[str]  # "" where unknown
    fingerprint: str  # of the model
    left_out: list[Dropped]
    warnings: list[str] = field(default_factory=list)  # of the recordings, each with its name

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write an .npz of plain arrays, whole or not at all; raise DiskFull, NotWritable or OutputError.

        Arrays: embeddings (N, D) float32; utterances, speakers (N,); fingerprint (); left_out and
        left_out_reasons, one entry for each recording that could not be used. `np.load` reads it as it is.
        """
        with atomic_write(path) as file:
            np.savez(
                file,
                embeddings=self.embeddings_ND,
                utterances=np.array(self.utterances, dtype=np.str_),
                speakers=np.array(self.speakers, dtype=np.str_),
                fingerprint=np.array(self.fingerprint),
                left_out=np.array([dropped.utterance for dropped in self.left_out], dtype=np.str_),
                left_out_reasons=np.array([dropped.reason for dropped in self.left_out], dtype=np.str_),
            )


@dataclass(frozen=True)
class _Labelled:
    """Something to embed, and what to call it."""

    audio: Any
    utterance: str
    speaker: str
    path: str


def embed_data(
    runtime: Embedder,
    paths: Sequence[str | os.PathLike[str] | bytes | Part],
    *,
    layout: str = "auto",
    vad: str = "energy",
    progress: Callable[[int, int], None] | None = None,
) -> Embeddings:
    """Return the embeddings of all utterances in `paths`: corpora, prepared folders or audio files.

    Bytes are the content of an audio file, whose utterance is called "-", as on the command line.
    Recordings that cannot be used are left out and listed with their reason. Raise a CorpusError when a
    path is no corpus, EmptyCorpus when nothing could be embedded.
    """
    items = [item for path in paths for item in _labelled(path, layout)]
    left_out: list[Dropped] = []
    kept: list[int] = []
    rows: list[np.ndarray] = []

    def leave_out(index: int, error: AudioError) -> None:
        left_out.append(Dropped(items[index].utterance, items[index].path, error.reason, str(error)))

    warnings: list[str] = []
    for index, emb_D, info in runtime.embed_each((item.audio for item in items), leave_out, vad=vad):
        kept.append(index)
        rows.append(emb_D)
        warnings += [f"{items[index].utterance}: {warning}" for warning in info.warnings]
        if progress is not None:
            progress(len(kept) + len(left_out), len(items))
    if not kept:
        first = f" The first: {left_out[0].detail}" if left_out else ""
        raise EmptyCorpus(
            f"none of {len(items)} recordings in {', '.join(map(_shown, paths))} could be embedded.{first}"
        )
    return Embeddings(
        np.stack(rows),
        [items[index].utterance for index in kept],
        [items[index].speaker for index in kept],
        runtime.fingerprint,
        left_out,
        warnings,
    )


def _shown(path: Any) -> str:
    path = Part.of(path).source
    return "-" if isinstance(path, bytes) else os.fspath(path)


def _labelled(item: Any, layout: str) -> Iterator[_Labelled]:
    """Yield what there is to embed under a path, or the recording whose bytes were given."""
    part = Part.of(item)
    if isinstance(part.source, bytes):
        yield _Labelled(part, "-", "", "-")
        return
    path = Path(part.source).expanduser()  # type: ignore[arg-type]
    if is_prepared(path):
        packed = Packed.open(path)
        for i, name in enumerate(packed.utterances()):
            speaker = packed.speaker_names[packed.speakers_N[i]]
            yield _Labelled((packed.wave(i), SAMPLE_RATE), name, speaker, f"{path}#{name}")
    elif not path.is_dir() and path.suffix.lower() in AUDIO_SUFFIXES:
        yield _Labelled(replace(part, source=path), name_of(path), "", str(path))
    else:
        for said in corpora.scan([path], layout=layout):
            chosen = Part.of(said) if part.channel is None else replace(Part.of(said), channel=part.channel)
            yield _Labelled(chosen, said.utterance, said.speaker, said.path)
