"""The cohort: embeddings of strangers that travel with a model. Scores against it say how special a voice is.

# N utterances, C embeddings, M rows of the cohort (one a speaker), D embedding
"""

from __future__ import annotations

import hashlib
import io
import os
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Annotated

import numpy as np
from numpy.typing import ArrayLike
from pydantic import Field

from voxid.config import Config
from voxid.errors import BadCohort, BadModel
from voxid.files import atomic_write
from voxid.scoring.normalization import TOP_K, speaker_means, top_statistics
from voxid.scoring.scorers import cohort_rows, speaker_numbers
from voxid.scoring.similarity import other_models, unit_rows

COHORT_FILE = "cohort.npy"  # beside the model: plain numbers, read without pickle


class CohortInfo(Config):
    """What a calibration keeps about its cohort, so that another one in its place is noticed.

    >>> voxid.load("voxid-base").model.cohort.info.top_k > 0
    True
    """

    name: str
    rows: Annotated[int, Field(ge=1)]
    top_k: Annotated[int, Field(ge=1)] = TOP_K
    sha256: str
    model: str = ""  # fingerprint of the model that embedded it


@dataclass(frozen=True, slots=True, eq=False)
class Cohort:
    """Unit-length mean embeddings of speakers, `rows_MD` float32, and how many of the nearest count.

    `fingerprint` is of the model that made the embeddings, `name` of the corpus they come from.

    >>> import numpy as np
    >>> Cohort(np.ones((2, 3), np.float32), top_k=2, name="others").info.rows
    2
    """

    rows_MD: np.ndarray
    top_k: int = TOP_K
    name: str = ""
    fingerprint: str = ""

    @classmethod
    def of(
        cls,
        emb_CD: ArrayLike,
        speaker_C: ArrayLike,
        *,
        top_k: int = TOP_K,
        name: str = "",
        fingerprint: str = "",
    ) -> Cohort:
        """Return the cohort of these embeddings: one row a speaker, the mean of unit-length embeddings.

        Raise BadCohort or BadScores.

        >>> Cohort.of(np.eye(3), ["a", "a", "b"], name="strangers").rows_MD.shape
        (2, 3)
        """
        emb = cohort_rows(emb_CD, "cohort_mean")
        rows_MD = speaker_means(unit_rows(emb), speaker_numbers(speaker_C, len(emb)))
        if top_k < 1:
            raise BadCohort(f"top_k is the number of nearest speakers that count, 1 or more; got {top_k!r}.")
        return cls(rows_MD, min(top_k, len(rows_MD)), name, fingerprint)

    def joined(self, emb_ND: ArrayLike, name: str) -> Cohort:
        """Return this cohort under another name, with recordings without names, one row for each.

        Raise BadScores.

        >>> Cohort(np.eye(2, 3, dtype=np.float32)).joined(np.ones((2, 3)), "mine").info.rows
        4
        """
        return replace(self, rows_MD=np.concatenate((self.rows_MD, unit_rows(emb_ND))), name=name)

    def remembering(self) -> Cohort:
        """Return this cohort for one recording: its `means` looks at every embedding once.

        >>> Cohort(np.ones((2, 1), np.float32)).remembering().means([[1.0], [1.0]]).tolist()
        [1.0, 1.0]
        """
        return _Remembering(self.rows_MD, self.top_k, self.name, self.fingerprint)

    @property
    def info(self) -> CohortInfo:
        """What to keep in the calibration."""
        sha256 = hashlib.sha256(self.content()).hexdigest()
        return CohortInfo(
            name=self.name, rows=len(self.rows_MD), top_k=self.top_k, sha256=sha256, model=self.fingerprint
        )

    def means(self, emb_ND: ArrayLike) -> np.ndarray:
        """Return the mean cosine of each embedding with its `top_k` nearest of the cohort, (N,) float64.

        Raise BadScores for embeddings of another dimension, and as `unit_rows` does.

        >>> Cohort(np.eye(2, dtype=np.float32), top_k=1).means([[3.0, 0.0]]).tolist()
        [1.0]
        """
        unit_ND = unit_rows(emb_ND)
        if unit_ND.shape[1] != self.rows_MD.shape[1]:
            raise other_models(unit_ND.shape[1], self.rows_MD.shape[1])
        return top_statistics(unit_ND, self.rows_MD, min(self.top_k, len(self.rows_MD)))[0]

    def save(self, folder: str | os.PathLike[str]) -> None:
        """Write COHORT_FILE into `folder`, whole or not at all; raise an OutputError.

        >>> from pathlib import Path
        >>> Path("others").mkdir(exist_ok=True)
        >>> Cohort(np.eye(2, dtype=np.float32)).save("others")
        """
        with atomic_write(Path(folder) / COHORT_FILE) as file:
            file.write(self.content())

    @classmethod
    def load(cls, folder: str | os.PathLike[str], info: CohortInfo, dim: int | None = None) -> Cohort:
        """Return the cohort of `folder` that `info` describes, rows of `dim`; raise BadModel otherwise.

        >>> cohort = Cohort(np.eye(2, dtype=np.float32))
        >>> cohort.save(".")
        >>> Cohort.load(".", cohort.info).rows_MD.shape
        (2, 2)
        """
        path = Path(folder) / COHORT_FILE
        try:
            content = path.read_bytes()
        except OSError as error:
            raise BadModel(
                f"cannot read {path} ({error.strerror}), which the model's calibration needs. Copy the whole "
                "folder, or calibrate again."
            ) from None
        if (got := hashlib.sha256(content).hexdigest()) != info.sha256:
            raise BadModel(
                f"{path} is damaged or belongs to another calibration: its sha256 begins {got[:12]}, the "
                f"calibration says {info.sha256[:12]}. Copy the folder again, or calibrate again."
            )
        try:
            rows_MD = np.load(io.BytesIO(content), allow_pickle=False)
        except (ValueError, OSError, EOFError) as error:
            raise BadModel(f"{path} is not a .npy file ({error}). Copy the folder again.") from None
        rows, dims = info.rows, "D" if dim is None else dim
        fits = rows_MD.ndim == 2 and rows_MD.dtype == np.float32 and len(rows_MD) == rows
        if not (fits and dim in (None, rows_MD.shape[1]) and np.isfinite(rows_MD).all()):
            raise BadModel(
                f"{path} holds {rows_MD.dtype} {rows_MD.shape}; this model needs finite float32 "
                f"({rows}, {dims}). Calibrate again."
            )
        return cls(rows_MD, info.top_k, info.name, info.model)

    def content(self) -> bytes:
        """Return what COHORT_FILE holds: the rows as a .npy of float32.

        >>> Cohort(np.eye(2, dtype=np.float32)).content()[1:6]
        b'NUMPY'
        """
        file = io.BytesIO()
        np.save(file, np.ascontiguousarray(self.rows_MD, dtype="<f4"), allow_pickle=False)
        return file.getvalue()


@dataclass(frozen=True, slots=True, eq=False)
class _Remembering(Cohort):
    """Windows of a recording are compared again and again, and the cohort is most of what an LLR costs."""

    seen: dict[bytes, float] = field(default_factory=dict, repr=False)

    def means(self, emb_ND: ArrayLike) -> np.ndarray:
        """Return what `Cohort.means` does."""
        emb_ND = np.asarray(emb_ND)
        keys = [hashlib.blake2b(emb_D.tobytes(), digest_size=16).digest() for emb_D in emb_ND]
        new = [n for n, key in enumerate(keys) if key not in self.seen]
        if new:
            self.seen.update(
                zip([keys[n] for n in new], Cohort.means(self, emb_ND[new]).tolist(), strict=True)
            )
        return np.array([self.seen[key] for key in keys])
