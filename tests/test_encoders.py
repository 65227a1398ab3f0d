"""One contract for every encoder, the published checkpoints, pooling by hand, and RowThreads."""

from __future__ import annotations

import copy
import subprocess
import sys
import threading
from collections.abc import Iterator
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import nn

from voxid.embed.torch import TorchNetwork
from voxid.encoders import ENCODERS, pooling
from voxid.encoders.lstm import LstmConfig, LstmEncoder
from voxid.encoders.threads import PartThreads, RowThreads
from voxid.errors import BadConfig, UnknownComponent

INPUT_DIM = 12

# Small members of every registered kind, and the options that matter for the contract.
LSTMS = [
    {"name": "lstm", "layers": 2, "hidden": 8},
    {"name": "lstm", "layers": 1, "hidden": 8, "bidirectional": False},
    {"name": "lstm", "layers": 2, "hidden": 8, "bidirectional": False, "aggregation": "last"},
]
TRANSFORMERS = [
    {"name": "transformer", "dim": 16, "heads": 4, "feedforward": 32},
    {"name": "transformer", "dim": 8, "heads": 2, "feedforward": 16, "decoder_layers": 2, "dropout": 0.0},
]
ECAPA = {"name": "ecapa", "channels": 16, "scale": 4, "squeeze": 8, "aggregate": 24, "embedding": 10}
RESNET = {"name": "resnet", "channels": 4, "blocks": [1, 2], "embedding": 10}
XVECTOR = {"name": "xvector", "channels": 8, "aggregate": 12, "embedding": 10}
CAMPPLUS = {"name": "campplus", "front": 4, "channels": 8, "growth": 4, "bottleneck": 16, "embedding": 10}
CAMPPLUS |= {"blocks": [2, 2], "dilations": [1, 2], "segment": 7}
REDIMNET = {"name": "redimnet", "channels": 4, "strides": [1, 2], "blocks": [1, 2], "embedding": 10}
REDIMNET |= {"widen": [1, 2], "reduce": [0, 6]}
CONVOLUTIONAL = [ECAPA, RESNET, XVECTOR, CAMPPLUS, REDIMNET]
MEMBERS: list[dict] = [
    *LSTMS,
    *TRANSFORMERS,
    *({"name": "lstm", "layers": 2, "hidden": 8, "aggregation": kind} for kind in pooling.POOLINGS),
    *({**ECAPA, "pooling": kind} for kind in pooling.POOLINGS),
    *CONVOLUTIONAL[1:],
    {**ECAPA, "global_context": False},
    {**ECAPA, "stride": 2},
    {**RESNET, "squeeze": 2},
    {**REDIMNET, "block": "convnext", "group": 2},
]
# Weights whose gradient is zero by design: attention over a single zero vector sees only its bias, and at
# the last frame the top layer's backward direction has no earlier state to weigh.
ZERO_GRADIENT = {
    "transformer": {"decoder.layers.0.self_attn.in_proj_weight"},
    "lstm-last": {"lstm.weight_hh_l1_reverse"},
}


# A pooling does not know what is under it: one encoder has them all, the others by `make slow`.
MORE = [{**small, "pooling": kind} for small in CONVOLUTIONAL[1:] for kind in pooling.POOLINGS]


def name_of(options: dict) -> str:
    return "-".join(map(str, options.values()))


def build(options: dict, input_dim: int = INPUT_DIM) -> nn.Module:
    torch.manual_seed(0)
    cls, config = ENCODERS.parse(options)
    encoder = cls(config, input_dim)
    for part in encoder.modules():  # as if trained: fresh ones map zero to zero, which would hide mistakes
        if isinstance(part, nn.BatchNorm1d | nn.BatchNorm2d):
            for values, low, high in ((part.running_mean, -0.5, 0.5), (part.running_var, 0.5, 1.5)):
                assert values is not None
                nn.init.uniform_(values, low, high)
            if part.affine:
                nn.init.uniform_(part.weight, 0.5, 1.5)
                nn.init.uniform_(part.bias, -0.5, 0.5)
    return encoder


def normalises_batches(encoder: nn.Module) -> bool:
    return any(isinstance(part, nn.BatchNorm1d | nn.BatchNorm2d) for part in encoder.modules())


def features(rows: int, frames: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(rows, frames, INPUT_DIM, generator=torch.Generator().manual_seed(seed))


def test_every_registered_encoder_is_in_the_contract() -> None:
    assert {options["name"] for options in MEMBERS} == set(ENCODERS.names())


@pytest.fixture(
    params=[*MEMBERS, *(pytest.param(table, marks=pytest.mark.slow) for table in MORE)], ids=name_of
)
def options(request: pytest.FixtureRequest) -> dict:
    return request.param


@pytest.fixture
def encoder(options: dict) -> nn.Module:
    return build(options).eval()


def test_one_embedding_a_row(encoder: nn.Module) -> None:
    """With and without gradients, for which torch takes other roads; a second recording or frame, or none."""
    for rows, frames, with_grad in [(1, 1, False), (1, 1, True), (3, 1, True), (5, 7, False), (5, 7, True)]:
        with torch.set_grad_enabled(with_grad):
            emb_BD = encoder(features(rows, frames))
        assert emb_BD.shape == (rows, encoder.dim), (rows, frames)
        assert emb_BD.dtype == torch.float32
        assert emb_BD.isfinite().all(), (rows, frames)
        assert emb_BD.std() > 0, (rows, frames)


@pytest.mark.parametrize("with_grad", [False, True])  # torch takes other roads without gradients
def test_a_padded_batch_equals_single_rows(encoder: nn.Module, with_grad: bool) -> None:
    frames = [9, 1, 30, 2, 30]
    feat_BTF = torch.full(
        (len(frames), 33, INPUT_DIM), 7.0
    )  # the longest row is padded too, and with no zeros
    for row, count in enumerate(frames):
        feat_BTF[row, :count] = features(1, count, seed=row)[0]
    before = feat_BTF.clone()
    with torch.set_grad_enabled(with_grad):
        emb_BD = encoder(feat_BTF, torch.tensor(frames))
        alone_BD = torch.cat([encoder(feat_BTF[row : row + 1, :count]) for row, count in enumerate(frames)])
    assert torch.equal(feat_BTF, before)
    assert (emb_BD - alone_BD).abs().max() < 1e-5
    with torch.set_grad_enabled(with_grad):
        whole_BD = encoder(feat_BTF, torch.full((len(frames),), 33))
        assert (whole_BD - encoder(feat_BTF)).abs().max() < 1e-5
    assert (whole_BD - emb_BD).abs().max() > 1e-3, "the padding was filled to be seen when it is read"


def test_in_training_padding_stays_unseen_as_well(encoder: nn.Module, options: dict) -> None:
    if options.get("dropout", 0.1) and options["name"] == "transformer":
        pytest.skip("dropout draws other masks for other shapes")
    if normalises_batches(encoder):
        pytest.skip("in training, batch normalisation sees all rows: crops there are of one length")
    encoder.train()
    feat_BTF = features(2, 20)
    emb_BD = encoder(feat_BTF, torch.tensor([20, 6]))
    assert (emb_BD[1] - encoder(feat_BTF[1:, :6])[0]).abs().max() < 1e-5


def test_evaluation_is_deterministic_and_draws_nothing(encoder: nn.Module) -> None:
    state = torch.get_rng_state()
    with torch.no_grad():
        first_BD, second_BD = encoder(features(3, 50)), encoder(features(3, 50))
    assert torch.equal(first_BD, second_BD)
    assert torch.equal(torch.get_rng_state(), state)
    assert (encoder(features(3, 50)) - first_BD).abs().max() < 1e-5, "with gradients, other numbers"


def test_the_gradient_reaches_every_parameter(encoder: nn.Module, options: dict) -> None:
    encoder.train()
    with torch.no_grad():
        for parameter in encoder.parameters():
            parameter += 0.1 * torch.randn_like(
                parameter
            )  # biases that start at zero hide weights before them
    encoder(features(4, 25)).square().sum().backward()
    unreached = {name for name, p in encoder.named_parameters() if p.grad is None}
    assert not unreached
    zero = {name for name, p in encoder.named_parameters() if not torch.count_nonzero(p.grad)}
    last = "-last" if options.get("aggregation") == "last" and options.get("bidirectional", True) else ""
    assert zero == ZERO_GRADIENT.get(options["name"] + last, set())


def test_gradients_equal_those_of_plain_kernels(encoder: nn.Module, options: dict) -> None:
    """oneDNN computes in 32 bits, torch itself in 64: the fast kernels have been wrong in corner cases."""
    if options.get("dropout", 0.1) and options["name"] == "transformer":
        pytest.skip("dropout draws twice")
    encoder.train()
    witness = copy.deepcopy(encoder).double()
    feat_BTF, weight_BD = (
        features(6, 21),
        torch.randn(6, encoder.dim, generator=torch.Generator().manual_seed(5)),
    )
    (encoder(feat_BTF) * weight_BD).sum().backward()
    (witness(feat_BTF.double()) * weight_BD).sum().backward()
    for (name, ours), theirs in zip(encoder.named_parameters(), witness.parameters(), strict=True):
        assert ours.grad is not None
        assert theirs.grad is not None
        assert (ours.grad - theirs.grad).norm() < 1e-3 * (0.1 + theirs.grad.norm()), name


FEW_CHANNELS = """
import torch
from voxid.encoders.layers import Shortcut

torch.set_num_threads(1)
shortcut = Shortcut(4, 8, (2, 2)).to(memory_format=torch.channels_last)
x_BCTF = torch.randn(32, 4, 64, 64).contiguous(memory_format=torch.channels_last)
for _ in range(3):
    shortcut(x_BCTF).square().sum().backward()
print("alive")
"""


def test_a_strided_shortcut_of_few_channels_stays_within_its_memory() -> None:
    """A convolution with a stride of its own ends the process (see `Shortcut`), so this has one to itself."""
    done = subprocess.run([sys.executable, "-c", FEW_CHANNELS], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "alive\n"), done.stderr


def test_every_frame_counts(encoder: nn.Module, options: dict) -> None:
    if options.get("pooling") == "last":
        pytest.skip("the last frame of a convolution sees its surroundings only")
    feat_BTF = features(1, 15).requires_grad_()
    encoder(feat_BTF).square().sum().backward()
    assert feat_BTF.grad is not None
    assert (feat_BTF.grad[0].abs().sum(dim=1) > 0).all(), options


def test_splits_by_rows_is_true(encoder: nn.Module, options: dict) -> None:
    """What an encoder says of itself: in training, does a row come out the same in another batch?"""
    encoder.train()
    feat_BTF = features(4, 10)
    torch.manual_seed(1)
    whole_BD = encoder(feat_BTF)
    torch.manual_seed(1)
    parts_BD = torch.cat([encoder(feat_BTF[2:]), encoder(feat_BTF[:2])]).roll(2, dims=0)
    assert encoder.splits_by_rows == ((whole_BD - parts_BD).abs().max() < 1e-5), options


@torch.no_grad()
def test_pieces_of_a_recording_give_the_embedding_of_the_whole(encoder: nn.Module) -> None:
    """An encoder with a reach asks everything else of the whole recording, and is told it."""
    if getattr(encoder, "reach", None) is None:
        pytest.skip("it is given recordings as they are")
    feat_BTF = features(1, 403) + torch.linspace(-1, 1, 403)[:, None]  # no two pieces alike
    network = TorchNetwork.__new__(TorchNetwork)
    network.model, network._device = SimpleNamespace(encoder=encoder.eval()), torch.device("cpu")  # type: ignore[assignment]
    expected_D = encoder(feat_BTF)[0].numpy()
    got_D = network.encode_in_pieces(feat_BTF[0].numpy(), 120)
    np.testing.assert_allclose(got_D, expected_D, atol=3e-5 * np.abs(expected_D).max())


def test_long_recordings(encoder: nn.Module) -> None:
    with torch.inference_mode():
        emb_BD = encoder(features(1, 5998))  # 60 s
    assert emb_BD.isfinite().all()
    assert emb_BD.std() > 0


def needs_lstm_in_16_bits() -> None:
    """Skip where the processor has no 16-bit instructions: oneDNN has no LSTM for it."""
    try:
        with torch.autocast("cpu", torch.bfloat16), torch.no_grad():
            nn.LSTM(4, 4)(torch.zeros(2, 1, 4))
    except RuntimeError as error:
        if "primitive" not in str(error):
            raise
        pytest.skip("this processor computes no LSTM in 16 bits")


@pytest.mark.parametrize("training", [False, True])
def test_bfloat16_is_near_float32(encoder: nn.Module, training: bool, options: dict) -> None:
    if training and options.get("dropout", 0.1) and options["name"] == "transformer":
        pytest.skip("dropout draws twice")
    if options["name"] == "lstm":
        needs_lstm_in_16_bits()
    encoder.train(training)
    feat_BTF = features(6, 40)
    expected_BD = encoder(feat_BTF)
    with torch.autocast("cpu", torch.bfloat16):
        emb_BD = encoder(feat_BTF)
    emb_BD.float().square().sum().backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in encoder.parameters())
    cosine_B = torch.cosine_similarity(emb_BD.float(), expected_BD)
    assert cosine_B.mean() > 0.98


def test_weights_go_through_a_state_dict(options: dict) -> None:
    """Contiguous copies, as safetensors stores them, whatever the memory layout was."""
    first, second = build(options).eval(), build(options).eval()
    with torch.no_grad():
        for parameter in second.parameters():
            parameter.add_(1)
    second.load_state_dict({name: tensor.contiguous() for name, tensor in first.state_dict().items()})
    assert torch.equal(first(features(2, 20)), second(features(2, 20)))


@pytest.mark.parametrize(
    "options",
    [
        *(
            pytest.param(options, marks=pytest.mark.slow, id=name_of(options))
            for options in (CAMPPLUS, REDIMNET, RESNET)
        ),
        pytest.param({**XVECTOR, "pooling": "last"}, id="last"),
        pytest.param({**XVECTOR, "pooling": "multihead"}, id="multihead"),
    ],
)  # tests/test_export.py exports the others
def test_one_exported_graph_serves_every_length(options: dict) -> None:
    """No step of Python depends on the values, nor on the number of rows and frames."""
    encoder = build(options).eval()
    batch, frames = torch.export.Dim("batch", min=2, max=64), torch.export.Dim("frames", min=8, max=6000)
    shapes = ({0: batch, 1: frames}, {0: batch})
    program = torch.export.export(encoder, (features(2, 30), torch.tensor([30, 21])), dynamic_shapes=shapes)
    for rows in ([57, 9, 30], [8, 3]):
        frames_B = torch.tensor(rows)
        feat_BTF = features(len(rows), max(rows))
        assert (program.module()(feat_BTF, frames_B) - encoder(feat_BTF, frames_B)).abs().max() < 1e-5


def test_an_input_dim_of_one(options: dict) -> None:
    if options["name"] == "redimnet":
        pytest.skip("needs a multiple of its strides")
    assert build(options, input_dim=1)(torch.ones(2, 5, 1)).shape[0] == 2


def test_unknown_options_are_refused(options: dict) -> None:
    with pytest.raises(BadConfig, match=r"encoder\.hiden"):
        ENCODERS.parse({**options, "hiden": 3})


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ({"name": "lstm", "layers": 0}, r"encoder\.layers"),
        ({"name": "lstm", "aggregation": "max"}, r"encoder\.aggregation"),
        ({"name": "lstm", "hiddn": 3}, "Did you mean 'hidden'"),
        ({"name": "transformer", "dim": 30}, "multiple of heads"),
        ({"name": "transformer", "dropout": 1.0}, r"encoder\.dropout"),
        ({"name": "ecapa", "channels": 100}, "channels has to be a multiple of scale, got 100"),
        ({"name": "ecapa", "kernel": 4}, "kernel has to be odd"),
        ({"name": "ecapa", "dilations": [2, 0]}, "dilations have to be 1 or more"),
        ({"name": "ecapa", "pooling": "max"}, r"encoder\.pooling"),
        ({"name": "resnet", "blocks": []}, r"encoder\.blocks"),
        ({"name": "campplus", "blocks": [3, 3]}, "blocks and dilations need the same number"),
        ({"name": "campplus", "segment": 0}, r"encoder\.segment"),
        ({"name": "redimnet", "strides": [1, 2]}, "strides, blocks, widen and reduce need one number"),
        ({"name": "redimnet", "strides": [1, 2, 1, 0, 1]}, "strides and widen are 1 or more"),
        (
            {"name": "redimnet", "group": 4},
            "group has to divide the channels of every stage; 4 does not divide 10",
        ),
    ],
)
def test_impossible_options_are_refused(table: dict, message: str) -> None:
    with pytest.raises(BadConfig, match=message):
        ENCODERS.parse(table)


@pytest.mark.parametrize(
    ("table", "input_dim", "message"),
    [
        ({"name": "redimnet"}, 62, r"encoder\.strides: \[1, 2, 1, 2, 1\] .* by 4, got 62 bins"),
        ({"name": "redimnet"}, 80, r"encoder\.reduce: 10 channels x 80 bins / 30 = 26 .* 4 heads"),
        ({"name": "resnet", "pooling": "multihead", "heads": 3}, 80, r"encoder\.heads.*2560 channels.*got 3"),
    ],
    ids=["strides", "reduce", "heads"],
)
def test_sizes_that_do_not_fit_the_features_are_refused(table: dict, input_dim: int, message: str) -> None:
    with pytest.raises(BadConfig, match=message):
        build(table, input_dim)


def test_an_unknown_encoder_is_refused() -> None:
    with pytest.raises(UnknownComponent, match="Did you mean 'lstm'"):
        ENCODERS.parse({"name": "lsmt"})


# -- the published systems -------------------------------------------------------------------------------


def test_defaults_are_the_published_lstm() -> None:
    encoder = build({"name": "lstm"}, input_dim=40)
    assert encoder.dim == 128
    assert sum(p.numel() for p in encoder.parameters()) == 2 * (
        256 * (40 + 64 + 2) + 2 * 256 * (128 + 64 + 2)
    )
    assert all(name.startswith("lstm.") for name in encoder.state_dict())


def test_lstm_equals_the_textbook_recurrence() -> None:
    """Hochreiter & Schmidhuber's cell, one direction, written out frame by frame."""
    encoder = LstmEncoder(LstmConfig(layers=1, hidden=5, bidirectional=False), INPUT_DIM)
    feat_TF = features(1, 6)[0]
    w_x, w_h, b_x, b_h = (p.detach() for p in encoder.parameters())
    h, c, outputs = torch.zeros(5), torch.zeros(5), []
    for feat_F in feat_TF:
        i, f, g, o = (w_x @ feat_F + b_x + w_h @ h + b_h).chunk(4)
        c = f.sigmoid() * c + i.sigmoid() * g.tanh()
        h = o.sigmoid() * c.tanh()
        outputs.append(h)
    emb_D = encoder(feat_TF[None])[0]
    assert torch.allclose(emb_D, torch.stack(outputs).mean(dim=0), atol=1e-6)


def test_the_transformer_has_no_order_of_frames() -> None:
    encoder = build({"name": "transformer"}).eval()
    feat_BTF = features(1, 20)
    with torch.no_grad():
        assert (encoder(feat_BTF) - encoder(feat_BTF.flip(1))).abs().max() < 1e-5


def test_transformer_dropout_is_on_in_training_only() -> None:
    encoder = build({"name": "transformer"})
    assert not torch.equal(encoder(features(2, 9)), encoder(features(2, 9)))
    encoder.eval()
    assert torch.equal(encoder(features(2, 9)), encoder(features(2, 9)))


# -- pooling ---------------------------------------------------------------------------------------------


def test_pooling_by_hand() -> None:
    out_BTH = torch.tensor(
        [[[1.0, 10.0], [2.0, 20.0], [6.0, 0.0]], [[5.0, 5.0], [torch.nan, torch.inf], [9.0, 9.0]]]
    )
    frames_B = torch.tensor([3, 1])
    assert pooling.mean(out_BTH, frames_B).tolist() == [[3.0, 10.0], [5.0, 5.0]]  # padding may hold anything
    assert pooling.last(out_BTH, frames_B).tolist() == [[6.0, 0.0], [5.0, 5.0]]
    assert pooling.mean(out_BTH[:1]).tolist() == [[3.0, 10.0]]
    assert pooling.last(out_BTH[:1]).tolist() == [[6.0, 0.0]]

    mean_and_deviation = pooling.statistics(out_BTH, frames_B)
    assert torch.allclose(mean_and_deviation[0], torch.tensor([3.0, 10.0, (14 / 3) ** 0.5, (200 / 3) ** 0.5]))
    assert torch.allclose(mean_and_deviation[1], torch.tensor([5.0, 5.0, 1e-3, 1e-3]))


def pool_of(kind: str, channels: int, **options) -> nn.Module:
    torch.manual_seed(0)
    return pooling.build(pooling.PoolingConfig(pooling=kind, attention=3, heads=2, **options), channels)


@pytest.mark.parametrize("kind", ["attentive", "multihead"])
def test_attention_that_prefers_nothing_is_plain_statistics(kind: str) -> None:
    pool = pool_of(kind, 4)
    nn.init.zeros_(pool.score.weight)
    out_BTH = features(3, 9)[:, :, :4]
    frames_B = torch.tensor([9, 1, 4])
    assert torch.allclose(pool(out_BTH, frames_B), pooling.statistics(out_BTH, frames_B), atol=1e-6)


@pytest.mark.parametrize("kind", list(pooling.POOLINGS))
def test_pooling_never_sees_the_padding(kind: str) -> None:
    pool = pool_of(kind, 4)
    out_BTH = features(2, 6)[:, :, :4]
    alone_BH = torch.cat([pool(out_BTH[:1, :2]), pool(out_BTH[1:])])
    out_BTH[0, 2:] = torch.nan
    pooled_BH = pool(out_BTH, torch.tensor([2, 6]))
    assert torch.allclose(pooled_BH, alone_BH, atol=1e-6)
    assert pooled_BH.shape == (2, pool.dim)


def test_attentive_pooling_equals_the_papers_formula(monkeypatch: pytest.MonkeyPatch) -> None:
    """Equations 1-4 of Desplanques et al. (2020), with the one wide W of [h_t; mean; deviation]."""
    pool = pool_of("attentive", 4)
    h_TH = features(1, 7)[0, :, :4]
    context = pooling.statistics(h_TH[None])[0]
    w = torch.cat([pool.frame.weight, pool.context.weight], dim=1)
    seen = torch.cat([h_TH, context.expand(7, -1)], dim=1)
    scores = torch.tanh(seen @ w.T + pool.frame.bias) @ pool.score.weight.T
    a_TH = torch.exp(scores) / torch.exp(scores).sum(dim=0)
    mean_H = (a_TH * h_TH).sum(dim=0)
    deviation_H = ((a_TH * h_TH**2).sum(dim=0) - mean_H**2).sqrt()
    assert torch.allclose(pool(h_TH[None])[0], torch.cat([mean_H, deviation_H]), atol=1e-5)
    padded_BTH = torch.cat([h_TH, torch.full((2, 4), torch.nan)])[None]
    monkeypatch.setattr(pooling, "GROUP", 3)  # in use, some channels at a time
    for given in ((padded_BTH, torch.tensor([7])), (h_TH[None],)):
        assert torch.allclose(pool.eval()(*given), pool.train()(*given), atol=1e-6)


def test_each_head_weighs_its_own_channels() -> None:
    pool = pool_of("multihead", 4, global_context=False)
    out_BTH = features(1, 6)[:, :, :4]
    with torch.no_grad():  # both heads look for the largest value of the first channel, and nothing else
        pool.frame.weight.zero_()
        pool.frame.weight[:, 0] = 1e-3
        pool.frame.bias.zero_()
        pool.score.weight.copy_(torch.tensor([[1e6, 0.0, 0.0], [0.0, 0.0, 0.0]]))
    best = out_BTH[0, :, 0].argmax()
    pooled_H = pool(out_BTH)[0]
    assert torch.allclose(pooled_H[:2], out_BTH[0, best, :2], atol=1e-4)
    assert torch.allclose(pooled_H[2:4], out_BTH[0, :, 2:].mean(dim=0), atol=1e-6)


@pytest.mark.parametrize(
    "shape", [(2, 5, 4), (2, 5, 1), (1, 1, 1)], ids=["each channel", "each frame", "none"]
)
def test_the_moments_gradients_are_those_of_finite_differences(shape: tuple[int, ...]) -> None:
    generator = torch.Generator().manual_seed(1)
    x_BTH = torch.randn(2, 5, 4, generator=generator, dtype=torch.float64, requires_grad=True)
    scores = torch.randn(shape, generator=generator, dtype=torch.float64, requires_grad=True)

    def moments(x_BTH: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        if shape[1] == 1:  # plain statistics, whose weights are no one's to learn
            return pooling.statistics(x_BTH)
        return torch.cat(pooling.moments(x_BTH, scores.softmax(dim=1)), dim=1)

    learned = (x_BTH, scores.requires_grad_(shape[1] > 1))
    assert torch.autograd.gradcheck(moments, learned)


def test_constant_frames_have_a_finite_gradient() -> None:
    out_BTH = torch.ones(2, 5, 4, requires_grad=True)
    pooling.statistics(out_BTH).sum().backward()
    assert out_BTH.grad is not None
    assert out_BTH.grad.isfinite().all()


def test_heads_that_do_not_divide_are_refused() -> None:
    with pytest.raises(BadConfig, match=r"encoder\.heads.*24 channels.*got 7.*1, 2, 3, 4"):
        build({**ECAPA, "pooling": "multihead", "heads": 7})


# -- several threads ---------------------------------------------------------------------------------------


@pytest.fixture
def lstm() -> nn.Module:
    return build({"name": "lstm", "layers": 3, "hidden": 64})


@pytest.fixture(params=[1, 2, 3])
def by_rows(request: pytest.FixtureRequest, lstm: nn.Module) -> Iterator[RowThreads]:
    with RowThreads(copy.deepcopy(lstm), workers=request.param) as threads:
        yield threads


def gradients(encode: RowThreads | nn.Module, encoder: nn.Module, rows: int) -> list[torch.Tensor]:
    """Return the gradients of a loss in which every row's embedding matters differently."""
    encoder.zero_grad()
    emb_BD = encode(10 * features(rows, 60))
    (emb_BD @ emb_BD.T).tanh().square().mean().backward()
    return [p.grad.clone() for p in encoder.parameters() if p.grad is not None]


@pytest.mark.parametrize("rows", [24, 7, 1])
def test_threads_give_the_gradients_of_the_plain_encoder(
    lstm: nn.Module, by_rows: RowThreads, rows: int
) -> None:
    expected = gradients(lstm, lstm, rows)
    got = gradients(by_rows, by_rows.encoder, rows)
    assert len(got) == len(expected) == 24
    for ours, plain in zip(got, expected, strict=True):
        assert (ours - plain).abs().max() <= 1e-5 * plain.abs().max()
    with torch.no_grad():
        assert (by_rows(features(rows, 60)) - lstm(features(rows, 60))).abs().max() < 1e-6


def test_threads_give_the_same_bits_every_time(by_rows: RowThreads) -> None:
    first = gradients(by_rows, by_rows.encoder, 24)
    for _ in range(5):
        again = gradients(by_rows, by_rows.encoder, 24)
        assert all(torch.equal(a, b) for a, b in zip(first, again, strict=True))
    with RowThreads(by_rows.encoder, by_rows.workers) as others:
        again = gradients(others, by_rows.encoder, 24)
    assert all(torch.equal(a, b) for a, b in zip(first, again, strict=True))


def test_frozen_parameters_stay_without_gradient(by_rows: RowThreads) -> None:
    frozen = next(by_rows.encoder.parameters())
    frozen.requires_grad_(False)
    by_rows(features(4, 20)).sum().backward()
    assert frozen.grad is None
    assert all(p.grad is not None for p in by_rows.encoder.parameters() if p is not frozen)


def test_without_gradients_no_graph_is_kept(by_rows: RowThreads) -> None:
    with torch.no_grad():
        assert not by_rows(features(4, 20)).requires_grad
    assert by_rows(features(4, 20)).requires_grad


def test_threads_compute_in_the_callers_precision(lstm: nn.Module, by_rows: RowThreads) -> None:
    needs_lstm_in_16_bits()
    with torch.autocast("cpu", torch.bfloat16):
        ours_BD, plain_BD = by_rows(features(6, 20)), lstm(features(6, 20))
    assert ours_BD.dtype == plain_BD.dtype == torch.bfloat16
    assert (ours_BD - plain_BD).abs().max() < 0.01


class CountsThreads(nn.Module):
    """An encoder whose embeddings are the number of threads that one operation of it may use."""

    def forward(self, feat_BTF: torch.Tensor) -> torch.Tensor:
        feat_BTF.sum()  # an operation large enough to be shared out, were that allowed
        return torch.full((len(feat_BTF), 1), float(torch.get_num_threads()))


def test_each_thread_computes_on_one_core() -> None:
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(2)
        with RowThreads(CountsThreads(), workers=2) as encode, torch.no_grad():
            for _ in range(3):
                assert encode(torch.ones(8, 1000, 100)).tolist() == [[1.0]] * 8
    finally:
        torch.set_num_threads(before)


def test_the_number_of_threads_of_everyone_else_stays(lstm: nn.Module) -> None:
    before = torch.get_num_threads()
    seen: list[int] = []
    with RowThreads(lstm, workers=2) as encode:
        encode(features(4, 20))
        assert torch.get_num_threads() == before
        later = threading.Thread(target=lambda: seen.append(torch.get_num_threads()))
        later.start()
        later.join()
    assert seen == [before]


def test_an_error_in_a_thread_arrives(lstm: nn.Module) -> None:
    with RowThreads(lstm, workers=2) as encode, pytest.raises(RuntimeError, match=r"input\.size"):
        encode(torch.zeros(4, 10, INPUT_DIM + 1))


def test_what_cannot_be_split_is_refused(lstm: nn.Module) -> None:
    with pytest.raises(ValueError, match="cannot be split by rows"):
        RowThreads(build({"name": "transformer"}), workers=2)
    with pytest.raises(ValueError, match="0 workers"):
        RowThreads(lstm, workers=0)
    with (
        RowThreads(lstm, workers=2) as encode,
        pytest.raises(ValueError, match="no gradient to the features"),
    ):
        encode(features(4, 10).requires_grad_())


# ---- parts with batch statistics of their own --------------------------------------------------------------


def normalised() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(INPUT_DIM, 6), nn.Flatten(), nn.BatchNorm1d(60), nn.Linear(60, 5))


@pytest.mark.parametrize("workers", [1, 2, 3])
def test_parts_are_what_processes_with_a_part_of_the_batch_each_would_do(workers: int) -> None:
    """The witness: each part through a copy of its own, gradients added, buffers averaged by hand."""
    encoder, witnesses = normalised(), [normalised() for _ in range(3)]
    feat_BTF = features(11, 10)
    weight_BD = torch.randn(11, 5)
    with PartThreads(encoder, 3, workers) as encode:
        emb_BD = encode(feat_BTF)
        (emb_BD * weight_BD).sum().backward()
        encode.finish()
    parts = [w(part) for w, part in zip(witnesses, feat_BTF.tensor_split(3), strict=True)]
    (torch.cat(parts) * weight_BD).sum().backward()
    assert torch.allclose(emb_BD, torch.cat(parts), atol=1e-6)
    for name, p in encoder.named_parameters():
        summed = sum(dict(w.named_parameters())[name].grad for w in witnesses)
        assert torch.allclose(p.grad, summed, atol=1e-5), name
    for name in ("running_mean", "running_var"):
        mean = torch.stack([getattr(w[2], name) for w in witnesses]).mean(dim=0)
        assert torch.allclose(getattr(encoder[2], name), mean, atol=1e-6)
        assert all(torch.equal(getattr(part[2], name), getattr(encoder[2], name)) for part in encode.encoders)
    assert encoder[2].num_batches_tracked == 1


def test_workers_do_not_change_the_bits_and_parts_do() -> None:
    outside = []
    for parts, workers in ((4, 1), (4, 4), (4, 2), (1, 1)):
        encoder = normalised()
        with PartThreads(encoder, parts, workers) as encode:
            for seed in range(3):
                encode(features(16, 10, seed)).square().sum().backward()
                encode.finish()
        outside.append([*(p.grad for p in encoder.parameters()), *encoder.buffers()])
    for other in outside[1:3]:
        assert all(torch.equal(a, b) for a, b in zip(outside[0], other, strict=True))
    assert not torch.equal(outside[0][0], outside[3][0])


def test_parts_share_their_parameters() -> None:
    encoder = normalised()
    with PartThreads(encoder, 2) as encode:
        first, second = encode.encoders
        assert all(a is b for a, b in zip(first.parameters(), second.parameters(), strict=True))
        assert all(a is not b for a, b in zip(first.buffers(), second.buffers(), strict=True))


def test_parts_with_dropout_or_without_a_part_are_refused() -> None:
    with pytest.raises(ValueError, match="has dropout"):
        PartThreads(build({"name": "transformer"}), parts=2)
    with pytest.raises(ValueError, match="0 parts"):
        PartThreads(normalised(), parts=0)
