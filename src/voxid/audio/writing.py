"""Samples to a file: whole or not at all."""

from __future__ import annotations

import io
import os

import numpy as np
import soundfile

from voxid.files import atomic_write
from voxid.types import SAMPLE_RATE


def write_wav(path: str | os.PathLike[str], wave_S: np.ndarray) -> None:
    """Write mono 16 kHz samples (S,) as a 16-bit WAV file; raise an OutputError, and then nothing changed."""
    memory = io.BytesIO()
    soundfile.write(memory, wave_S, SAMPLE_RATE, format="WAV", subtype="PCM_16")
    with atomic_write(path) as file:
        file.write(memory.getbuffer())
