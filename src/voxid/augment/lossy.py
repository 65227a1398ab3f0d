"""What lossy codecs leave of a signal: each row is really encoded and decoded, by libsndfile.

Shapes: S samples.
"""

from __future__ import annotations

import io
from typing import Literal, get_args

import numpy as np
import soundfile as sf
import soxr

from voxid.types import SAMPLE_RATE

Codec = Literal["mp3", "vorbis", "opus", "gsm"]
Line = Literal["pcm", "a-law", "mu-law", "adpcm", "gsm", "celp"]
CODECS: tuple[Codec, ...] = get_args(Codec)
LINES = {"a-law": "ALAW", "mu-law": "ULAW", "adpcm": "IMA_ADPCM", "gsm": "GSM610"}
MP3_DELAY = 1105  # samples: of an encoder (576) and a decoder (529), where the file does not say so itself
LINE_RATE = 8000  # Hz
MOST_LEVEL = 0.999  # at 1 some of libsndfile's encoders refuse


def compress(wave_S: np.ndarray, codec: Codec | Line, level: float) -> np.ndarray:
    """Return wave_S, float32, encoded and decoded again, at its own loudness and in its own time.

    `level` is how hard to compress, 0 to 1: at 1 MP3 has 8 kbit/s, Opus about 6 to 8, Vorbis what it needs
    at its lowest quality. GSM 06.10 (ETSI EN 300 961), what mobile telephones began with, has one rate, 13
    kbit/s at 8 kHz. So have the other codecs of telephone lines: A-law and mu-law (ITU-T G.711), ADPCM, and
    "celp", Opus at 8 kHz, whose speech mode predicts from a code book as AMR does. Silence stays as it is.

    >>> wave_S = np.sin(np.arange(16_000) / 8).astype(np.float32)
    >>> coded_S = compress(wave_S, "mp3", 1.0)
    >>> coded_S.shape, bool(np.corrcoef(wave_S, coded_S)[0, 1] > 0.9)
    ((16000,), True)
    """
    top = float(np.abs(wave_S).max(initial=0.0))
    if top == 0:
        return wave_S
    scaled_S = wave_S / max(1.0, top)  # a codec would clip what is beyond full scale
    if codec in ("pcm", "celp") or codec in LINES:
        line_S = soxr.resample(scaled_S, SAMPLE_RATE, LINE_RATE)
        if codec == "celp":
            line_S = _through(line_S, "OGG", "OPUS", LINE_RATE, level)
        elif codec != "pcm":
            line_S = _through(line_S, "WAV", LINES[codec], LINE_RATE)
        decoded_S = soxr.resample(line_S, LINE_RATE, SAMPLE_RATE)
    elif codec == "mp3":
        decoded_S = _through(scaled_S, "MP3", "MPEG_LAYER_III", SAMPLE_RATE, level)
        if decoded_S.size >= wave_S.size + MP3_DELAY:  # too low a rate for the frame that tells the delay
            decoded_S = decoded_S[MP3_DELAY:]
    else:
        decoded_S = _through(scaled_S, "OGG", codec.upper(), SAMPLE_RATE, level)
    decoded_S = decoded_S[: wave_S.size]
    filled_S = np.pad(decoded_S, (0, wave_S.size - decoded_S.size))
    return (filled_S * max(1.0, top)).astype(np.float32)


def _through(
    wave_S: np.ndarray, container: str, subtype: str, rate: int, level: float | None = None
) -> np.ndarray:
    """Return what comes back of a file in memory."""
    file = io.BytesIO()
    options = {} if level is None else {"compression_level": min(level, MOST_LEVEL)}
    if container == "MP3":  # the others have one mode only
        options["bitrate_mode"] = "CONSTANT"  # pyright: ignore[reportArgumentType]
    sf.write(file, wave_S, rate, format=container, subtype=subtype, **options)  # pyright: ignore
    file.seek(0)
    return sf.read(file, dtype="float32")[0]
