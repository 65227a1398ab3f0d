"""From waveform to embedding, without knowing the engine. `voxid.load` is the way in.

This file imports no torch; the engine does, when `load` needs it.

Shapes: N utterances, D embedding.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

from voxid.errors import AudioError, MissingExtra, UnknownModel

if TYPE_CHECKING:
    import numpy as np

    from voxid.audio import Source
    from voxid.types import Utterance

    Item = Source | Utterance


@dataclass(frozen=True, slots=True)
class EmbedInfo:
    """How one embedding came about."""

    speech_s: float  # seconds of audio heard
    full_sequence: bool  # embedded by its full sequence, because asked for or shorter than a window
    windows: int  # how many window embeddings were averaged; 1 for a full sequence


class Embedded(NamedTuple):
    """One result of `embed_each`; unpacks as (index, embedding, info)."""

    position: int  # of the utterance in what was given
    embedding: np.ndarray  # float32 (D,)
    info: EmbedInfo


class Runtime(Protocol):
    """What every engine offers. The same audio gives the same numbers by every method (within 1e-5)."""

    @property
    def model(self) -> Any:
        """The model in use, with `.inference`, `.calibration` and `.metadata`."""
        ...

    @property
    def fingerprint(self) -> str:
        """The sha256 of all that changes an embedding; embeddings of two fingerprints do not compare."""
        ...

    @property
    def sample_rate(self) -> int:
        """16,000 Hz; audio at another rate is resampled on the way in."""
        ...

    @property
    def dim(self) -> int:
        """The length D of an embedding."""
        ...

    @property
    def score_mode(self) -> str:
        """How an utterance becomes one embedding: "sliding" or "full"."""
        ...

    def embed(self, audio: Item) -> np.ndarray:
        """Return the embedding float32 (D,) of one recording; raise an AudioError."""
        ...

    def embed_many(
        self,
        audio: Iterable[Item],
        *,
        batch_size: int = 128,
        progress: Callable[[int, int], None] | None = None,
    ) -> np.ndarray:
        """Return embeddings float32 (N, D) in the order given; raise an AudioError at the first bad one."""
        ...

    def embed_each(
        self,
        audio: Iterable[Item],
        on_error: Callable[[int, AudioError], None] | None = None,
        *,
        batch_size: int = 128,
    ) -> Iterator[Embedded]:
        """Yield an Embedded for each usable recording, in order; hand the others to `on_error`."""
        ...


def load(name_or_folder: str | os.PathLike[str], device: str = "cpu", *, mode: str | None = None) -> Runtime:
    """Return the runtime of a model folder, ready to embed.

    `device` is "cpu", "cuda", "mps" or "auto". `mode` ("sliding" or "full") replaces the model's own way of
    scoring; it changes the fingerprint. Raise UnknownModel, BadModel, BadConfig, DeviceUnavailable, and
    MissingExtra where torch is not installed.

    Example: `voxid.load("runs/bilstm").embed("me.wav")` is a float32 array of `dim` numbers.
    """
    folder = Path(name_or_folder).expanduser()
    if not folder.is_dir():
        raise UnknownModel(
            f"no model {os.fspath(name_or_folder)!r}: voxid ships no model by a name yet, and there is no "
            "such folder. Give a folder that holds config.json and model.safetensors; "
            "`voxid train` and `voxid import-seed` write one."
        )
    try:
        from voxid.runtime.torch_engine import TorchRuntime
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] not in ("torch", "safetensors"):
            raise
        raise MissingExtra(
            f"this model needs {error.name}, which is not installed. Run: pip install 'voxid[train]'."
        ) from None
    return TorchRuntime.load(folder, device=device, mode=mode)
