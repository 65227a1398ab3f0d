"""What a training on many corpora is made of: who is drawn, what a row is told from, where classes start.

Shapes: N utterances, B rows, C classes, D embedding, S samples.
"""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import torch

from voxid.augment import AugmentConfig, Sources, WaveAugment
from voxid.augment.faults import FAULTS, LSB, Fault, spoil
from voxid.augment.lossy import Line, compress
from voxid.data.batches import Batches, DataConfig
from voxid.data.pack import Packed, PackWriter
from voxid.data.samplers import (
    CorpusSampler,
    SpeakerSampler,
    groups_of,
    sessions_of,
    shares_of,
)
from voxid.embed import Embedder
from voxid.embed.torch import TorchNetwork
from voxid.errors import BadConfig, ModelError
from voxid.losses import LOSSES
from voxid.training import initial_model, load_recipe, train
from voxid.training.start import class_centers
from voxid.types import SAMPLE_RATE, Utterance

SMALL = [
    "encoder.channels=8", "encoder.scale=2", "encoder.squeeze=4", "encoder.aggregate=12",
    "encoder.attention=4", "encoder.embedding=8", "features.bins=20", "augment=none", "data.rows=6",
    "data.window=20", "data.window_max=none", "data.speeds=[0.9]", "schedule={kind='constant'}",
    "training.steps=6", "training.save_every=3", "training.log_every=3", "training.threads=1",
    "training.parts=1", "whitening=none",
]  # fmt: skip


@pytest.fixture(scope="module")
def packed(tmp_path_factory: pytest.TempPathFactory) -> Packed:
    """Two corpora: "wide" of ten speakers, one with one clip, one in another language; "deep": sessions."""
    rng = np.random.default_rng(0)
    said = [("wide", s, 1 if s == 0 else 2, "en" if s < 9 else "sw", "") for s in range(10)]
    said += [("deep", s, 6, "de", "mon tue tue tue tue tue") for s in range(3)]
    with PackWriter(tmp_path_factory.mktemp("world")) as writer:
        for corpus, s, clips, language, sessions in said:
            for clip in range(clips):
                t = np.arange(SAMPLE_RATE) / SAMPLE_RATE
                wave_S = 0.2 * np.sign(np.sin(2 * np.pi * (90 + 30 * s) * t)) + 0.02 * rng.standard_normal(
                    t.size
                )
                name = f"{corpus}/{s:02d}"
                session = sessions.split()[clip] if sessions else ""
                writer.add(
                    Utterance(
                        name, f"{name}-{clip}", f"/{name}-{clip}.wav", language=language, session=session
                    ),
                    wave_S.astype(np.float32),
                )
        writer.finish(["/world"], [])
        folder = writer.folder
    return Packed.open(folder)


# -- who is drawn --------------------------------------------------------------------------------------


def test_sessions_of_a_speaker_are_equally_likely(packed: Packed) -> None:
    corpus_N = np.array([name.startswith("wide") for name in packed.speaker_names], int)[packed.speakers_N]
    session_N = sessions_of(packed)
    deep = np.flatnonzero(corpus_N == 0)
    sampler = CorpusSampler(
        corpus_N, packed.speakers_N, deep, 3, 0, 2.0, by_speaker=True, sessions_N=session_N
    )
    drawn = np.concatenate([sampler.batch(step) for step in range(4000)])
    mondays = [name.endswith("-0") for name in packed.utterances()]
    assert np.array(mondays)[drawn].mean() == pytest.approx(
        0.5, abs=0.03
    )  # one clip of six, one session of two
    spoken = np.bincount(packed.speakers_N[drawn])
    assert (spoken[spoken > 0] / len(drawn)).tolist() == pytest.approx([1 / 3] * 3, abs=0.02)


def test_pairs_of_pk_are_of_different_sessions(packed: Packed) -> None:
    session_N = sessions_of(packed)
    deep = np.flatnonzero(np.array([name.startswith("deep") for name in packed.utterances()]))
    sampler = SpeakerSampler(packed.speakers_N, deep, 2, 2, seed=0, sessions_N=session_N)
    pair_P2 = sampler.batch(0).reshape(-1, 2)
    assert (session_N[pair_P2[:, 0]] != session_N[pair_P2[:, 1]]).all()


def test_a_speaker_with_one_clip_comes_less_often(packed: Packed) -> None:
    numbers, corpus_N = np.arange(packed.n), np.zeros(packed.n, int)
    sampler = CorpusSampler(corpus_N, packed.speakers_N, numbers, 2, 0, by_speaker=True, lone=0.25)
    drawn = packed.speakers_N[np.concatenate([sampler.batch(step) for step in range(5000)])]
    lone = packed.speaker_names.index("wide/00")
    assert (drawn == lone).mean() == pytest.approx(0.25 / 12.25, abs=0.006)


def test_shares_by_name_leave_the_rest_to_the_others() -> None:
    names = ["a/words", "b", "c"]
    fixed = shares_of(names, {"words": 0.1})
    sampler = CorpusSampler(np.repeat([0, 1, 2], 10), np.arange(30), np.arange(30), 8, 0, 1.0, fixed=fixed)
    assert sampler.shares.tolist() == pytest.approx([0.1, 0.45, 0.45])
    with pytest.raises(BadConfig, match=r"no corpus 'word' in the prepared speech.*'a/words'"):
        shares_of(names, {"word": 0.1})
    with pytest.raises(BadConfig, match=r"together they are 1\.2"):
        shares_of(names, {"b": 0.6, "c": 0.6})


def test_groups_are_corpora_and_languages_of_enough_speakers(packed: Packed) -> None:
    group_P = dict(zip(packed.speaker_names, groups_of(packed, by_language=True).tolist(), strict=True))
    assert group_P["wide/00"] == group_P["wide/08"]
    assert group_P["wide/09"] not in (group_P["wide/00"], group_P["deep/00"])  # alone, a group for small ones
    assert len(set(groups_of(packed, by_language=False).tolist())) == 2


# -- what a row is told from ---------------------------------------------------------------------------


@pytest.mark.parametrize("table", [{"name": "aam"}, {"name": "am", "top_k": 2}, {"name": "sphereface2"}])
def test_classes_of_other_groups_do_not_count(table: dict) -> None:
    """The loss with a mask is the loss without the hidden classes; speeds are the same speakers again."""
    emb_BD = torch.nn.functional.normalize(torch.randn(6, 4, generator=torch.Generator().manual_seed(0)))
    labels_B = torch.tensor([0, 1, 4, 5, 0, 5])  # of group 0: speakers 0 and 1, at two speeds
    loss_class, config = LOSSES.parse(table, "loss")
    whole = loss_class(config, 4, 8)
    whole.set_groups(torch.tensor([0, 0, 1, 1]))
    few = loss_class(config, 4, 4)
    with torch.no_grad():
        few.weight.copy_(whole.weight[[0, 1, 4, 5]])
        whole.weight[[2, 3, 6, 7]] = emb_BD[:4]  # so near that they would count
    expected = few(emb_BD, torch.tensor([0, 1, 2, 3, 0, 3]))
    tolerance = 1e-3 if table["name"] == "sphereface2" else 1e-5  # its hidden classes are far, not gone
    assert whole(emb_BD, labels_B).item() == pytest.approx(expected.item(), rel=tolerance)
    assert float(whole.active) == float(few.active)


def test_the_gradient_of_a_masked_loss_is_finite() -> None:
    loss_class, config = LOSSES.parse({"name": "aam", "top_k": 3}, "loss")
    loss = loss_class(config, 4, 6)
    loss.set_groups(torch.tensor([0, 1, 1, 1, 1, 1]))  # speaker 0 has no rival at all
    emb_BD = torch.randn(2, 4, generator=torch.Generator().manual_seed(0)).requires_grad_()
    loss(emb_BD, torch.tensor([0, 1])).backward()
    assert emb_BD.grad is not None
    assert bool(emb_BD.grad.isfinite().all())
    assert bool(loss.weight.grad.isfinite().all())


# -- where classes start -------------------------------------------------------------------------------


def test_classes_start_at_their_speakers(packed: Packed) -> None:
    recipe = load_recipe("base-world", [*SMALL, "data.shares={}"])
    model = initial_model(recipe).eval()
    batches = Batches(packed, model.features, recipe.data, 0, None)
    center_CD = class_centers(model, batches)
    assert center_CD.shape == (26, 8)
    torch.testing.assert_close(center_CD.norm(dim=1), torch.ones(26))
    emb_ND = torch.from_numpy(
        Embedder(TorchNetwork(model)).embed_many([(packed.wave(i), SAMPLE_RATE) for i in range(packed.n)])
    )
    emb_ND = torch.nn.functional.normalize(emb_ND)
    own_N = (emb_ND * center_CD[torch.from_numpy(packed.speakers_N.astype(np.int64))]).sum(dim=1)
    assert float(own_N.mean()) > 0.95
    loss_class, config = LOSSES.parse({"name": "aam", "sub_centers": 2}, "loss")
    loss = loss_class(config, 8, 26)
    loss.set_centers(center_CD)
    assert loss.cosines(center_CD).diagonal().min().item() > 0.99


def test_a_constant_training_goes_on_with_stages_decided_later(packed: Packed, tmp_path: Path) -> None:
    """Warm-up, stable, decay: what comes at the end is given when the end is decided."""
    options = [*SMALL, "data.shares={}"]
    model = initial_model(load_recipe("base-world", options))
    model.save(tmp_path / "init")
    recipe = load_recipe("base-world", [*options, "training.steps=1000", "training.max_seconds=1"])
    train(recipe, packed, tmp_path / "run", init=tmp_path / "init")
    done = max(
        int(path.stem.partition("-")[2]) for path in (tmp_path / "run" / "checkpoints").glob("step-*.pt")
    )
    stage = 'stage=[{name="decay",steps=4,schedule={kind="cosine",final_lr=1e-5}}]'
    grown = load_recipe("base-world", [*options, f"training.steps={done}", stage])
    result = train(grown, packed, tmp_path / "run", resume=True)
    assert (result.resumed_from, result.steps) == (done, done + 4)
    other = load_recipe("base-world", [*options, f"training.steps={done + 9}", stage])
    with pytest.raises(ModelError, match=r"training\.steps was"):  # the stage has begun
        train(other, packed, tmp_path / "run", resume=True)


# -- what is heard -------------------------------------------------------------------------------------


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_changes_a_row_and_leaves_its_input(fault: Fault) -> None:
    rng = np.random.default_rng(1)
    wave_CS = torch.from_numpy((0.1 * rng.standard_normal((4, SAMPLE_RATE))).astype(np.float32))
    before_CS = wave_CS.clone()
    spoilt_CS = spoil(wave_CS, (fault,), np.random.default_rng(0))
    assert torch.equal(wave_CS, before_CS)
    assert spoilt_CS.shape == wave_CS.shape
    assert bool(spoilt_CS.isfinite().all())
    changed_C = (spoilt_CS != wave_CS).float().mean(dim=1)
    if fault == "dc":
        torch.testing.assert_close(spoilt_CS - spoilt_CS.mean(1, True), wave_CS - wave_CS.mean(1, True))
    elif fault not in ("gate", "loss"):
        assert bool(((changed_C > 0.08) & (changed_C < 0.52)).all())
    held = {"silence": {0.0}, "idle": {8 * LSB, -8 * LSB}, "dither": {-LSB, 0.0, LSB}}.get(fault)
    if held is not None:
        assert set(spoilt_CS[spoilt_CS != wave_CS].tolist()) <= held


def test_a_gate_closes_in_pauses_only() -> None:
    wave_S = np.full(SAMPLE_RATE, 1e-4, np.float32)
    wave_S[4000:8000] = 0.5
    gated_S = spoil(torch.from_numpy(wave_S)[None], ("gate",), np.random.default_rng(0))[0].numpy()
    assert (gated_S[4000:8000] == 0.5).all()
    assert (gated_S[12_000:] == 0).all()


@pytest.mark.parametrize("line", ["pcm", "a-law", "mu-law", "adpcm", "gsm", "celp"])
def test_a_telephone_line_keeps_the_speech_and_nothing_above_4_khz(line: Line) -> None:
    t = np.arange(SAMPLE_RATE) / SAMPLE_RATE
    low_S, high_S = np.sin(2 * np.pi * 500 * t), np.sin(2 * np.pi * 6000 * t)
    coded_S = compress((0.2 * (low_S + high_S)).astype(np.float32), line, 0.5)
    spectrum = np.abs(np.fft.rfft(coded_S * np.hanning(len(coded_S))))
    assert spectrum[500] > 100 * spectrum[4500:].max()
    assert spectrum[500] == pytest.approx(0.2 * SAMPLE_RATE / 4, rel=0.3)


def test_every_call_has_a_band_of_its_own() -> None:
    off = {
        "rir_prob": 0,
        "babble_prob": 0,
        "gain_prob": 0,
        "clip_prob": 0,
        "telephone_prob": 0,
        "codec_prob": 0,
    }
    augment = WaveAugment(AugmentConfig.model_validate({**off, "line_prob": 1, "lines": ("pcm",)}), Sources())
    noise_S = np.random.default_rng(0).standard_normal(SAMPLE_RATE).astype(np.float32) * 0.1
    wave_BS = torch.from_numpy(np.stack([noise_S] * 4))
    called_BS = augment(wave_BS, torch.arange(4), np.random.default_rng(0))
    power_BK = torch.fft.rfft(called_BS).abs().square()
    top_B = [int((row > 0.01 * row[1000:2000].mean()).nonzero().max()) for row in power_BK]
    assert len(set(top_B)) == 4
    assert all(2800 <= top <= 4000 for top in top_B)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"line_prob": 0.1, "lines": ()}, "lines is empty"),
        ({"fault_prob": 0.1, "faults": ()}, "faults is empty"),
        ({"line_low": (3000, 3100), "line_high": (2000, 2500)}, "line_low and line_high"),
    ],
)
def test_impossible_options_are_refused(options: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        AugmentConfig.model_validate(options)


def test_the_default_draws_nothing_new() -> None:
    assert DataConfig().balance == "utterances"
    assert math.isclose(DataConfig().lone, 1.0)
    assert AugmentConfig().line_prob == AugmentConfig().fault_prob == 0
