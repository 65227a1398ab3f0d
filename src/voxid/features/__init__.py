"""Waveform -> features: torch modules, the one road used in training, inference and export; one a file.

Every member of FEATURES is a `Features` module (see base.py): `Feature(config)` with `.dim`, `.hop`,
`forward(wave_BS, samples_B=None) -> feat_BTF`, `frames(samples)` and `samples(frames)`.
"""

from voxid.features.base import Features
from voxid.features.fbank import Fbank, FbankConfig
from voxid.features.mel import Mel, MelConfig
from voxid.features.mfcc import Mfcc, MfccConfig
from voxid.features.wave import Wave, WaveConfig
from voxid.registry import Registry

FEATURES = Registry(
    "features",
    {
        "mfcc": "voxid.features.mfcc:Mfcc",
        "fbank": "voxid.features.fbank:Fbank",
        "mel": "voxid.features.mel:Mel",
        "wave": "voxid.features.wave:Wave",
    },
    needs=("forward", "packed", "frames", "samples"),
)

__all__ = [
    "FEATURES",
    "Fbank",
    "FbankConfig",
    "Features",
    "Mel",
    "MelConfig",
    "Mfcc",
    "MfccConfig",
    "Wave",
    "WaveConfig",
]
