"""Any file or buffer -> mono 16 kHz float32 samples, whole or in blocks; can they hold a voice, and how
much of it?"""

from voxid.audio.checks import MIN_DURATION_S, SILENCE_PEAK, Checker, check
from voxid.audio.front import (
    LEAST_SPEECH_S,
    Inspected,
    Stretch,
    inspect,
    require_speech,
    speech_blocks,
    speech_only,
)
from voxid.audio.reading import AudioInfo, blocks, info, load, read_blocks
from voxid.audio.sources import AUDIO_SUFFIXES, Part, Source, is_one, name_of, open_source
from voxid.audio.speech import SpeechMeter, energy_mask, speech_mask, speech_seconds

__all__ = [
    "AUDIO_SUFFIXES",
    "LEAST_SPEECH_S",
    "MIN_DURATION_S",
    "SILENCE_PEAK",
    "AudioInfo",
    "Checker",
    "Inspected",
    "Part",
    "Source",
    "SpeechMeter",
    "Stretch",
    "blocks",
    "check",
    "energy_mask",
    "info",
    "inspect",
    "is_one",
    "load",
    "name_of",
    "open_source",
    "read_blocks",
    "require_speech",
    "speech_blocks",
    "speech_mask",
    "speech_only",
    "speech_seconds",
]
