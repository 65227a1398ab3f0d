"""What every engine offers, and the values it gives back. No torch.

Shapes: N utterances, D embedding.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

from voxid.errors import AudioError

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
    net_speech_s: float = math.nan  # seconds of it that are speech (`audio.speech`); NaN: not measured


class Embedded(NamedTuple):
    """One result of `embed_each`; unpacks as (index, embedding, info)."""

    position: int  # of the utterance in what was given
    embedding: np.ndarray  # float32 (D,)
    info: EmbedInfo


class Runtime(Protocol):
    """What every engine offers. The same audio gives the same numbers by every method (within 1e-5)."""

    @property
    def model(self) -> Any:
        """The model in use, with `.inference`, `.calibration`, `.cohort` and `.metadata`."""
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
