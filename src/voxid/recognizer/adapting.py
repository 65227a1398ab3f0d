"""Recordings of other people, made like yours, make decisions right at your place. Nobody has to be named.

They join the strangers that came with the model: in a place where all recordings sound alike, whoever speaks
comes near to many of these strangers, and an LLR weighs that (`cohort_mean`). Networks and embeddings stay as
they are, and so does the fingerprint: people who are enrolled stay enrolled.

# N recordings, V voices, D embedding
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from voxid.audio import LEAST_SPEECH_S, require_speech
from voxid.corpora import scan
from voxid.corpora.files import audio_files
from voxid.embed import Embedder, find_model
from voxid.errors import AudioError, BadCohort, CorpusNotFound, NotCalibrated
from voxid.model.card import copy_model
from voxid.recognizer.hearing import calibration_of, runtime_of
from voxid.scoring import Cohort, Side, cosine
from voxid.scoring.evidence import llr_table
from voxid.types import plural, reasons

LEAST_VOICES = 10  # of a cohort: fewer say more of themselves than of the place
MANY_VOICES = 30  # a usual size: below it is pointed out
OF_ONE_VOICE = 3  # recordings, at most: one voice is no cohort
MOST_RECORDINGS = 2_000  # that are listened to; more bring nothing
SAME_VOICE_LLR = float(np.log(99))  # "same speaker" is likelier, if one pair in a hundred is
SAME_RECORDING = 0.9999  # cosine with a row of the cohort
MAYBE_SAME_LLR = float(np.log(19))  # in twenty: then they are not counted as two people


@dataclass(frozen=True)
class Adapted:
    """How many recordings were heard and joined, and how many speakers the cohort has now.

    Of recordings that sound like one person, OF_ONE_VOICE join. `voices` counts who sound unlike each other;
    in a place where all sound alike it is too low. `left_out` counts by reason what could not be used.

    >>> adapt("voxid-base", "calls/", "models/calls").voices  # doctest: +SKIP
    117
    """

    recordings: int
    voices: int
    joined: int
    strangers: int
    left_out: dict[str, int]
    warnings: tuple[str, ...] = ()


def adapt(
    model: str | os.PathLike[str],
    recordings: Any,
    out: str | os.PathLike[str],
    *,
    vad: str = "energy",
    device: str = "cpu",
    progress: Callable[[int, int], None] | None = None,
) -> Adapted:
    """Write a copy of the model whose decisions are adapted to `recordings`; return what was found.

    `recordings` is a folder (of audio at any depth), or a list of folders, files, lists of a corpus (.csv) or
    what else is audio to voxid; what is in the cohort already does not join again. Give recordings of 30
    people or more whom you will not enroll, recorded as those will be whom you enroll. No names are needed.
    Raise NotCalibrated for a model whose calibration uses no cohort, BadCohort for fewer than
    LEAST_VOICES voices, CorpusNotFound, a ModelError, an OutputError.

    >>> adapt("voxid-base", "calls/", "models/calls").joined  # doctest: +SKIP
    120
    """
    runtime, name = runtime_of(model, device)
    cohort, found = joined(runtime, name, recordings, progress, vad)
    held = calibration_of(runtime, name)
    copy_model(find_model(model), Path(out), held.model_copy(update={"cohort": cohort.info}), cohort)
    return found


def joined(
    runtime: Embedder,
    name: str,
    recordings: Any,
    progress: Callable[[int, int], None] | None = None,
    vad: str = "energy",
) -> tuple[Cohort, Adapted]:
    """Return the model's cohort with the voices of `recordings` in it. Raise as `adapt` does."""
    calibration, held = calibration_of(runtime, name), runtime.model.cohort
    if held is None:
        raise NotCalibrated(
            f"the calibration of {name} uses no cohort, so there is nothing that these recordings could "
            f"join. Run: voxid calibrate {name} --data D --quality cohort_mean --cohort OTHERS."
        )
    sides, left_out, warnings = _heard(runtime, _listed(recordings), progress, vad)
    llr_NN = llr_table(calibration, sides, sides, held)
    count = len(np.unique(voices(llr_NN, MAYBE_SAME_LLR)))
    if count < LEAST_VOICES:
        lost = f" (left out: {reasons(left_out)})" if left_out else ""
        raise BadCohort(
            f"heard {plural(count, 'voice')} in {plural(len(sides), 'recording')}{lost}, and "
            f"{LEAST_VOICES} voices are needed to adapt. Give recordings of other people, of {MANY_VOICES} "
            "or more if you can."
        )
    voice_N = voices(llr_NN, SAME_VOICE_LLR)
    rows = np.array(
        [n for n, voice in enumerate(voice_N) if np.sum(voice_N[:n] == voice) < OF_ONE_VOICE], int
    )
    nearest_R = cosine(sides.emb_ND[rows], held.rows_MD).max(axis=1)
    rows = rows[nearest_R < SAME_RECORDING]  # the others joined before
    if count < MANY_VOICES:
        warnings += (f"{count} voices are few to adapt to; {MANY_VOICES} people or more are usual",)
    if not rows.size:
        return held, Adapted(len(sides), count, 0, len(held.rows_MD), left_out, warnings)
    cohort = held.joined(sides.emb_ND[rows], f"{held.name}, and {rows.size} recordings of your own")
    return cohort, Adapted(len(sides), count, rows.size, len(cohort.rows_MD), left_out, warnings)


def voices(llr_NN: np.ndarray, least_llr: float) -> np.ndarray:
    """Return the number of each recording's voice, (N,): that of the first it sounds like, or a new one.

    >>> voices(np.array([[9.0, 5.0, -4.0], [5.0, 9.0, -4.0], [-4.0, -4.0, 9.0]]), least_llr=3.0).tolist()
    [0, 0, 1]
    """
    voice_N = np.full(len(llr_NN), -1)
    for first, llr_N in enumerate(llr_NN):
        if voice_N[first] < 0:
            like_N = (voice_N < 0) & (llr_N >= least_llr)
            voice_N[like_N] = voice_N[first] = voice_N.max() + 1
    return voice_N


def _listed(recordings: Any) -> list[Any]:
    """Return the recordings one by one: the audio files of folders, what a list names, and all others."""
    found: list[Any] = []
    for item in recordings if isinstance(recordings, list) else [recordings]:
        if isinstance(item, str | os.PathLike) and (folder := Path(item).expanduser()).is_dir():
            files = list(audio_files(folder))
            if not files:
                raise CorpusNotFound(f"no audio file lies below {folder}. Give a folder of recordings.")
            found += files
        elif isinstance(item, str | os.PathLike) and Path(item).suffix.lower() == ".csv":
            found += scan([Path(item).expanduser()])
        else:
            found.append(item)
    return found


def _heard(
    runtime: Embedder, clips: list[Any], progress: Callable[[int, int], None] | None, vad: str
) -> tuple[Side, dict[str, int], tuple[str, ...]]:
    """Return the recordings that can be used as sides, how many cannot, by reason, and warnings."""
    warnings: tuple[str, ...] = ()
    if len(clips) > MOST_RECORDINGS:
        warnings = (f"{MOST_RECORDINGS:,} of {len(clips):,} recordings were taken, evenly: more do not help",)
        clips = [clips[i] for i in np.linspace(0, len(clips) - 1, MOST_RECORDINGS).astype(int)]
    left_out: Counter[str] = Counter()
    rows: list[np.ndarray] = []
    seconds: list[float] = []

    def refused(_: int, error: AudioError) -> None:
        left_out.update([error.reason])

    for position, emb_D, info in runtime.embed_each(clips, refused, vad=vad):
        try:
            require_speech(info, LEAST_SPEECH_S, str(position))
        except AudioError as error:
            left_out.update([error.reason])
            continue
        rows.append(emb_D)
        seconds.append(info.net_speech_s)
        if progress is not None:
            progress(len(rows) + left_out.total(), len(clips))
    emb_ND = np.stack(rows) if rows else np.zeros((0, runtime.dim), np.float32)
    return Side.of(emb_ND, seconds), dict(left_out), warnings
