"""Were these speakers met before? A calibration tested on its own speakers looks better than it is.

Two sets of speakers are compared by name and by voice, because neither is enough: other corpora use the same
names, and the same person may have other recordings in both sets.

# S speakers, D embedding
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Self
from zipfile import BadZipFile

import numpy as np

from voxid.errors import BadModel, BadScores, EvaluationError
from voxid.evaluation.embedding import Voices
from voxid.files import atomic_write
from voxid.scoring import cosine, unit_rows
from voxid.trials.data import EvaluationData
from voxid.types import plural

CALIBRATION_SPEAKERS = "calibration-speakers.npz"  # in the model folder
TESTED_SPEAKERS = "speakers-{}.npz"  # in a report's folder, one for each model
SAME_RECORDINGS = 0.9999  # cosine of two (centred) means that only the same recordings reach
KNOWN = 0.5  # of the speakers of one name, the share that must sound alike to call them the same people


@dataclass(frozen=True, eq=False)
class SpeakerSet:
    """The names of some speakers, and the mean of each one's embeddings (S, D), rows of length 1."""

    names: list[str]
    mean_SD: np.ndarray

    @classmethod
    def of(cls, data: EvaluationData, voices: Voices) -> Self:
        """Return the speakers of the utterances that have an embedding."""
        speaker_U = data.speakers()[voices.row_N >= 0]
        there, row_U = np.unique(speaker_U, return_inverse=True)
        sum_SD = np.zeros((there.size, voices.emb_UD.shape[1]))
        np.add.at(sum_SD, row_U, unit_rows(voices.emb_UD))
        names = data.speaker_names()
        return cls([names[s] for s in there], unit_rows(sum_SD))

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write `path` (.npz: names, means float32); raise DiskFull, NotWritable or OutputError."""
        with atomic_write(path) as file:
            np.savez(file, names=np.array(self.names, dtype=np.str_), means=self.mean_SD)

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Self:
        """Return what `save` wrote; raise BadModel for a damaged file."""
        try:
            with open(path, "rb") as file, np.load(file) as arrays:  # noqa: PTH123 - reads no pickles
                names, means = arrays["names"], arrays["means"].astype(np.float32)
            return cls([str(name) for name in names], unit_rows(means.reshape(len(names), -1)))
        except (OSError, ValueError, KeyError, EOFError, BadZipFile) as error:
            raise BadModel(
                f"{path} is damaged ({error}). Delete it, or calibrate the model again: voxid calibrate."
            ) from None

    def apart_from(self, cohort: Self, what: str, force: bool) -> list[str]:
        """Return a warning where speakers of `what`, these, are in the cohort; without `force`, raise.

        Raise EvaluationError.
        """
        if not (met := self.common(cohort)):
            return []
        are = "is" if len(met) == 1 else "are"
        known = f"{plural(len(met), 'speaker')} of the {what} {are} in the cohort"
        if not force:
            names = ", ".join(met[:3]) + ", ..." * (len(met) > 3)
            raise EvaluationError(
                f"{known} too ({names}): scoring would know them. Take a cohort of other speakers, or "
                "override this with --force."
            )
        return [f"{known}: scores are too good"]

    def common(self, other: SpeakerSet) -> list[str]:
        """Return the speakers of this set who are in `other` too, as far as names and voices tell.

        A speaker is if the very same recordings are, under whatever name; or by name, when at least half of
        the speakers named alike are also nearest in voice to their namesakes. Names are compared without the
        folder in front ("LibriSpeech/19" is "19").
        """
        if not self.names or len(other.names) < 2 or self.mean_SD.shape[1] != other.mean_SD.shape[1]:
            return []
        centre_D = other.mean_SD.mean(axis=0)  # of a weak model, all voices look one way
        try:
            table_SS = cosine(self.mean_SD - centre_D, other.mean_SD - centre_D)
        except BadScores:  # all voices are one and the same to this model
            return []
        there = {Path(name).name: column for column, name in enumerate(other.names)}
        shared = {
            row: there[Path(name).name] for row, name in enumerate(self.names) if Path(name).name in there
        }
        alike = {row for row, column in shared.items() if table_SS[row].argmax() == column}
        same = {int(row) for row in np.flatnonzero(table_SS.max(axis=1) > SAME_RECORDINGS)}
        if len(alike) >= max(2, KNOWN * len(shared)):
            same |= alike
        return [self.names[row] for row in sorted(same)]
