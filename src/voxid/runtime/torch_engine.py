"""The torch engine: waveform -> features -> encoder -> embedding, in batches.

Windows of many utterances share batches of one constant shape; utterances without a whole window go by
length-sorted, padded batches. Recordings over `LONG_S` seconds are walked in blocks. On a CPU several parts
of the recordings go this road side by side, each in a thread that keeps to one core.

Shapes: B batch, N utterances, S samples, T frames, F features per frame, W windows, D embedding.
"""

from __future__ import annotations

import copy
import itertools
import os
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import CancelledError
from contextlib import closing
from threading import Event
from typing import Any, Self

import numpy as np
import torch
from torch import Tensor

from voxid import audio as audio_room
from voxid.errors import AudioError, BadAudioInput
from voxid.model import InferenceConfig, Model
from voxid.runtime.decode import LONG_S, Decoded, Recording, decode, decode_ahead, usable_cores
from voxid.runtime.device import pick_device
from voxid.runtime.protocol import Embedded, EmbedInfo
from voxid.threads import OneThreadWorkers
from voxid.types import SAMPLE_RATE

BLOCK_S = 60.0  # seconds of a long recording that are in memory at once
GATHER_S = 120.0  # seconds of short recordings that are gathered for one worker
LEAST_S = 10.0  # seconds of recordings that are worth a worker of their own
MOST_WORKERS = 8
FEATURES_S = 60.0  # seconds of padded waveform that go through the features at once


class TorchRuntime:
    """A model in eval mode on one device. Safe to share between threads.

    It keeps its own copy of the model, so that training may go on with the one it was given. Recordings
    longer than `long_s` seconds are read in blocks: memory stays constant in sliding mode; in full mode
    the features of the whole recording are held, because the encoder needs all frames at once. On a CPU
    `workers` threads compute, each on one core (None: the cores there are, 8 at most); on other devices the
    caller's thread does.

    >>> model = Model.build({"name": "mfcc"}, {"name": "lstm", "layers": 1, "hidden": 8})
    >>> noise = np.random.default_rng(0).uniform(-0.1, 0.1, 16_000)
    >>> TorchRuntime(model).embed((noise, 16_000)).shape
    (16,)
    """

    def __init__(
        self, model: Model, device: str = "cpu", *, long_s: float = LONG_S, workers: int | None = None
    ) -> None:
        self._device = pick_device(device)
        self._model = copy.deepcopy(model).requires_grad_(False).eval().to(self._device)
        self._fingerprint = model.fingerprint
        self._long_s = long_s
        on_cpu = self._device.type == "cpu"
        count = min(MOST_WORKERS, usable_cores()) if workers is None else workers
        self._workers = OneThreadWorkers(count, "voxid-embed") if on_cpu else None

    @classmethod
    def load(cls, folder: str | os.PathLike[str], *, device: str = "cpu", mode: str | None = None) -> Self:
        """Return the runtime of a model folder; see `voxid.runtime.load`."""
        model = Model.load(folder)
        if mode is not None:
            model.inference = InferenceConfig.parse(
                {**model.inference.model_dump(), "mode": mode}, "inference"
            )
        return cls(model, device)

    @property
    def model(self) -> Model:
        """The model in use: a copy, without gradients."""
        return self._model

    @property
    def fingerprint(self) -> str:
        """The model's fingerprint at the time this runtime was made."""
        return self._fingerprint

    @property
    def engine(self) -> str:
        """What computes: an embedding kept for one engine is not taken for another's."""
        return f"torch {self._device.type}"

    @property
    def sample_rate(self) -> int:
        """16,000 Hz."""
        return SAMPLE_RATE

    @property
    def dim(self) -> int:
        """The length D of an embedding."""
        return self._model.dim

    @property
    def score_mode(self) -> str:
        """How an utterance becomes one embedding: "sliding" or "full"."""
        return self._model.inference.mode

    def embed(self, audio: Any) -> np.ndarray:
        """Return the embedding float32 (D,), not normalised; raise an AudioError."""
        return self.embed_with_info(audio).embedding

    def embed_with_info(self, audio: Any) -> Embedded:
        """Return the embedding together with how it came about; raise an AudioError."""
        decoded = decode(0, audio, self._long_s)
        [outcome] = self._outcomes([[decoded]], batch_size=128)
        if isinstance(outcome, Decoded):
            assert outcome.error is not None
            raise outcome.error
        return outcome

    def embed_many(
        self,
        audio: Iterable[Any],
        *,
        batch_size: int = 128,
        progress: Callable[[int, int], None] | None = None,
    ) -> np.ndarray:
        """Return float32 (N, D), rows in the order given; raise an AudioError at the first bad recording."""
        if isinstance(audio, str | bytes | os.PathLike):
            raise BadAudioInput(
                f"embed_many takes a list of recordings, got one {type(audio).__name__}. "
                "Use embed for one, or put it into a list."
            )
        items = list(audio)
        emb_ND = np.empty((len(items), self.dim), np.float32)
        for done, (index, emb_D, _) in enumerate(self.embed_each(items, batch_size=batch_size), start=1):
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
    ) -> Iterator[Embedded]:
        """Yield an Embedded for each usable recording, in order, in constant memory.

        `audio` may be endless; background threads read and decode it. A recording that raises AudioError
        is handed to `on_error(index, error)` and left out; without `on_error` the error is raised.
        `batch_size` is the number of windows the network takes at once.
        """
        with (
            closing(decode_ahead(audio, long_s=self._long_s)) as stream,
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

    def _even(self, gathered: list[Decoded], seconds: float) -> Iterator[list[Decoded]]:
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

    @torch.inference_mode()
    def _embed_gathered(self, gathered: list[Decoded], batch_size: int) -> list[Embedded | Decoded]:
        """Return the embeddings of recordings in memory, in their order; those with an error as they are."""
        self._model.eval()  # whatever a caller did to `.model`, dropout stays off
        inference = self._model.inference
        good = [decoded for decoded in gathered if decoded.wave is not None]
        feats_TF = self._features([decoded.wave for decoded in good if decoded.wave is not None])
        whole = [inference.mode == "full" or len(feat_TF) < inference.window for feat_TF in feats_TF]
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
        embedded = {
            decoded.index: Embedded(
                decoded.index,
                next(by_sequence if full else by_window),
                EmbedInfo(
                    decoded.samples / SAMPLE_RATE,
                    full,
                    1 if full else next(counts),
                    audio_room.speech_seconds(decoded.wave),
                ),
            )
            for decoded, full in zip(good, whole, strict=True)
            if decoded.wave is not None
        }
        return [embedded.get(decoded.index, decoded) for decoded in gathered]

    def _features(self, waves: list[np.ndarray]) -> list[Tensor]:
        """Return feat_TF of each wave; waves of like length share a padded batch."""
        feats: list[Tensor] = [torch.empty(0)] * len(waves)
        for rows in _alike([wave.size for wave in waves], int(FEATURES_S * SAMPLE_RATE)):
            samples_B = torch.tensor([waves[row].size for row in rows])
            wave_BS = torch.zeros(len(rows), int(samples_B.max()))
            for b, row in enumerate(rows):
                wave_BS[b, : waves[row].size] = torch.from_numpy(waves[row])
            padded = len(set(samples_B.tolist())) > 1
            feat_BTF = self._model.features(wave_BS.to(self._device), samples_B if padded else None)
            for b, row in enumerate(rows):
                feats[row] = feat_BTF[b, : self._model.features.frames(waves[row].size)]
        return feats

    def _mean_of_windows(self, windows: list[Tensor], batch_size: int) -> list[np.ndarray]:
        """Return for each utterance's windows (W, T, F) the mean of their embeddings."""
        if not windows:
            return []
        windows_WTF = torch.cat(windows)
        batches = windows_WTF.tensor_split(-(-len(windows_WTF) // batch_size))  # of one size, but for one
        emb_WD = torch.cat([self._model.encoder(feat_BTF) for feat_BTF in batches])
        means = [part.mean(dim=0) for part in emb_WD.split([len(part) for part in windows])]
        return list(torch.stack(means).float().cpu().numpy())

    def _full_sequences(self, feats_TF: list[Tensor], frames: int) -> list[np.ndarray]:
        """Return each utterance's embedding by its full sequence; a batch holds about `frames` frames."""
        embeddings = [np.empty(0)] * len(feats_TF)
        for rows in _alike([len(feat_TF) for feat_TF in feats_TF], frames):
            frames_B = torch.tensor([len(feats_TF[row]) for row in rows], device=self._device)
            feat_BTF = torch.nn.utils.rnn.pad_sequence([feats_TF[row] for row in rows], batch_first=True)
            padded = len({len(feats_TF[row]) for row in rows}) > 1
            emb_BD = self._model.encoder(feat_BTF, frames_B if padded else None).float().cpu().numpy()
            for row, emb_D in zip(rows, emb_BD, strict=True):
                embeddings[row] = emb_D
        return embeddings

    @torch.inference_mode()
    def _embed_long(self, decoded: Decoded, batch_size: int, left: Event) -> Embedded:
        """Return the embedding of a recording read in blocks, twice: for its summary, then its features.

        Raise CancelledError once `left` is set: nobody waits for the result any more.
        """
        assert decoded.recording is not None
        self._model.eval()
        samples, speech_s, summary = self._first_walk(decoded.recording, left)
        logmels = self._log_mel(_blocks(decoded.recording, left))
        feats = (self._model.features.from_log_mel(logmel_TM[None], summary)[0] for logmel_TM in logmels)
        inference = self._model.inference
        if inference.mode == "full" or self._model.features.frames(samples) < inference.window:
            emb_D, windows, full = self._full_sequences([torch.cat(list(feats))], 1)[0], 1, True
        else:
            emb_D, windows = self._mean_of_stream(feats, batch_size)
            full = False
        return Embedded(decoded.index, emb_D, EmbedInfo(samples / SAMPLE_RATE, full, windows, speech_s))

    def _first_walk(self, recording: Recording, left: Event) -> tuple[int, float, Tensor]:
        """Return (samples, seconds of speech, the features' summary); raise AudioError if unusable."""
        checker, meter = audio_room.Checker(), audio_room.SpeechMeter()

        def checked() -> Iterator[np.ndarray]:
            for wave_S in _blocks(recording, left):
                checker.add(wave_S)
                meter.add(wave_S)
                yield wave_S

        summary = self._model.features.summary(self._log_mel(checked()))
        recording.judge(checker)
        return checker.samples, meter.seconds(), summary

    def _log_mel(self, blocks: Iterable[np.ndarray]) -> Iterator[Tensor]:
        return self._model.features.log_mel_blocks(
            torch.from_numpy(wave_S).to(self._device) for wave_S in blocks
        )

    def _mean_of_stream(self, feats: Iterable[Tensor], batch_size: int) -> tuple[np.ndarray, int]:
        """Return the mean of all windows' embeddings and their number, from features in pieces feat_TF."""
        inference = self._model.inference
        total_D = torch.zeros(self.dim, dtype=torch.float64)
        count, kept_TF = 0, None
        for feat_TF in feats:
            kept_TF = feat_TF if kept_TF is None else torch.cat([kept_TF, feat_TF])
            if len(kept_TF) < inference.window:
                continue
            windows = _windows(kept_TF, inference)
            for feat_BTF in windows.split(batch_size):
                total_D += self._model.encoder(feat_BTF).sum(dim=0).cpu()
            count += len(windows)
            kept_TF = kept_TF[len(windows) * inference.step :]
        return (total_D / count).float().numpy(), count


def _blocks(recording: Recording, left: Event) -> Iterator[np.ndarray]:
    """Yield the blocks of a long recording; raise CancelledError once `left` is set."""
    for wave_S in recording.blocks(BLOCK_S):
        if left.is_set():
            raise CancelledError
        yield wave_S


def _windows(feat_TF: Tensor, inference: InferenceConfig) -> Tensor:
    """Return the whole windows (W, window, F), `step` frames apart, of at least one window of frames."""
    return feat_TF.unfold(0, inference.window, inference.step).transpose(1, 2)


def _alike(lengths: list[int], room: int) -> list[list[int]]:
    """Return groups of positions, longest first; a group padded to its longest fits in `room`, or is one.

    Within a group the shortest is at least three quarters of the longest, so that little is padding.
    """
    groups: list[list[int]] = []
    for row in sorted(range(len(lengths)), key=lambda row: -lengths[row]):
        longest = lengths[groups[-1][0]] if groups else 0
        if groups and (len(groups[-1]) + 1) * longest <= room and lengths[row] * 4 >= longest * 3:
            groups[-1].append(row)
        else:
            groups.append([row])
    return groups
