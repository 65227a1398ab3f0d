"""Any file or buffer -> mono 16 kHz float32 samples, whole or in blocks; and can they hold a voice?"""

from voxid.audio.checks import MIN_DURATION_S, SILENCE_PEAK, Checker, check
from voxid.audio.reading import AudioInfo, blocks, info, load, read_blocks
from voxid.audio.sources import AUDIO_SUFFIXES, Source, open_source

__all__ = [
    "AUDIO_SUFFIXES",
    "MIN_DURATION_S",
    "SILENCE_PEAK",
    "AudioInfo",
    "Checker",
    "Source",
    "blocks",
    "check",
    "info",
    "load",
    "open_source",
    "read_blocks",
]
