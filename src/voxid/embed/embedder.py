"""From recordings to embeddings, whatever the engine: decode, gather, batch, average. No torch.

An engine brings a `Network`: waves to features, features to embeddings, in numpy arrays. All the rest is
here, once: which recordings share a batch, windows and their mean, recordings too long for memory, workers.

Windows of many utterances share batches of one constant shape; utterances without a whole window go by
batches of like length. Recordings over `LONG_S` seconds are walked in blocks. On a CPU several parts of the
recordings go this road side by side, each in a thread that keeps to one core.

Shapes: B batch, N utterances, S samples, T frames, F features per frame, M mel bands, W windows, U numbers in
an utterance's summary, D embedding.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from concurrent.futures import CancelledError
from contextlib import closing
from dataclasses import dataclass
from threading import Event
from typing import Any, NamedTuple, Protocol, TypeVar

import numpy as np

from voxid import audio as audio_room
from voxid.audio import Inspected, Source
from voxid.embed.decode import LONG_S, Decoded, decode, decode_ahead
from voxid.embed.windows import WindowEmbeddings, embed_windows
from voxid.errors import AudioError, BadAudioInput
from voxid.framing import Framing, Summing
from voxid.model.card import Card, InferenceConfig
from voxid.parallel import Workers, usable_cores
from voxid.types import SAMPLE_RATE

BLOCK_S = 5.0  # seconds of a long recording that are in memory at once
PIECE_S = 60.0  # seconds, at most, that a network sees at once of a long recording in full mode
GATHER_S = 120.0  # seconds of short recordings that are gathered for one worker
LEAST_S = 10.0  # seconds of recordings that are worth a worker of their own
MOST_WORKERS = 8
FEATURES_S = 30.0  # seconds of padded waveform that go through the features at once

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class EmbedInfo:
    """What was heard of one recording, and how its embedding came about.

    `net_speech_s` is the one measure of speech (`audio.speech`); NaN where it was not measured. `clipped` is
    a share of the samples, `level_dbfs` and `snr_db` are of the speech, None without any; `warnings` are
    short sentences for a person. They are those of `audio.Inspected`.

    >>> [found] = model.embed_each(["alice1.wav"])
    >>> found.info.total_s, found.info.net_speech_s > 2
    (4.0, True)
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
        """Return what `audio.inspect` found, with how the embedding came about.

        >>> from voxid import audio
        >>> EmbedInfo.of(audio.inspect("alice1.wav"), full_sequence=True, windows=1).total_s
        4.0
        """
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
    """One result of `embed_each`; unpacks as (index, embedding, info).

    >>> for position, emb_D, info in model.embed_each(["alice1.wav", "bob.wav"]):
    ...     print(position, emb_D.shape, info.total_s)
    0 (192,) 4.0
    1 (192,) 4.0
    """

    position: int  # of the utterance in what was given
    embedding: np.ndarray  # float32 (D,)
    info: EmbedInfo


class Network(Protocol):
    """What computes: everything in and out is a float32 numpy array. Safe to share between threads."""

    card: Card  # of the model that it computes
    engine: str  # what computes: an embedding kept for one engine is not taken for another's
    dim: int  # of an embedding, D
    pads: bool  # whether rows of different length may share a batch
    framing: Framing

    def pool(self, workers: int) -> Workers | None:
        """Return threads to compute in, each on one core; None: the caller's thread is best."""
        ...

    def features(self, wave_BS: np.ndarray, samples_B: np.ndarray | None) -> list[np.ndarray]:
        """Return feat_TF of each row, pauses left out if the model does; `samples_B` are its own samples."""
        ...

    def summing(self) -> Summing:
        """Return what takes the summary of an utterance together from its `log_mel`."""
        ...

    def log_mel(self, wave_S: np.ndarray) -> np.ndarray:
        """Return logmel_TM, what a frame is before the utterance's summary is known."""
        ...

    def features_of_part(self, wave_S: np.ndarray, summary_1U: np.ndarray, part: slice) -> np.ndarray:
        """Return feat_TF of `part` of the frames of a wave, by the summary of the whole utterance."""
        ...

    def encode(self, feat_BTF: np.ndarray, frames_B: np.ndarray | None) -> np.ndarray:
        """Return emb_BD; `frames_B` says how many frames are a row's own (None: all)."""
        ...


class Embedder:
    """Embeds recordings by a network of either engine. Safe to share between threads.

    The same audio gives the same numbers by every method (within 1e-5). Recordings longer than `long_s`
    seconds are read in blocks, in constant memory. In full mode they are cut into equal pieces of at most
    `PIECE_S` seconds, whose embeddings are averaged by their length; features are still normalised over the
    whole. On a CPU `workers` threads compute, each on one core (None: the cores there are, 8 at most).

    >>> model = voxid.load("voxid-base")
    >>> model.embed("alice1.wav").shape
    (192,)
    """

    def __init__(self, network: Network, *, long_s: float = LONG_S, workers: int | None = None) -> None:
        self.network = network
        self._inference = network.card.inference
        self._workers = network.pool(min(MOST_WORKERS, usable_cores()) if workers is None else workers)
        self._long_s = long_s

    @property
    def model(self) -> Card:
        """What the model is: `.inference`, `.calibration`, `.cohort`, `.metadata`.

        >>> model.model.inference.mode
        'full'
        """
        return self.network.card

    @property
    def fingerprint(self) -> str:
        """The sha256 of all that changes an embedding; embeddings of two fingerprints cannot be compared.

        Both engines have that of the torch model; a model in 8 bits has its own.

        >>> len(model.fingerprint)
        64
        """
        return self.model.fingerprint

    @property
    def engine(self) -> str:
        """What computes, and on which device.

        >>> model.engine
        'onnxruntime cpu'
        """
        return self.network.engine

    @property
    def sample_rate(self) -> int:
        """16,000 Hz; audio at another rate is resampled on the way in.

        >>> model.sample_rate
        16000
        """
        return SAMPLE_RATE

    @property
    def dim(self) -> int:
        """The length D of an embedding.

        >>> model.dim
        192
        """
        return self.network.dim

    @property
    def score_mode(self) -> str:
        """How an utterance becomes one embedding: "sliding" or "full".

        >>> model.score_mode
        'full'
        """
        return self._inference.mode

    def embed(self, audio: Any) -> np.ndarray:
        """Return the embedding float32 (D,), not normalised; raise an AudioError.

        >>> model.embed("alice1.wav").shape
        (192,)
        """
        [outcome] = self._outcomes([[decode(0, audio, self._long_s)]], batch_size=128)
        if isinstance(outcome, Decoded):
            assert outcome.error is not None
            raise outcome.error
        return outcome.embedding

    def embed_waves(self, waves: Sequence[np.ndarray], *, batch_size: int = 128) -> np.ndarray:
        """Return float32 (N, D) of samples (S,), mono float32 at 16 kHz: nothing is opened or checked.

        >>> model.embed_waves([voxid.audio.load("alice1.wav")]).shape
        (1, 192)
        """
        parts = self._even(list(waves), sum(wave.size for wave in waves) / SAMPLE_RATE)

        def embed(part: list[np.ndarray]) -> list[np.ndarray]:
            return [emb_D for emb_D, _, _ in self._embed_part(part, batch_size)]

        done = self._workers.map(embed, parts) if self._workers else map(embed, parts)
        rows = list(itertools.chain.from_iterable(done))
        return np.stack(rows) if rows else np.zeros((0, self.dim), np.float32)

    def embed_windows(
        self, audio: Source, window_s: float = 1.5, step_s: float = 0.75, *, vad: str | None = "energy"
    ) -> WindowEmbeddings:
        """Return the windows of a recording, of `window_s` seconds, one every `step_s`, each embedded alone.

        The last window ends with the recording; one shorter than a window is a window of its own. `vad` finds
        the speech that is counted in each (None: none is counted). Raise an AudioError; BadConfig for times.

        >>> import voxid
        >>> from voxid.corpora.synthetic import speak, voice
        >>> speech = speak(voice(0), 3.0, np.random.default_rng(0))
        >>> windows = voxid.load("voxid-base").embed_windows((speech, 16_000))
        >>> windows.start_s.tolist(), windows.embeddings.shape
        ([0.0, 0.75, 1.5], (3, 192))
        """
        return embed_windows(self.embed_waves, audio, window_s, step_s, vad=vad, keep_s=self._long_s)

    def embed_many(
        self,
        audio: Iterable[Any],
        *,
        batch_size: int = 128,
        progress: Callable[[int, int], None] | None = None,
    ) -> np.ndarray:
        """Return float32 (N, D), rows in the order given; raise an AudioError at the first bad recording.

        >>> model.embed_many(["alice1.wav", "alice2.wav", "bob.wav"]).shape
        (3, 192)
        """
        if audio_room.is_one(audio) or not isinstance(audio, Iterable):
            raise BadAudioInput(
                f"embed_many takes a list of recordings, got one {type(audio).__name__}. "
                "Use embed for one, or put it into a list."
            )
        items = list(audio)
        emb_ND = np.empty((len(items), self.dim), np.float32)
        for done, (index, emb_D, _) in enumerate(
            self.embed_each(items, batch_size=batch_size, vad=None), start=1
        ):
            emb_ND[index] = emb_D
            if progress is not None:
                progress(done, len(items))
        return emb_ND

    def embed_each(
        self,
        audio: Iterable[Any],
        on_error: Callable[[int, AudioError], None] | None = None,
        *,
        batch_size: int = 128,
        vad: str | None = "energy",
    ) -> Iterator[Embedded]:
        """Yield an Embedded for each usable recording, in order, in constant memory.

        `audio` may be endless; background threads open, check and measure it, once. A recording that raises
        AudioError is handed to `on_error(index, error)` and left out; without `on_error` the error is raised.
        `batch_size` is the number of windows the network takes at once, `vad` what finds speech
        (`audio.inspect`); with None it is not measured, which saves a tenth of the time or more.

        >>> left_out = []
        >>> found = list(model.embed_each(["none.wav", "bob.wav"], lambda *why: left_out.append(why)))
        >>> [one.position for one in found]
        [1]
        >>> left_out[0][1].reason
        'missing'
        """
        with (
            closing(decode_ahead(audio, long_s=self._long_s, vad=vad)) as stream,
            closing(self._outcomes(self._parts(stream), batch_size)) as outcomes,
        ):
            for outcome in outcomes:
                if isinstance(outcome, Embedded):
                    yield outcome
                    continue
                assert outcome.error is not None
                if on_error is None:
                    raise outcome.error
                on_error(outcome.index, outcome.error)

    def _parts(self, stream: Iterable[Decoded]) -> Iterator[list[Decoded]]:
        """Yield the recordings in parts for one worker each, in order; a long recording is a part."""
        gathered: list[Decoded] = []
        seconds = 0.0
        for decoded in stream:
            if decoded.long:
                yield from self._even(gathered, seconds)
                yield [decoded]
                gathered, seconds = [], 0.0
                continue
            gathered.append(decoded)
            seconds += max(decoded.samples / SAMPLE_RATE, 1.0)  # an endless row of errors has to end too
            if seconds >= GATHER_S:
                yield gathered
                gathered, seconds = [], 0.0
        yield from self._even(gathered, seconds)

    def _even(self, gathered: list[T], seconds: float) -> Iterator[list[T]]:
        """Yield the last recordings, shared out among the workers, in order."""
        most = self._workers.workers if self._workers else 1
        parts = max(1, min(most, len(gathered), round(seconds / LEAST_S)))
        ends = [len(gathered) * part // parts for part in range(parts + 1)]
        yield from (gathered[start:end] for start, end in itertools.pairwise(ends) if end > start)

    def _outcomes(self, parts: Iterable[list[Decoded]], batch_size: int) -> Generator[Embedded | Decoded]:
        """Yield an Embedded for each recording, or what was decoded with its error, in order."""
        left = Event()

        def embed(part: list[Decoded]) -> list[Embedded | Decoded]:
            if not part[0].long:
                return self._embed_gathered(part, batch_size)
            try:
                return [self._embed_long(part[0], batch_size, left)]
            except AudioError as error:
                return [Decoded(part[0].index, error=error)]

        done = self._workers.map(embed, parts) if self._workers else map(embed, parts)
        try:
            for outcomes in done:
                yield from outcomes
        finally:
            left.set()  # a worker on a long recording stops after its block

    def _embed_gathered(self, gathered: list[Decoded], batch_size: int) -> list[Embedded | Decoded]:
        """Return the embeddings of recordings in memory, in their order; those with an error as they are."""
        waves = [decoded.wave for decoded in gathered if decoded.wave is not None]
        made = iter(self._embed_part(waves, batch_size))
        outcomes: list[Embedded | Decoded] = []
        for decoded in gathered:
            if decoded.found is None:
                outcomes.append(decoded)
                continue
            emb_D, full, windows = next(made)
            outcomes.append(Embedded(decoded.index, emb_D, EmbedInfo.of(decoded.found, full, windows)))
        return outcomes

    def _embed_part(self, waves: list[np.ndarray], batch_size: int) -> list[tuple[np.ndarray, bool, int]]:
        """Return (embedding, by its full sequence, windows) of each wave."""
        inference = self._inference
        feats_TF = self._features(waves)
        whole = [_is_whole(len(feat_TF), inference) for feat_TF in feats_TF]
        windows = [
            _windows(feat_TF, inference) for feat_TF, full in zip(feats_TF, whole, strict=True) if not full
        ]
        by_window = iter(self._mean_of_windows(windows, batch_size))
        by_sequence = iter(
            self._full_sequences(
                [feat_TF for feat_TF, full in zip(feats_TF, whole, strict=True) if full],
                batch_size * inference.window,
            )
        )
        counts = iter(map(len, windows))
        return [
            (next(by_sequence), True, 1) if full else (next(by_window), False, next(counts)) for full in whole
        ]

    def _features(self, waves: list[np.ndarray]) -> list[np.ndarray]:
        """Return feat_TF of each wave; waves of like length share a batch."""
        feats: list[np.ndarray] = [_NOTHING] * len(waves)
        for rows in _alike([wave.size for wave in waves], int(FEATURES_S * SAMPLE_RATE), self.network.pads):
            wave_BS, samples_B = _padded([waves[row] for row in rows])
            for row, feat_TF in zip(rows, self.network.features(wave_BS, samples_B), strict=True):
                feats[row] = feat_TF
        return feats

    def _mean_of_windows(self, windows: list[np.ndarray], batch_size: int) -> list[np.ndarray]:
        """Return for each utterance's windows (W, T, F) the mean of their embeddings."""
        if not windows:
            return []
        windows_WTF = np.concatenate(windows)
        batches = np.array_split(windows_WTF, -(-len(windows_WTF) // batch_size))  # of one size, but for one
        emb_WD = np.concatenate([self.network.encode(feat_BTF, None) for feat_BTF in batches])
        ends = np.cumsum([len(part) for part in windows])[:-1]
        return [part_WD.mean(axis=0) for part_WD in np.split(emb_WD, ends)]

    def _full_sequences(self, feats_TF: list[np.ndarray], frames: int) -> list[np.ndarray]:
        """Return each utterance's embedding by its full sequence; a batch holds about `frames` frames."""
        embeddings = [_NOTHING] * len(feats_TF)
        for rows in _alike([len(feat_TF) for feat_TF in feats_TF], frames, self.network.pads):
            feat_BTF, frames_B = _padded([feats_TF[row] for row in rows])
            for row, emb_D in zip(rows, self.network.encode(feat_BTF, frames_B), strict=True):
                embeddings[row] = emb_D
        return embeddings

    def _embed_long(self, decoded: Decoded, batch_size: int, left: Event) -> Embedded:
        """Return the embedding of a recording read in blocks, twice: for its summary, then its features.

        Raise CancelledError once `left` is set: nobody waits for the result any more.
        """
        assert decoded.found is not None
        summing = self.network.summing()
        for wave_S, frames in self.network.framing.cut(_blocks(decoded.found, left), np.concatenate):
            summing.add(self.network.log_mel(wave_S)[frames])
        feats = self._features_of(decoded.found, summing.value(), left)
        full = _is_whole(summing.frames, self._inference)
        if full:
            emb_D, windows = self._mean_of_pieces(feats, summing.frames), 1
        else:
            emb_D, windows = self._mean_of_stream(feats, batch_size)
        return Embedded(decoded.index, emb_D, EmbedInfo.of(decoded.found, full, windows))

    def _features_of(self, found: Inspected, summary_1U: np.ndarray, left: Event) -> Iterator[np.ndarray]:
        """Yield the features feat_TF of a long recording, piece by piece."""
        for wave_S, frames in self.network.framing.cut(_blocks(found, left), np.concatenate):
            yield self.network.features_of_part(wave_S, summary_1U, frames)

    def _mean_of_pieces(self, feats: Iterable[np.ndarray], frames: int) -> np.ndarray:
        """Return the mean of the embeddings of equal pieces of `frames` frames, weighted by their length."""
        most = max(1, int(PIECE_S * SAMPLE_RATE) // self.network.framing.hop)
        count = -(-frames // most)
        ends = [frames * piece // count for piece in range(1, count + 1)]
        total_D, done, kept_TF = np.zeros(self.dim), 0, None
        for feat_TF in feats:
            kept_TF = feat_TF if kept_TF is None else np.concatenate([kept_TF, feat_TF])
            while ends and done + len(kept_TF) >= ends[0]:
                length = ends.pop(0) - done
                total_D += length * self.network.encode(kept_TF[None, :length], None)[0].astype(np.float64)
                kept_TF, done = kept_TF[length:], done + length
        if ends and kept_TF is not None and len(kept_TF):  # rounding made a pause of a frame that was none
            total_D += len(kept_TF) * self.network.encode(kept_TF[None], None)[0].astype(np.float64)
            done += len(kept_TF)
        return (total_D / done).astype(np.float32)

    def _mean_of_stream(self, feats: Iterable[np.ndarray], batch_size: int) -> tuple[np.ndarray, int]:
        """Return the mean of all windows' embeddings and their number, from features in pieces feat_TF."""
        inference = self._inference
        total_D, count, kept_TF = np.zeros(self.dim), 0, None
        for feat_TF in feats:
            kept_TF = feat_TF if kept_TF is None else np.concatenate([kept_TF, feat_TF])
            if len(kept_TF) < inference.window:
                continue
            windows_WTF = _whole_windows(kept_TF, inference)
            for start in range(0, len(windows_WTF), batch_size):
                emb_BD = self.network.encode(windows_WTF[start : start + batch_size], None)
                total_D += emb_BD.sum(axis=0, dtype=np.float64)
            count += len(windows_WTF)
            kept_TF = kept_TF[len(windows_WTF) * inference.step :]
        if kept_TF is not None and (last_1TF := _last_window(kept_TF, inference, count)) is not None:
            total_D += self.network.encode(last_1TF, None)[0].astype(np.float64)
            count += 1
        return (total_D / count).astype(np.float32), count


_NOTHING = np.empty(0, np.float32)


def _blocks(found: Inspected, left: Event) -> Iterator[np.ndarray]:
    """Yield the blocks of a long recording; raise CancelledError once `left` is set."""
    for wave_S in found.blocks(BLOCK_S):
        if left.is_set():
            raise CancelledError
        yield wave_S


def _is_whole(frames: int, inference: InferenceConfig) -> bool:
    """Return whether so many frames are embedded as they are, not by windows."""
    return inference.mode == "full" or (frames < inference.window and inference.coverage is None)


def _windows(feat_TF: np.ndarray, inference: InferenceConfig) -> np.ndarray:
    """Return the windows (W, window, F), `step` frames apart."""
    if inference.coverage is None:
        return _whole_windows(feat_TF, inference)
    count = max(0, (len(feat_TF) - inference.window) // inference.step + 1)
    windows = [_whole_windows(feat_TF, inference)] if count else []
    if (last_1TF := _last_window(feat_TF[count * inference.step :], inference, count)) is not None:
        windows.append(last_1TF)
    return np.concatenate(windows)


def _last_window(rest_TF: np.ndarray, inference: InferenceConfig, before: int) -> np.ndarray | None:
    """Return what is left after `before` windows with zeros behind it (1, window, F), if it counts."""
    if inference.coverage is None or (before and len(rest_TF) <= inference.coverage * inference.window):
        return None
    return np.pad(rest_TF, ((0, inference.window - len(rest_TF)), (0, 0)))[None]


def _whole_windows(feat_TF: np.ndarray, inference: InferenceConfig) -> np.ndarray:
    """Return the whole windows (W, window, F), `step` frames apart, of at least one window of frames."""
    windows_XFT = np.lib.stride_tricks.sliding_window_view(feat_TF, inference.window, axis=0)
    return windows_XFT[:: inference.step].transpose(0, 2, 1)


def _padded(rows: list[np.ndarray]) -> tuple[np.ndarray, np.ndarray | None]:
    """Return rows of like length as one array, padded with zeros, and their lengths unless all are equal."""
    lengths = [len(row) for row in rows]
    if len(rows) == 1:  # may be long: no copy
        return rows[0][None], None
    if len(set(lengths)) == 1:
        return np.stack(rows), None
    padded = np.zeros((len(rows), max(lengths), *rows[0].shape[1:]), np.float32)
    for number, row in enumerate(rows):
        padded[number, : len(row)] = row
    return padded, np.array(lengths)


def _alike(lengths: list[int], room: int, pads: bool) -> list[list[int]]:
    """Return groups of positions, longest first; a group padded to its longest fits in `room`, or is one.

    Within a group the shortest is at least three quarters of the longest, so that little is padding; where
    nothing may be padded, all are equal.
    """
    groups: list[list[int]] = []
    for row in sorted(range(len(lengths)), key=lambda row: -lengths[row]):
        longest = lengths[groups[-1][0]] if groups else 0
        near = lengths[row] * 4 >= longest * 3 if pads else lengths[row] == longest
        if groups and near and (len(groups[-1]) + 1) * longest <= room:
            groups[-1].append(row)
        else:
            groups.append([row])
    return groups
