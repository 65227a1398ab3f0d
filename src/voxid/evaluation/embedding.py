"""Embed each utterance that the trials use exactly once per model, or take it from the cache.

# N utterances of the data, U of them used, D embedding
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Generator
from contextlib import closing
from dataclasses import dataclass
from time import perf_counter

import numpy as np

from voxid.audio.front import check_vad
from voxid.embed import Embedded, Embedder
from voxid.errors import AudioError, BadCohort
from voxid.evaluation.cache import Contents, EmbeddingCache
from voxid.scoring import Side, reference
from voxid.trials import Trials
from voxid.trials.data import EvaluationData
from voxid.types import Dropped

KEEP_EVERY = 500  # embeddings: what an interruption can cost

Progress = Callable[[int, int], None]


@dataclass(frozen=True, eq=False)
class Voices:
    """The embeddings of some utterances of the data by one model, and how they came about.

    `row_N` (int32) is the row of each utterance of the data, -1 where it is not used or was left out.
    `speech_s_U` are the seconds heard, `net_speech_s_U` those of them with a voice (NaN: not measured).
    """

    emb_UD: np.ndarray
    row_N: np.ndarray
    speech_s_U: np.ndarray
    net_speech_s_U: np.ndarray
    full_sequence: int
    left_out: list[Dropped]
    from_cache: int
    seconds: float
    warnings: list[str]
    clips_U: np.ndarray | None = None  # None: each row is one recording

    @property
    def sides(self) -> Side:
        """The rows as sides of trials."""
        sides = Side.of(self.emb_UD, self.net_speech_s_U)
        return sides if self.clips_U is None else dataclasses.replace(sides, clips_N=self.clips_U)

    @property
    def utterances(self) -> int:
        """How many utterances have an embedding."""
        return len(self.emb_UD)


def embed_used(
    runtime: Embedder,
    data: EvaluationData,
    used_U: np.ndarray,
    *,
    speech: bool = True,
    vad: str = "energy",
    cache: EmbeddingCache | None = None,
    progress: Progress | None = None,
) -> Voices:
    """Return the embeddings of the utterances numbered `used_U` (ascending, no number twice).

    `vad` measures net speech, and the `cache` has to be that of what it measured. Without `speech` nobody
    reads the seconds: they are not measured, and may be NaN, which saves a tenth of the time or more.
    Utterances that raise an AudioError are left out and listed. With a cache, only those it does not know are
    embedded, and kept in it as the work goes on. Raise BadConfig for a `vad` that there is not.
    """
    check_vad(vad)
    begin = perf_counter()
    left_out: list[Dropped] = []
    found: dict[int, Embedded] = {}
    known = 0
    results = _results(runtime, data, used_U, vad if speech else None, cache, left_out)
    with closing(results):  # keeps what it has at a stop
        for is_known, result in results:
            found[result.position] = result
            known += is_known
            if progress is not None:
                progress(len(found) + len(left_out), used_U.size)
    if progress is not None and left_out:
        progress(used_U.size, used_U.size)
    positions = sorted(found)
    row_N = np.full(len(data.utterances), -1, dtype=np.int32)
    row_N[used_U[positions]] = np.arange(len(positions), dtype=np.int32)
    return Voices(
        emb_UD=np.stack([found[position].embedding for position in positions])
        if positions
        else np.zeros((0, runtime.dim), np.float32),
        row_N=row_N,
        speech_s_U=np.array([found[position].info.total_s for position in positions]),
        net_speech_s_U=np.array([found[position].info.net_speech_s for position in positions]),
        full_sequence=sum(found[position].info.full_sequence for position in positions),
        left_out=sorted(left_out, key=lambda dropped: dropped.utterance),
        from_cache=known,
        seconds=perf_counter() - begin,
        warnings=list(cache.warnings) if cache else [],
    )


def embed_cohort(
    runtime: Embedder,
    others: EvaluationData,
    cache: EmbeddingCache | None = None,
    progress: Progress | None = None,
) -> tuple[Voices, np.ndarray, list[str]]:
    """Return the embeddings of a cohort, whose each is (U,), and a warning where some had to be left out.

    Raise BadCohort where none of its recordings can be used.
    """
    everyone = np.arange(len(others.utterances))
    voices = embed_used(runtime, others, everyone, speech=False, cache=cache, progress=progress)
    warnings = []
    if lost := voices.left_out:
        said = f"of {everyone.size} recordings of the cohort {others.name}"
        if not voices.utterances:
            raise BadCohort(f"none {said} can be used. The first: {lost[0].detail}")
        warnings = [f"{len(lost)} {said} could not be used. The first: {lost[0].detail}"]
    return voices, others.speakers()[voices.row_N >= 0], warnings


def with_models(voices: Voices, trials: Trials) -> Voices:
    """Return `voices` with a row for each enrollment model, at its number; unchanged without models.

    A model is the `reference` of its utterances. Utterances that could not be embedded are passed over (a
    warning counts such models); a model of which none could be has no row, so its trials are lost, and
    counted.
    """
    models = trials.models
    if models is None:
        return voices
    row_E = voices.row_N[models.utterance_E]
    model_E = np.repeat(np.arange(len(models)), np.diff(models.begin))
    row_E, model_E = row_E[row_E >= 0], model_E[row_E >= 0]
    heard_M = np.bincount(model_E, minlength=len(models))
    made, begin = np.unique(model_E, return_index=True)
    row_M = np.full(len(models), -1, dtype=np.int32)
    row_M[made] = voices.utterances + np.arange(made.size)
    row_N = np.concatenate((voices.row_N, row_M))
    partial = int(np.count_nonzero((heard_M > 0) & (heard_M < np.diff(models.begin))))
    note = [f"{partial} enrollment models are made of fewer utterances than the trials ask for"]
    warnings = [*voices.warnings, *note * (partial > 0)]
    if not made.size:
        return dataclasses.replace(voices, row_N=row_N, warnings=warnings)
    enrolled = reference(voices.emb_UD[row_E], voices.net_speech_s_U[row_E], begin)
    speech_s_M = np.add.reduceat(voices.speech_s_U[row_E], begin)
    return dataclasses.replace(
        voices,
        emb_UD=np.concatenate((voices.emb_UD, enrolled.emb_ND)),
        row_N=row_N,
        speech_s_U=np.concatenate((voices.speech_s_U, speech_s_M)),
        net_speech_s_U=np.concatenate((voices.net_speech_s_U, enrolled.speech_s_N)),
        clips_U=np.concatenate((voices.sides.clips_N, enrolled.clips_N)),
        warnings=warnings,
    )


def _results(
    runtime: Embedder,
    data: EvaluationData,
    used_U: np.ndarray,
    vad: str | None,
    cache: EmbeddingCache | None,
    left_out: list[Dropped],
) -> Generator[tuple[bool, Embedded]]:
    """Yield (was known, result) with positions in `used_U`; add the unusable to `left_out`."""
    contents = Contents()
    keys_U = [contents.key(data.audio(int(i))) for i in used_U] if cache else [None] * used_U.size
    known = cache.get(keys_U) if cache else {}
    if vad:  # what was kept without is embedded again, and measured
        known = {at: one for at, one in known.items() if not math.isnan(one[1].net_speech_s)}
    for position, (emb_D, info) in known.items():
        yield True, Embedded(position, emb_D, info)
    unknown = [position for position in range(used_U.size) if position not in known]

    def leave_out(place: int, error: AudioError) -> None:
        utterance = data.utterances[used_U[unknown[place]]]
        left_out.append(Dropped(utterance.utterance, utterance.path, error.reason, str(error)))

    fresh: list[Embedded] = []

    def keep() -> None:
        kept = [result for result in fresh if contents.unchanged(data.audio(int(used_U[result.position])))]
        if cache:
            cache.put([keys_U[r.position] for r in kept], [(r.embedding, r.info) for r in kept])
        fresh.clear()

    try:
        for place, emb_D, info in runtime.embed_each(
            (data.audio(int(used_U[position])) for position in unknown),
            leave_out,
            vad=vad,
        ):
            result = Embedded(unknown[place], emb_D, info)
            if cache:
                fresh.append(result)
            yield False, result
            if len(fresh) >= KEEP_EVERY:
                keep()
    finally:
        keep()
