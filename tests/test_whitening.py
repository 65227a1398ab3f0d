"""Whitening after the training: what it does to embeddings, and that the last layer does the same."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from packing import make_pack
from torch import nn

from voxid.data.pack import Packed
from voxid.encoders import ENCODERS
from voxid.errors import BadRecipe, NotEnoughSpeakers
from voxid.model.network import Model
from voxid.training import load_recipe, train
from voxid.training.whitening import WhiteningConfig, fit, usable, whiten

ECAPA = {"name": "ecapa", "channels": 16, "scale": 4, "squeeze": 8, "aggregate": 24, "embedding": 6}
RESNET = {"name": "resnet", "channels": 4, "blocks": [1, 2], "embedding": 6}
CAMPPLUS = {"name": "campplus", "front": 4, "channels": 8, "growth": 4, "bottleneck": 16, "embedding": 6}
CAMPPLUS |= {"blocks": [2, 2], "dilations": [1, 2], "segment": 7}


def test_what_differs_inside_speakers_is_white_and_corpora_count_alike() -> None:
    rng = np.random.default_rng(0)
    mix_DD = rng.normal(size=(3, 3))
    means_KD = rng.normal(size=(40, 3)) * 5
    speakers_N = np.repeat(np.arange(40), 50)
    emb_ND = means_KD[speakers_N] + rng.normal(size=(2000, 3)) @ mix_DD
    made = fit(emb_ND, speakers_N, np.zeros(2000, int), strength=0.999999)
    assert made.center_D == pytest.approx(means_KD.mean(axis=0), abs=0.2)
    out_ND = (emb_ND - made.center_D) @ made.project_DD
    inside_ND = out_ND - np.stack([out_ND[speakers_N == k].mean(axis=0) for k in range(40)])[speakers_N]
    assert inside_ND.T @ inside_ND / (2000 - 40) == pytest.approx(np.eye(3), abs=1e-3)

    # Another corpus of 4 recordings moves the centre half the way to itself, whatever it is beside.
    both_ND = np.concatenate([emb_ND, emb_ND[:4] * 0 + 100])
    two = fit(
        both_ND, np.r_[speakers_N, [40, 40, 41, 41]], np.r_[np.zeros(2000, int), np.ones(4, int)], strength=0
    )
    assert two.center_D == pytest.approx((made.center_D + 100) / 2)
    assert two.project_DD == pytest.approx(np.eye(3) * two.project_DD[0, 0])  # strength 0: only centred


@pytest.mark.parametrize("table", [ECAPA, RESNET, CAMPPLUS], ids=lambda table: table["name"])
def test_the_last_layer_takes_an_affine_map(table: dict) -> None:
    torch.manual_seed(0)
    cls, config = ENCODERS.parse(table)
    encoder = cls(config, 20)
    norm = encoder.head.norm_embedding
    if isinstance(norm, nn.BatchNorm1d):
        nn.init.uniform_(norm.running_mean, -0.5, 0.5)
        nn.init.uniform_(norm.running_var, 0.5, 1.5)
        if norm.affine:
            nn.init.uniform_(norm.weight, 0.5, 1.5)
            nn.init.uniform_(norm.bias, -0.5, 0.5)
    encoder.eval()
    feat_BTF, center_D, project_DD = torch.randn(4, 50, 20), torch.randn(6), torch.randn(6, 6)
    with torch.no_grad():
        before_BD = encoder(feat_BTF)
        encoder.head.affine(center_D, project_DD)
        after_BD = encoder(feat_BTF)
    torch.testing.assert_close(after_BD, (before_BD - center_D) @ project_DD, atol=1e-4, rtol=1e-4)


@pytest.fixture(scope="module")
def packed(tmp_path_factory: pytest.TempPathFactory) -> Packed:
    return make_pack(tmp_path_factory.mktemp("pack"), [3, 3, 2, 1], seconds=1.0)


def test_recordings_are_long_enough_and_have_company(packed: Packed) -> None:
    config = WhiteningConfig(min_seconds=0.5)
    numbers = usable(packed, config)
    assert sorted(np.bincount(packed.speakers_N[numbers]).tolist()) == [2, 3, 3]  # not the one alone
    assert len(usable(packed, WhiteningConfig(min_seconds=0.5, recordings=4))) == 4
    with pytest.raises(
        NotEnoughSpeakers, match=r"recordings of 60 s or more each, got 0\. Lower whitening\.min_s"
    ):
        usable(packed, WhiteningConfig(min_seconds=60))


def test_whitened_embeddings_are_centred_and_the_metadata_says_so(packed: Packed) -> None:
    from voxid.embed import Embedder
    from voxid.embed.torch import TorchNetwork

    torch.manual_seed(0)
    model = Model.build({"name": "fbank", "bins": 20}, ECAPA, {"mode": "full"})
    before = model.fingerprint
    assert whiten(model, packed, WhiteningConfig(min_seconds=0.5)) == 8
    assert model.fingerprint != before
    assert model.metadata["whitening"]["used"] == 8
    numbers = usable(packed, WhiteningConfig(min_seconds=0.5))
    emb_ND = Embedder(TorchNetwork(model)).embed_many([(packed.wave(n), 16_000) for n in numbers])
    speakers_N = packed.speakers_N[numbers]
    means_KD = np.stack([emb_ND[speakers_N == k].mean(axis=0) for k in np.unique(speakers_N)])
    assert np.abs(means_KD.mean(axis=0)).max() < 1e-4 * np.linalg.norm(emb_ND, axis=1).mean()


def test_a_recipe_whitens_at_the_end_and_again_after_a_resume(packed: Packed, tmp_path: Path) -> None:
    recipe = tmp_path / "r.toml"
    recipe.write_text(
        "name = 'r'\ndescription = 'r'\n[features]\nname = 'fbank'\nbins = 20\n"
        "[encoder]\nname = 'ecapa'\nchannels = 16\nscale = 4\nsqueeze = 8\naggregate = 24\nembedding = 6\n"
        "[loss]\nname = 'aam'\n[optimizer]\nname = 'adamw'\nlr = 1e-3\n"
        "[data]\nsampler = 'uniform'\nrows = 4\nwindow = 20\n[training]\nsteps = 3\nthreads = 1\n"
    )
    plain = train(load_recipe(recipe), packed, tmp_path / "plain").folder
    white = load_recipe(recipe, ["whitening.min_seconds=0.5"])
    run = train(white, packed, tmp_path / "white").folder
    weights = (run / "model.safetensors").read_bytes()
    assert weights != (plain / "model.safetensors").read_bytes()
    train(white, packed, tmp_path / "white", resume=True)
    assert (run / "model.safetensors").read_bytes() == weights  # once, not twice
    train(white, packed, tmp_path / "plain", resume=True)  # whitening changes no step: it may come later
    assert (plain / "model.safetensors").read_bytes() == weights


def test_an_encoder_without_a_last_layer_is_refused_before_the_training(
    packed: Packed, tmp_path: Path
) -> None:
    recipe = load_recipe("bilstm-clean100", ["whitening.min_seconds=0.5", "training.steps=1"])
    with pytest.raises(BadRecipe, match="the encoder 'lstm' ends without one"):
        train(recipe, packed, tmp_path / "run")
    assert not (tmp_path / "run").exists()
