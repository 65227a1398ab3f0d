"""What a teacher makes of the training speech: the embedding of every utterance, computed once and kept."""

# N utterances, D embedding

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from voxid.data.features_cache import to_float
from voxid.data.pack import Packed
from voxid.embed import Embedder
from voxid.errors import TrainingError
from voxid.files import atomic_write, user_cache

TOGETHER = 256  # utterances that are embedded between two reports


def teacher_embeddings(
    packed: Packed, teacher: Embedder, progress: Callable[[int, int], None] | None = None
) -> np.ndarray:
    """Return the teacher's embedding of each utterance, float32 (N, D), from the user's cache if it is there.

    Raise TrainingError when the teacher gives something that is not a number.
    """
    path = user_cache() / "teachers" / f"{packed.fingerprint[:20]}-{teacher.fingerprint[:20]}.npy"
    try:
        emb_ND = np.load(path, allow_pickle=False)
        if emb_ND.shape == (packed.n, teacher.dim) and np.isfinite(emb_ND).all():
            return emb_ND
    except (OSError, ValueError, EOFError):
        pass  # not there, or damaged: it is made again
    parts = []
    for first in range(0, packed.n, TOGETHER):
        numbers = range(first, min(first + TOGETHER, packed.n))
        parts.append(teacher.embed_waves([to_float(packed.wave(number)).numpy() for number in numbers]))
        packed.release()
        if progress:
            progress(numbers.stop, packed.n)
    emb_ND = np.concatenate(parts)
    if not np.isfinite(emb_ND).all():
        raise TrainingError(
            "the teacher gives NaN or infinity for some of the training speech. Take another."
        )
    with atomic_write(path) as file:
        np.save(file, emb_ND)
    return emb_ND
