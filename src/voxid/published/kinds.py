"""The kinds of checkpoint that are known: by what tensors, with which features, and their names as ours.

One value a kind. Where a published network differs from ours in what it computes, our encoder has an option;
where it differs in order or in what can be folded away, `change` says so, so that the embeddings are theirs.

Shapes: A values inside the attention, C channels, F bins, H pooled values, D embedding.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

Tensors = dict[str, Tensor]
Table = dict[str, Any]

KALDI = {"name": "fbank", "bins": 80, "window": "hamming"}  # WeSpeaker's; its dither is for training
BN_EPS = 1e-5  # torch's, and ours


@dataclass(frozen=True)
class Kind:
    """A network that a project published: `marks` are tensors that it alone has, by regular expressions.

    `encoder` reads the options off the tensors; `names` are (pattern, replacement), tried in order, the first
    that matches the whole name counts: an empty replacement drops a tensor, one that ends in "-" subtracts
    it, as a bias before a batch normalisation. `flip` swaps the axes of two-dimensional kernels (ours are
    time, bins). `change` does the rest, on our names.
    """

    name: str
    network: str
    marks: tuple[str, ...]
    encoder: Callable[[Tensors], Table]
    names: tuple[tuple[str, str], ...]
    features: Callable[[Tensors], Table]
    inference: Table = field(default_factory=lambda: {"mode": "full"})
    flip: bool = False
    change: Callable[[Tensors, Table], None] = lambda tensors, encoder: None

    def fits(self, tensors: Tensors) -> bool:
        """Return whether the tensors are of this network."""
        return all(any(re.fullmatch(mark, name) for name in tensors) for mark in self.marks)

    def ours(self, tensors: Tensors, encoder: Table) -> Tensors:
        """Return the tensors under our names, in our order; names that no rule knows keep theirs."""
        renamed: Tensors = {}
        subtracted: Tensors = {}
        for name, tensor in tensors.items():
            new = name
            for pattern, replacement in self.names:
                if match := re.fullmatch(pattern, name):
                    new = match.expand(replacement)
                    break
            if new.endswith("-"):
                subtracted[new[:-1]] = tensor
            elif new:
                renamed[new] = tensor.transpose(2, 3) if self.flip and tensor.ndim == 4 else tensor
        for name, tensor in subtracted.items():
            if name in renamed:
                renamed[name] = renamed[name] - tensor
        self.change(renamed, encoder)
        return renamed


def known_kinds() -> list[str]:
    """Return the names of the kinds, each once.

    >>> known_kinds()
    ['wespeaker', '3dspeaker', 'speechbrain', 'clovaai', 'resemblyzer']
    """
    return list(dict.fromkeys(kind.name for kind in KINDS))


# -- what several kinds share --------------------------------------------------------------------------------


def _count(tensors: Tensors, pattern: str) -> int:
    """Return how many different first groups `pattern` finds at the beginning of names."""
    return len({match[1] for name in tensors if (match := re.match(pattern, name))})


def _by_bins(tensor: Tensor, channels: int, axis: int, parts: int = 1) -> Tensor:
    """Return a tensor with an `axis` of (channel, bin), `parts` times, as one of (bin, channel)."""
    shape = (*tensor.shape[:axis], parts, channels, -1, *tensor.shape[axis + 1 :])
    return tensor.reshape(shape).transpose(axis + 1, axis + 2).reshape(tensor.shape)


def _still_norm(tensors: Tensors, name: str, values: int, bias: Tensor | None = None) -> None:
    """Put in a batch normalisation that does nothing, or adds `bias`: ours has one where theirs has none."""
    tensors[f"{name}.running_mean"] = torch.zeros(values)
    tensors[f"{name}.running_var"] = torch.ones(values) - BN_EPS
    tensors[f"{name}.weight"] = torch.ones(values)
    tensors[f"{name}.bias"] = torch.zeros(values) if bias is None else bias


def _split_attention(tensors: Tensors) -> None:
    """Cut an attention's first layer into what looks at the frame and what looks at the utterance."""
    weight = tensors.get("head.pool.frame.weight")
    score = tensors.get("head.pool.score.weight")
    if weight is None or score is None or weight.shape[1] == score.shape[0]:
        return
    tensors["head.pool.frame.weight"] = weight[:, : score.shape[0]]
    tensors["head.pool.context.weight"] = weight[:, score.shape[0] :]


def _norm_embedding(tensors: Tensors) -> None:
    """Move the last layer's bias into the batch normalisation of the embedding that ours has."""
    bias = tensors.pop("head.linear.bias", None)
    if bias is None:
        return
    if "head.norm_embedding.running_mean" in tensors:
        tensors["head.norm_embedding.running_mean"] = tensors["head.norm_embedding.running_mean"] - bias
    else:
        _still_norm(tensors, "head.norm_embedding", len(bias), bias)


def _attention(tensors: Tensors) -> Table:
    """Return the options of WeSpeaker's attentive pooling (ASTP), or of its plain one (TSTP)."""
    if "pool.linear1.weight" not in tensors:
        return {"pooling": "statistics", **_TSTP}
    inside, seen = tensors["pool.linear1.weight"].shape[:2]
    context = seen != tensors["pool.linear2.weight"].shape[0]
    return {"pooling": "attentive", "attention": inside, "global_context": context, **_TSTP}


_TSTP = {"unbiased": True, "added_variance": 1e-7, "least_variance": 1e-7}
_POOL = (
    (r"pool\.linear1\.(.*)", r"head.pool.frame.\1"),
    (r"pool\.linear2\.weight", "head.pool.score.weight"),
    (r"pool\.linear2\.bias", ""),  # the same for every frame: no softmax sees it
)
_CLASSIFIER = ((r"projection\..*|frontend\..*", ""),)


# -- ECAPA-TDNN ----------------------------------------------------------------------------------------------


def _wespeaker_ecapa(tensors: Tensors) -> Table:
    return {
        "name": "ecapa",
        "channels": tensors["layer1.conv.weight"].shape[0],
        "dilations": list(range(2, _count(tensors, r"layer([2-9])\.") + 2)),
        "kernel": tensors["layer2.se_res2block.1.convs.0.weight"].shape[2],
        "scale": _count(tensors, r"layer2\.se_res2block\.1\.convs\.(\d+)") + 1,
        "squeeze": tensors["layer2.se_res2block.3.linear1.weight"].shape[0],
        "aggregate": tensors["conv.weight"].shape[0],
        "embedding": tensors["linear.weight"].shape[0],
        "summed": False,
        **_attention(tensors),
    }


def _change_wespeaker_ecapa(tensors: Tensors, encoder: Table) -> None:
    """Their part that is not convolved is the last, ours the first."""
    part = encoder["channels"] // encoder["scale"]
    for name in list(tensors):
        if re.match(r"blocks\.\d+\.before\.", name) and tensors[name].ndim:
            tensors[name] = tensors[name].roll(part, 0)
        if re.match(r"blocks\.\d+\.after\.conv\.weight", name):
            tensors[name] = tensors[name].roll(part, 1)
    _split_attention(tensors)
    _norm_embedding(tensors)


def _speechbrain_ecapa(tensors: Tensors) -> Table:
    blocks = _count(tensors, r"blocks\.([1-9]\d*)\.")
    return {
        "name": "ecapa",
        "channels": tensors["blocks.0.conv.conv.weight"].shape[0],
        "dilations": list(range(2, blocks + 2)),
        "kernel": tensors["blocks.1.res2net_block.blocks.0.conv.conv.weight"].shape[2],
        "scale": _count(tensors, r"blocks\.1\.res2net_block\.blocks\.(\d+)") + 1,
        "squeeze": tensors["blocks.1.se_block.conv1.conv.weight"].shape[0],
        "aggregate": tensors["mfa.conv.conv.weight"].shape[0],
        "embedding": tensors["fc.conv.weight"].shape[0],
        "attention": tensors["asp.tdnn.conv.conv.weight"].shape[0],
        "global_context": tensors["asp.tdnn.conv.conv.weight"].shape[1]
        != tensors["asp.conv.conv.weight"].shape[0],
        "least_variance": 1e-12,
        "attention_norm": True,
        "summed": False,
        "mirror": True,
        "norm_aggregate": True,
    }


def _change_speechbrain(tensors: Tensors, encoder: Table) -> None:
    _split_attention(tensors)
    _norm_embedding(tensors)


# -- networks over time and bins -----------------------------------------------------------------------------


def _wespeaker_resnet(tensors: Tensors) -> Table:
    stages = _count(tensors, r"layer(\d)\.")
    return {
        "name": "resnet",
        "channels": tensors["conv1.weight"].shape[0],
        "blocks": [_count(tensors, rf"layer{stage}\.(\d+)\.") for stage in range(1, stages + 1)],
        "embedding": tensors["seg_1.weight"].shape[0],
        "bottleneck": "layer1.0.conv3.weight" in tensors,
        "two_layers": "seg_2.weight" in tensors,
        **_attention(tensors),
    }


def _resnet_bins(tensors: Tensors) -> Table:
    encoder = _wespeaker_resnet(tensors)
    stages = len(encoder["blocks"]) - 1
    channels = encoder["channels"] * 2**stages * (4 if encoder["bottleneck"] else 1)
    return {**KALDI, "bins": tensors["seg_1.weight"].shape[1] // 2 // channels * 2**stages}


def _change_resnet(tensors: Tensors, encoder: Table) -> None:
    channels = encoder["channels"] * 2 ** (len(encoder["blocks"]) - 1) * (4 if encoder["bottleneck"] else 1)
    _number_blocks(tensors, encoder["blocks"])
    _split_attention(tensors)
    first = "head.linear.weight"
    if encoder["two_layers"]:
        for end in ("weight", "bias"):
            tensors[f"head.norm.1.{end}"] = tensors.pop(f"head.linear.{end}")
            tensors[f"head.linear.{end}"] = tensors.pop(f"seg_2.{end}")
        for name in [name for name in tensors if name.startswith("seg_bn_1.")]:
            tensors[f"head.norm.3.{name.removeprefix('seg_bn_1.')}"] = tensors.pop(name)
        first = "head.norm.1.weight"
    tensors[first] = _by_bins(tensors[first], channels, axis=1, parts=2)
    for name, axis in (("frame.weight", 1), ("context.weight", 1), ("score.weight", 0)):
        if (tensor := tensors.get(f"head.pool.{name}")) is not None:
            parts = 2 if name == "context.weight" else 1
            tensors[f"head.pool.{name}"] = _by_bins(tensor, channels, axis, parts)


def _number_blocks(tensors: Tensors, blocks: list[int]) -> None:
    """Count the blocks of all stages in one row, as ours are."""
    for name in list(tensors):
        if match := re.match(r"layer(\d)\.(\d+)\.", name):
            number = sum(blocks[: int(match[1]) - 1]) + int(match[2])
            tensors[f"blocks.{number}.{name[match.end() :]}"] = tensors.pop(name)


_RESNET = (
    (r"conv1\.(.*)", r"first.\1"),
    (r"bn1\.(.*)", r"norm.\1"),
    (r"(layer\d\.\d+)\.bn(\d)\.(.*)", r"\1.norm\2.\3"),
    (r"(layer\d\.\d+)\.(?:shortcut|downsample)\.0\.(.*)", r"\1.shortcut.conv.\2"),
    (r"(layer\d\.\d+)\.(?:shortcut|downsample)\.1\.(.*)", r"\1.shortcut.norm.\2"),
)


def _clovaai(tensors: Tensors) -> Table:
    channels = tensors["conv1.weight"].shape[0]
    mean = tensors["fc.weight"].shape[1] == tensors["sap_linear.weight"].shape[0]
    return {
        "name": "resnet",
        "channels": channels,
        "blocks": [_count(tensors, rf"layer{stage}\.(\d+)\.") for stage in range(1, 5)],
        "squeeze": channels // tensors["layer1.0.se.fc.0.weight"].shape[0],
        "embedding": tensors["fc.weight"].shape[0],
        "first": [tensors["conv1.weight"].shape[2], 2],
        "strides": [1, 2, 2, 1],
        "relu_first": True,
        "bin_mean": True,
        "pooling": "self_attentive" if mean else "multihead",
        "attention": tensors["sap_linear.weight"].shape[0],
        "global_context": False,
        "heads": 1,
        "least_variance": 1e-5,
    }


def _clovaai_features(tensors: Tensors) -> Table:
    """Return torchaudio's mel spectrogram; its bands lie in the file, so their number does."""
    bands = [tensor.shape[1] for name, tensor in tensors.items() if name.endswith("mel_scale.fb")]
    emphasis = [float(-tensor[0, 0, 0]) for name, tensor in tensors.items() if "flipped_filter" in name]
    return {
        "name": "mel",
        "bins": bands[0] if bands else 40,
        "n_fft": 512,
        "window": "hamming",
        "edges": "mirror",
        "bands": "htk",
        "log": "ln",
        "floor": 1e-6,
        "norm": "variance",
        "preemphasis": emphasis[0] if emphasis else 0.0,
    }


def _change_clovaai(tensors: Tensors, encoder: Table) -> None:
    _number_blocks(tensors, encoder["blocks"])
    if (attention := tensors.pop("attention", None)) is not None:
        tensors["head.pool.score.weight"] = attention.T


# -- CAM++ ---------------------------------------------------------------------------------------------------


def _campplus(tensors: Tensors) -> Table:
    blocks = range(1, _count(tensors, r"xvector\.block(\d)\.") + 1)
    first = "xvector.block1.tdnnd1"
    return {
        "name": "campplus",
        "front": tensors["head.conv1.weight"].shape[0],
        "channels": tensors["xvector.tdnn.linear.weight"].shape[0],
        "growth": tensors[f"{first}.cam_layer.linear_local.weight"].shape[0],
        "bottleneck": tensors[f"{first}.linear1.weight"].shape[0],
        "blocks": [_count(tensors, rf"xvector\.block{block}\.tdnnd(\d+)\.") for block in blocks],
        "dilations": [1, *[2] * (len(blocks) - 1)],
        "embedding": tensors["xvector.dense.linear.weight"].shape[0],
    }


def _campplus_bins(tensors: Tensors) -> int:
    return 8 * tensors["xvector.tdnn.linear.weight"].shape[1] // tensors["head.conv1.weight"].shape[0]


def _change_campplus(tensors: Tensors, encoder: Table) -> None:
    for name in list(tensors):
        if match := re.match(r"blocks\.(\d+)\.(\d+)\.", name):
            numbers = f"blocks.{int(match[1]) - 1}.{int(match[2]) - 1}."
            tensors[f"*{numbers}{name[match.end() :]}"] = tensors.pop(name)
        elif match := re.match(r"transitions\.(\d+)\.", name):
            tensors[f"*transitions.{int(match[1]) - 1}.{name[match.end() :]}"] = tensors.pop(name)
    for name in [name for name in tensors if name.startswith("*")]:
        tensors[name[1:]] = tensors.pop(name)
    tensors["first.weight"] = _by_bins(tensors["first.weight"], encoder["front"], axis=1)


_CAMPPLUS = (
    (r"head\.conv1\.(.*)", r"front.first.\1"),
    (r"head\.bn1\.(.*)", r"front.first_relu.norm.\1"),
    (r"head\.conv2\.(.*)", r"front.last.\1"),
    (r"head\.bn2\.(.*)", r"front.last_relu.norm.\1"),
    *(
        (rf"head\.layer{stage}\.{block}\.{theirs}\.(.*)", rf"front.blocks.{2 * stage + block - 2}.{ours}.\1")
        for stage in (1, 2)
        for block in (0, 1)
        for theirs, ours in (
            ("conv1", "conv1"),
            ("bn1", "relu1.norm"),
            ("conv2", "conv2"),
            ("bn2", "norm2"),
            (r"shortcut\.0", "shortcut.conv"),
            (r"shortcut\.1", "shortcut.norm"),
        )
    ),
    (r"xvector\.tdnn\.linear\.(.*)", r"first.\1"),
    (r"xvector\.tdnn\.nonlinear\.batchnorm\.(.*)", r"first_relu.norm.\1"),
    (r"xvector\.block(\d)\.tdnnd(\d+)\.nonlinear(\d)\.batchnorm\.(.*)", r"blocks.\1.\2.relu\3.norm.\4"),
    (r"xvector\.block(\d)\.tdnnd(\d+)\.linear1\.(.*)", r"blocks.\1.\2.squeeze.\3"),
    (r"xvector\.block(\d)\.tdnnd(\d+)\.cam_layer\.linear_local\.(.*)", r"blocks.\1.\2.conv.\3"),
    (r"xvector\.block(\d)\.tdnnd(\d+)\.cam_layer\.linear1\.(.*)", r"blocks.\1.\2.mask.squeeze.\3"),
    (r"xvector\.block(\d)\.tdnnd(\d+)\.cam_layer\.linear2\.(.*)", r"blocks.\1.\2.mask.expand.\3"),
    (r"xvector\.transit(\d)\.nonlinear\.batchnorm\.(.*)", r"transitions.\1.relu.norm.\2"),
    (r"xvector\.transit(\d)\.linear\.(.*)", r"transitions.\1.conv.\2"),
    (r"xvector\.out_nonlinear\.batchnorm\.(.*)", r"last_relu.norm.\1"),
    (r"xvector\.dense\.linear\.(.*)", r"head.linear.\1"),
    (r"xvector\.dense\.nonlinear\.batchnorm\.(.*)", r"head.norm_embedding.\1"),
)
_CAMPPLUS_MARKS = (r"xvector\.block1\.tdnnd1\.cam_layer\.linear_local\.weight", r"head\.conv1\.weight")


# -- ReDimNet ------------------------------------------------------------------------------------------------


def _redimnet(tensors: Tensors) -> Table:
    channels, values = _redimnet_size(tensors)
    strides, blocks, widen, reduce, width = [], [], [], [], channels
    for stage in range(_count(tensors, r"backbone\.stage(\d)\.")):
        begin = f"backbone.stage{stage}"
        enter = tensors[f"{begin}.0.weight"]
        strides.append(enter.shape[2])
        width *= enter.shape[2]
        widen.append(enter.shape[0] // width)
        blocks.append(_count(tensors, rf"{begin}\.(\d+)\.conv_block\."))
        reduced = [
            t.shape[0] for n, t in tensors.items() if re.match(rf"{begin}\.\d+\.red_dim_conv\.0\.weight", n)
        ]
        reduce.append(values // reduced[0] if reduced else 0)
    block = "residual_se" if any(".conv_block.se." in name for name in tensors) else "residual"
    if any(".conv_block.dwconvs." in name for name in tensors):
        block = "convnext"
    group = next(
        t.shape[1] for n, t in tensors.items() if re.search(r"conv_block\.(?:dwconvs\.0|conv1)\.weight", n)
    )
    return {
        "name": "redimnet",
        "channels": channels,
        "strides": strides,
        "blocks": blocks,
        "widen": widen,
        "reduce": reduce,
        "block": block,
        "group": group,
        "embedding": tensors["seg_1.weight"].shape[0],
        "tanh_gelu": True,
        **_attention(tensors),
    }


def _redimnet_size(tensors: Tensors) -> tuple[int, int]:
    """Return the channels of the first map, and the values of a frame."""
    return tensors["backbone.stem.0.weight"].shape[0], tensors["backbone.inputs_weights.1"].shape[2]


def _redimnet_features(tensors: Tensors) -> Table:
    channels, values = _redimnet_size(tensors)
    return {**KALDI, "bins": values // channels}


def _change_redimnet(tensors: Tensors, encoder: Table) -> None:
    for name in list(tensors):
        if match := re.match(r"inputs_weights\.(\d+)", name):
            weight = tensors.pop(name)
            if int(match[1]):  # the first has one input, and nothing to weigh
                tensors[f"weights.{int(match[1]) - 1}"] = weight.transpose(2, 3).flatten(2)[0]
        elif match := re.match(r"stages\.(\d+)\.blocks\.(\d+)\.", name):
            tensors[f"*stages.{match[1]}.blocks.{int(match[2]) - 1}.{name[match.end() :]}"] = tensors.pop(
                name
            )
    for name in [name for name in tensors if name.startswith("*")]:
        tensors[name[1:]] = tensors.pop(name)
    for name in list(tensors):
        if name.endswith("leave.1.running_var"):  # theirs has an epsilon of its own
            weight = name.replace("running_var", "weight")
            tensors[weight] = tensors[weight] * ((tensors[name] + BN_EPS) / (tensors[name] + 1e-6)).sqrt()
    _split_attention(tensors)
    _still_norm(tensors, "head.norm", tensors["head.linear.weight"].shape[1])


_IN_STAGE = r"backbone\.stage(\d)\.(\d+)\."
_TIME = r"backbone\.stage(\d)\.\d+\."
_REDIMNET = (
    (r"backbone\.stem\.0\.(.*)", r"first.\1"),
    (r"backbone\.stem\.1\.(.*)", r"norm.norm.\1"),
    (r"backbone\.(inputs_weights\.\d+)", r"\1"),
    *(
        (rf"{_IN_STAGE}conv_block\.{theirs}", rf"stages.\1.blocks.\2.{ours}")
        for theirs, ours in (
            (r"dwconvs\.0\.weight", "conv.weight"),
            (r"dwconvs\.0\.bias", "norm.running_mean-"),
            (r"norm\.(.*)", r"norm.\3"),
            (r"pwconv1\.(.*)", r"mix.\3"),
            (r"conv(\d)\.(.*)", r"conv\3.\4"),
            (r"conv2pw\.bias", "norm2.running_mean-"),
            (r"conv(\d)pw\.(.*)", r"mix\3.\4"),
            (r"bn(\d)\.(.*)", r"norm\3.\4"),
            (r"se\.squeeze\.(.*)", r"excite.down.\3"),
            (r"se\.exitation\.(.*)", r"excite.up.\3"),
        )
    ),
    *(
        (rf"{_TIME}{theirs}", rf"stages.\1.over_time.{ours}")
        for theirs, ours in (
            (r"red_dim_conv\.0\.(.*)", r"reduce.\2"),
            (r"red_dim_conv\.1\.(.*)", r"norm.\2"),
            (r"tcm\.(\d)\.dwconvs\.0\.weight", r"convs.\2.conv.weight"),
            (r"tcm\.(\d)\.dwconvs\.0\.bias", r"convs.\2.norm.running_mean-"),
            (r"tcm\.(\d)\.pwconv1\.(.*)", r"convs.\2.mix.\3"),
            (r"tcm\.([0-3])\.norm\.(.*)", r"convs.\2.norm.\3"),
            (r"tcm\.4\.attention\.q_proj\.(.*)", r"attention.query.\2"),
            (r"tcm\.4\.attention\.v_proj\.(.*)", r"attention.value.\2"),
            (r"tcm\.4\.attention\.k_proj\.weight", "attention.key.weight"),
            (r"tcm\.4\.attention\.out_proj\.(.*)", r"attention.out.\2"),
            (r"tcm\.4\.layer_norm\.(.*)", r"attention.norm.\2"),
            (r"tcm\.4\.feed_forward\.intermediate_dense\.(.*)", r"attention.wide.\2"),
            (r"tcm\.4\.feed_forward\.output_dense\.(.*)", r"attention.narrow.\2"),
            (r"tcm\.4\.final_layer_norm\.(.*)", r"attention.last_norm.\2"),
            (r"exp_dim_conv\.(.*)", r"expand.\2"),
        )
    ),
    (rf"{_TIME}tcm\.4\.attention\.k_proj\.bias", ""),  # the same for every frame's score
    (r"backbone\.stage(\d)\.0\.(weight|bias)", r"stages.\1.enter.\2"),
    (r"backbone\.stage(\d)\.\d+\.0\.bias", r"stages.\1.leave.1.running_mean-"),
    (r"backbone\.stage(\d)\.\d+\.([013])\.(.*)", r"stages.\1.leave.\2.\3"),
    *_POOL,
    (r"seg_1\.(.*)", r"head.linear.\1"),
    *_CLASSIFIER,
)


# -- the table -----------------------------------------------------------------------------------------------

KINDS = (
    Kind(
        "wespeaker",
        "ECAPA-TDNN",
        (r"layer2\.se_res2block\.1\.convs\.0\.weight", r"conv\.weight"),
        _wespeaker_ecapa,
        (
            (r"layer1\.conv\.(.*)", r"first.conv.\1"),
            (r"layer1\.bn\.(.*)", r"first.norm.\1"),
            *(
                (rf"layer{n + 2}\.se_res2block\.{theirs}", rf"blocks.{n}.{ours}")
                for n in range(6)
                for theirs, ours in (
                    (r"0\.conv\.(.*)", r"before.conv.\1"),
                    (r"0\.bn\.(.*)", r"before.norm.\1"),
                    (r"1\.convs\.(\d+)\.(.*)", r"parts.\1.conv.\2"),
                    (r"1\.bns\.(\d+)\.(.*)", r"parts.\1.norm.\2"),
                    (r"2\.conv\.(.*)", r"after.conv.\1"),
                    (r"2\.bn\.(.*)", r"after.norm.\1"),
                    (r"3\.linear1\.(.*)", r"excite.down.\1"),
                    (r"3\.linear2\.(.*)", r"excite.up.\1"),
                )
            ),
            (r"conv\.(.*)", r"aggregate.\1"),
            (r"bn\.(.*)", r"head.norm.\1"),
            (r"linear\.(.*)", r"head.linear.\1"),
            (r"bn2\.(.*)", r"head.norm_embedding.\1"),
            *_POOL,
            *_CLASSIFIER,
        ),
        lambda tensors: {**KALDI, "bins": tensors["layer1.conv.weight"].shape[1]},
        change=_change_wespeaker_ecapa,
    ),
    Kind(
        "wespeaker",
        "ResNet",
        (r"seg_1\.weight", r"layer4\.0\.conv1\.weight", r"layer4\.0\.bn2\.weight"),
        _wespeaker_resnet,
        (*_RESNET, *_POOL, (r"seg_1\.(.*)", r"head.linear.\1"), *_CLASSIFIER),
        _resnet_bins,
        flip=True,
        change=_change_resnet,
    ),
    Kind(
        "wespeaker",
        "CAM++",
        _CAMPPLUS_MARKS,
        lambda tensors: {**_campplus(tensors), **_TSTP},
        (*_CAMPPLUS, *_CLASSIFIER),
        lambda tensors: {**KALDI, "bins": _campplus_bins(tensors)},
        flip=True,
        change=_change_campplus,
    ),
    Kind(
        "wespeaker",
        "ReDimNet",
        (r"backbone\.stem\.0\.weight", r"seg_1\.weight"),
        _redimnet,
        _REDIMNET,
        _redimnet_features,
        flip=True,
        change=_change_redimnet,
    ),
    Kind(
        "3dspeaker",
        "CAM++",
        _CAMPPLUS_MARKS,
        lambda tensors: {**_campplus(tensors), "unbiased": True, "least_variance": 0.0},
        _CAMPPLUS,
        lambda tensors: {"name": "fbank", "bins": _campplus_bins(tensors), "scale": 1.0},
        flip=True,
        change=_change_campplus,
    ),
    Kind(
        "speechbrain",
        "ECAPA-TDNN",
        (r"blocks\.1\.res2net_block\.blocks\.0\.conv\.conv\.weight", r"fc\.conv\.weight"),
        _speechbrain_ecapa,
        (
            (r"blocks\.0\.conv\.conv\.(.*)", r"first.conv.\1"),
            (r"blocks\.0\.norm\.norm\.(.*)", r"first.norm.\1"),
            *(
                (rf"blocks\.{n + 1}\.{theirs}", rf"blocks.{n}.{ours}")
                for n in range(8)
                for theirs, ours in (
                    (r"tdnn1\.(conv|norm)\.\1\.(.*)", r"before.\1.\2"),
                    (r"res2net_block\.blocks\.(\d+)\.(conv|norm)\.\2\.(.*)", r"parts.\1.\2.\3"),
                    (r"tdnn2\.(conv|norm)\.\1\.(.*)", r"after.\1.\2"),
                    (r"se_block\.conv1\.conv\.(.*)", r"excite.down.\1"),
                    (r"se_block\.conv2\.conv\.(.*)", r"excite.up.\1"),
                )
            ),
            (r"mfa\.conv\.conv\.(.*)", r"aggregate.\1"),
            (r"mfa\.norm\.norm\.(.*)", r"norm.\1"),
            (r"asp\.tdnn\.conv\.conv\.(.*)", r"head.pool.frame.\1"),
            (r"asp\.tdnn\.norm\.norm\.(.*)", r"head.pool.norm.\1"),
            (r"asp\.conv\.conv\.weight", "head.pool.score.weight"),
            (r"asp\.conv\.conv\.bias", ""),
            (r"asp_bn\.norm\.(.*)", r"head.norm.\1"),
            (r"fc\.conv\.(.*)", r"head.linear.\1"),
        ),
        lambda tensors: {
            "name": "mel",
            "bins": tensors["blocks.0.conv.conv.weight"].shape[1],
            "window": "hamming",
            "bands": "left",
            "log": "db",
            "floor": 1e-10,
            "clip": True,
            "norm": "mean",
        },
        change=_change_speechbrain,
    ),
    Kind(
        "clovaai",
        "Fast ResNet",
        (r"sap_linear\.weight", r"layer1\.0\.se\.fc\.0\.weight", r"fc\.weight"),
        _clovaai,
        (
            *_RESNET,
            (r"(layer\d\.\d+)\.se\.fc\.0\.(.*)", r"\1.excite.down.\2"),
            (r"(layer\d\.\d+)\.se\.fc\.2\.(.*)", r"\1.excite.up.\2"),
            (r"sap_linear\.(.*)", r"head.pool.frame.\1"),
            (r"fc\.(.*)", r"head.linear.\1"),
            (r"(__L__|torchfb|instancenorm)\..*", ""),
        ),
        _clovaai_features,
        flip=True,
        change=_change_clovaai,
    ),
    Kind(
        "resemblyzer",
        "LSTM",
        (r"lstm\.weight_ih_l0", r"linear\.weight"),
        lambda tensors: {
            "name": "lstm",
            "layers": _count(tensors, r"lstm\.weight_ih_l(\d+)"),
            "hidden": tensors["lstm.weight_hh_l0"].shape[1],
            "bidirectional": False,
            "aggregation": "last",
            "project": tensors["linear.weight"].shape[0],
        },
        ((r"similarity_(weight|bias)", ""),),
        lambda tensors: {"name": "mel", "bins": tensors["lstm.weight_ih_l0"].shape[1], "level_db": -30.0},
        inference={"mode": "sliding", "window": 160, "step": 77, "coverage": 0.75},
    ),
)
