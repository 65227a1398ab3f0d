"""Any file or buffer -> mono 16 kHz float32 samples, whole or in blocks; can they hold a voice, and how
much of it?"""

from voxid.audio.checks import MIN_DURATION_S, SILENCE_PEAK, Checker, check
from voxid.audio.reading import AudioInfo, blocks, info, load, read_blocks
from voxid.audio.sources import AUDIO_SUFFIXES, Source, open_source
from voxid.audio.speech import SpeechMeter, speech_mask, speech_seconds

__all__ = [
    "AUDIO_SUFFIXES",
    "MIN_DURATION_S",
    "SILENCE_PEAK",
    "AudioInfo",
    "Checker",
    "Source",
    "SpeechMeter",
    "blocks",
    "check",
    "info",
    "load",
    "open_source",
    "read_blocks",
    "speech_mask",
    "speech_seconds",
]
