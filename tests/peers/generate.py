"""Draw a small network of each published kind in its own project's classes, and write down what it answers.

Run with an interpreter that has the projects (CONTRIBUTING.md says how to make one), not with voxid's:
`python tests/peers/generate.py -o tests/peers/witnesses.json.gz [--clovaai CHECKOUT]`. With `--checkpoints`
the networks are also saved there in their own formats. Resemblyzer's real weights come with its wheel.
"""

from __future__ import annotations

import argparse
import gzip
import json
import sys
import types
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import torch
from torch import nn

sys.path.insert(0, str(Path(__file__).parent))
from witness import drawn, wave

Embed = Callable[[nn.Module, torch.Tensor], torch.Tensor]


def fill(model: nn.Module) -> nn.Module:
    """Give the model its drawn weights; buffers that hold a window or bands stay as they are."""
    state = model.state_dict()
    shapes = {
        name: list(t.shape) for name, t in state.items() if not name.startswith(("torchfb", "instance"))
    }
    model.load_state_dict({n: torch.from_numpy(a) for n, a in drawn(shapes).items()}, strict=False)
    return model.eval()


def kaldi(wave_1S: torch.Tensor, **options: object) -> torch.Tensor:
    from torchaudio.compliance.kaldi import fbank

    feat_TF = fbank(wave_1S, dither=0.0, sample_frequency=16_000, **options)
    return (feat_TF - feat_TF.mean(0))[None]


def wespeaker(bins: int = 80) -> Embed:
    def embed(model: nn.Module, wave_1S: torch.Tensor) -> torch.Tensor:
        found = model(kaldi(wave_1S * 32768, num_mel_bins=bins, window_type="hamming"))
        return found[-1] if isinstance(found, tuple) else found

    return embed


def threedspeaker(model: nn.Module, wave_1S: torch.Tensor) -> torch.Tensor:
    from speakerlab.process.processor import FBank

    return model(FBank(80, sample_rate=16_000, mean_nor=True)(wave_1S)[None])


def speechbrain(model: nn.Module, wave_1S: torch.Tensor) -> torch.Tensor:
    from speechbrain.lobes.features import Fbank
    from speechbrain.processing.features import InputNormalization

    lengths = torch.ones(1)
    feat_BTF = InputNormalization(norm_type="sentence", std_norm=False)(Fbank(n_mels=80)(wave_1S), lengths)
    return model(feat_BTF, lengths)[:, 0]


def networks(clovaai: str | None) -> dict[str, tuple[str, nn.Module, Embed]]:
    """Return name -> (peer class, the drawn network, how its project embeds by it)."""
    moved = types.ModuleType("scipy.ndimage.morphology")  # resemblyzer imports from where scipy had it
    moved.binary_dilation = None
    sys.modules.setdefault("scipy.ndimage.morphology", moved)
    bare = types.ModuleType("wespeaker")  # its classes alone: the package asks for a detector of speech
    bare.__path__ = list(find_spec("wespeaker").submodule_search_locations)
    sys.modules["wespeaker"] = bare
    from speakerlab.models.campplus.DTDNN import CAMPPlus as Campplus3D
    from speechbrain.lobes import models as speechbrain_models
    from speechbrain.lobes.models import ECAPA_TDNN as _  # noqa: F401, N811
    from wespeaker.models.campplus import CAMPPlus
    from wespeaker.models.ecapa_tdnn import ECAPA_TDNN
    from wespeaker.models.redimnet import ReDimNet
    from wespeaker.models.resnet import BasicBlock, Bottleneck, ResNet

    square = [(3, 3)]
    stages = [(1, 1, 1, square, 8), (2, 2, 2, square, 4), (1, 1, 1, square, None)]
    small = {"feat_dim": 24, "C": 8, "stages_setup": stages, "embed_dim": 32}
    found: dict[str, tuple[str, nn.Module, Embed]] = {
        "wespeaker-ecapa": (
            "wespeaker ECAPA_TDNN",
            ECAPA_TDNN(64, 80, 48, "ASTP", global_context_att=False),
            wespeaker(),
        ),
        "wespeaker-ecapa-glob": (
            "wespeaker ECAPA_TDNN, global context and emb_bn",
            ECAPA_TDNN(64, 80, 48, "ASTP", global_context_att=True, emb_bn=True),
            wespeaker(),
        ),
        "wespeaker-resnet": (
            "wespeaker ResNet, BasicBlock",
            ResNet(BasicBlock, [1, 2, 1, 1], 8, 80, 48),
            wespeaker(),
        ),
        "wespeaker-resnet-bottleneck": (
            "wespeaker ResNet, Bottleneck, two layers, ASTP",
            ResNet(Bottleneck, [1, 1, 2, 1], 4, 80, 32, "ASTP", two_emb_layer=True),
            wespeaker(),
        ),
        "wespeaker-campplus": (
            "wespeaker CAMPPlus",
            CAMPPlus(80, 64, growth_rate=4, init_channels=8),
            wespeaker(),
        ),
        "3dspeaker-campplus": (
            "speakerlab CAMPPlus",
            Campplus3D(80, 64, growth_rate=4, init_channels=8),
            threedspeaker,
        ),
        "wespeaker-redimnet": (
            "wespeaker ReDimNet, basic_resnet",
            ReDimNet(**small, block_2d_type="basic_resnet", group_divisor=1, global_context_att=True),
            wespeaker(24),
        ),
        "wespeaker-redimnet-fwse": (
            "wespeaker ReDimNet, basic_resnet_fwse",
            ReDimNet(**small, block_2d_type="basic_resnet_fwse", group_divisor=1),
            wespeaker(24),
        ),
        "wespeaker-redimnet-convnext": (
            "wespeaker ReDimNet, convnext_like",
            ReDimNet(**small, block_2d_type="convnext_like", group_divisor=4),
            wespeaker(24),
        ),
        "speechbrain-ecapa": (
            "speechbrain ECAPA_TDNN",
            speechbrain_models.ECAPA_TDNN.ECAPA_TDNN(
                80, channels=[64] * 4 + [96], lin_neurons=48, attention_channels=32, se_channels=16
            ),
            speechbrain,
        ),
        "resemblyzer": ("resemblyzer VoiceEncoder", resemblyzer(), resemblyzed),
    }
    if clovaai:
        sys.path.insert(0, clovaai)
        from models.ResNetBlocks import SEBasicBlock
        from models.ResNetSE34L import ResNetSE

        for pooling in ("SAP", "ASP"):
            model = ResNetSE(SEBasicBlock, [1, 2, 1, 1], [8, 16, 32, 64], 48, pooling, n_mels=40)
            found[f"clovaai-{pooling.lower()}"] = f"clovaai ResNetSE, {pooling}", model, lambda m, w: m(w)
    return {name: (peer, fill(model), embed) for name, (peer, model, embed) in found.items()}


def resemblyzer() -> nn.Module:
    from resemblyzer import VoiceEncoder

    return VoiceEncoder("cpu", verbose=False)


def resemblyzed(model: nn.Module, wave_1S: torch.Tensor) -> torch.Tensor:
    from resemblyzer.audio import normalize_volume

    wave_S = normalize_volume(wave_1S[0].numpy(), -30, increase_only=True)
    return torch.from_numpy(model.embed_utterance(wave_S))[None]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("-o", "--out", type=Path, required=True)
    parser.add_argument("--clovaai", help="a checkout of clovaai/voxceleb_trainer")
    parser.add_argument("--checkpoints", type=Path)
    options = parser.parse_args()
    wave_1S, witnesses = torch.from_numpy(wave())[None], {}
    found = networks(options.clovaai)
    found["resemblyzer-real"] = "resemblyzer VoiceEncoder, its real weights", resemblyzer(), resemblyzed
    for name, (peer, model, embed) in found.items():
        with torch.no_grad():
            emb_D = embed(model, wave_1S)[0].numpy()
        shapes = {key: list(t.shape) for key, t in model.state_dict().items()}
        witnesses[name] = {"peer": peer, "embedding": [round(float(v), 7) for v in emb_D]}
        if name != "resemblyzer-real":
            witnesses[name]["shapes"] = shapes
        if options.checkpoints:
            (options.checkpoints / name).mkdir(parents=True, exist_ok=True)
            torch.save(model.state_dict(), options.checkpoints / name / "weights.pt")
        print(name, peer, emb_D.size, float(np.linalg.norm(emb_D)))
    options.out.write_bytes(gzip.compress(json.dumps(witnesses).encode(), mtime=0))


if __name__ == "__main__":
    main()
