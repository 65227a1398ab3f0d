"""What every engine offers, and the values it gives back. No torch.

Shapes: N utterances, D embedding.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

from voxid.errors import AudioError

if TYPE_CHECKING:
    import numpy as np

    from voxid.audio import Inspected, Source


@dataclass(frozen=True, slots=True)
class EmbedInfo:
    """What was heard of one recording, and how its embedding came about.

    `net_speech_s` is the one measure of speech (`audio.speech`); NaN where it was not measured. `clipped` is
    a share of the samples, `level_dbfs` and `snr_db` are of the speech, None without any; `warnings` are
    short sentences for a person. They are those of `audio.Inspected`.
    """

    total_s: float
    full_sequence: bool  # embedded by its full sequence, because asked for or shorter than a window
    windows: int  # how many window embeddings were averaged; 1 for a full sequence
    net_speech_s: float = math.nan
    clipped: float = 0.0
    level_dbfs: float | None = None
    snr_db: float | None = None
    unlike: bool = False  # two channels of different sound were averaged
    warnings: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        object.__setattr__(self, "warnings", tuple(self.warnings))  # JSON knows only lists

    @classmethod
    def of(cls, found: Inspected, full_sequence: bool, windows: int) -> EmbedInfo:
        """Return what `audio.inspect` found, with how the embedding came about."""
        return cls(
            found.total_s,
            full_sequence,
            windows,
            found.net_speech_s,
            found.clipped,
            found.level_dbfs,
            found.snr_db,
            found.unlike,
            found.warnings,
        )


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

    def embed(self, audio: Source) -> np.ndarray:
        """Return the embedding float32 (D,) of one recording; raise an AudioError."""
        ...

    def embed_waves(self, waves: Sequence[np.ndarray], *, batch_size: int = 128) -> np.ndarray:
        """Return embeddings float32 (N, D) of samples (S,), mono float32 at 16 kHz, which nobody checks."""
        ...

    def embed_many(
        self,
        audio: Iterable[Source],
        *,
        batch_size: int = 128,
        progress: Callable[[int, int], None] | None = None,
    ) -> np.ndarray:
        """Return embeddings float32 (N, D) in the order given; raise an AudioError at the first bad one."""
        ...

    def embed_each(
        self,
        audio: Iterable[Source],
        on_error: Callable[[int, AudioError], None] | None = None,
        *,
        batch_size: int = 128,
        vad: str | None = "energy",
    ) -> Iterator[Embedded]:
        """Yield an Embedded for each usable recording, in order; hand the others to `on_error`."""
        ...
