"""A timeline as one HTML page that loads nothing: the waveform by speaker, click to listen.

# S samples, P peaks
"""

from __future__ import annotations

import base64
import hashlib
import html
import io
import json
import os
import shlex
from pathlib import Path
from string import Template
from urllib.parse import quote

import numpy as np
import soundfile

from voxid.audio import Part, Source, inspect
from voxid.timeline.values import Timeline
from voxid.types import SAMPLE_RATE

PEAKS = 2_000
EMBED_S = 1_800.0  # a longer recording is linked: half an hour of MP3 is 5 MB or so
KBIT_S = 24  # of 16 kHz MP3: clear enough to tell voices
HERE = Path(__file__).parent


def page(
    timeline: Timeline, audio: Source, *, folder: str | os.PathLike[str] = ".", options: str = ""
) -> str:
    """Return the page. The recording is in it as MP3; a file of more than half an hour is linked.

    `folder` is where the page will lie, for that link. `options` end the command that enrolls somebody, as
    ` --db people.db`. Names are data, never markup.

    >>> made = page(rec.timeline("alice1.wav"), "alice1.wav")
    >>> made.startswith("<!doctype html>"), "data:audio/mpeg" in made
    (True, True)
    """
    part = Part.of(audio)
    path = os.fspath(part.source) if isinstance(part.source, str | os.PathLike) else ""
    path = path if isinstance(path, str) else os.fsdecode(path)
    linked = bool(path) and timeline.total_s > EMBED_S
    peak_P, mp3 = _read(part, timeline.total_s, with_sound=not linked)
    sound = f"The sound is the file {path}: keep it where it is." if linked else "The sound is in this page."
    script = (HERE / "page.js").read_text("utf-8")
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    said = timeline.to_dict()
    data = {
        **{key: said[key] for key in ("turns", "speakers", "total_s", "warnings")},
        "name": Path(path).name or timeline.source,
        "path": path or "FILE",
        "where": options,
        "peaks": peak_P.tolist(),
        "sound": sound,
        "src": quote(os.path.relpath(path, folder)) if linked else f"data:audio/mpeg;base64,{mp3}",
    }
    text = json.dumps(data, ensure_ascii=False)
    return Template((HERE / "page.html").read_text("utf-8")).substitute(
        HASH=f"sha256-{digest}",
        MEDIA="* file: data:" if linked else "data:",
        TITLE=html.escape(f"{data['name']}: who spoke when"),
        DATA=text.replace("&", "\\u0026").replace("<", "\\u003c").replace(">", "\\u003e"),
        SCRIPT=script,
    )


def options_of(**given: str) -> str:
    """Return options of a command as a shell reads them.

    >>> options_of(db="my people.db")
    " --db 'my people.db'"
    """
    return "".join(f" --{name} {shlex.quote(value)}" for name, value in given.items())


def _read(part: Part, total_s: float, with_sound: bool) -> tuple[np.ndarray, str]:
    """Return how loud each of PEAKS pieces is, 0 to 255, and the recording as MP3 in base64."""
    memory = io.BytesIO()
    file = None
    if with_sound:
        level = 1 - (KBIT_S - 8) / (160 - 8)  # libsndfile's scale between the highest rate and the lowest
        file = soundfile.SoundFile(
            memory, "w", SAMPLE_RATE, 1, format="MP3", subtype="MPEG_LAYER_III", compression_level=level
        )
    peak_P, at = np.zeros(PEAKS, np.float32), 0
    for wave_S in inspect(part, vad=None).blocks():
        place_S = np.minimum(
            (np.arange(at, at + wave_S.size) / SAMPLE_RATE / total_s * PEAKS).astype(int), PEAKS - 1
        )
        np.maximum.at(peak_P, place_S, np.abs(wave_S))
        at += wave_S.size
        if file is not None:
            file.write(wave_S)
    if file is not None:
        file.close()
    scaled_P = 255 * peak_P / max(float(peak_P.max()), 1e-6)
    return scaled_P.astype(int), base64.b64encode(memory.getvalue()).decode()
