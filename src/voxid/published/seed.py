"""Import the checkpoints that the original course system published, without trusting them.

A published file is a dict with `encoder_state_dict`, `losses` and `training_time`, written by torch.save.
It is opened with `weights_only=True`: a pickle that asks to run code is refused, not run.
"""

from __future__ import annotations

import math
import os
import re
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor

from voxid.errors import BadCheckpoint, BadConfig
from voxid.model.network import InferenceConfig, Model, misfits
from voxid.published import checkpoints

COEFFICIENTS = 40  # MFCC coefficients a frame, in every published system
HEADS = 8  # of the published Transformer: the tensors have one shape whatever the number of heads


def import_seed(
    path: str | os.PathLike[str],
    out: str | os.PathLike[str],
    *,
    aggregation: Literal["mean", "last"] = "mean",
    heads: int = HEADS,
) -> Model:
    """Return the model in the original's checkpoint `path`, written to the model folder `out`.

    Kind, layers, widths and directions are read off the tensors. Two things leave no trace in them and are
    options: how an LSTM's frames are aggregated (the published files that are not named otherwise use
    "mean") and a Transformer's number of heads.

    Raise BadCheckpoint when the file is missing, damaged, would run code, or holds another architecture;
    RunExists when `out` holds a model that is not an earlier import; OutputError when it cannot be written.

    Example: `import_seed("saved_model.bilstm.mean.clean100.gpu100000.pt", "models/seed")`.
    """
    path, out = Path(path).expanduser(), Path(out).expanduser()
    content = _read(path)
    tensors = _state_dict(content, path)
    try:
        model = Model(
            {"name": "mfcc", "coefficients": COEFFICIENTS},
            _architecture(tensors, path, aggregation, heads),
            InferenceConfig(),
            metadata=_metadata(content, path),
        )
    except BadConfig as error:
        raise BadCheckpoint(f"{path} holds no network voxid can build: {error}") from None
    weights = {f"encoder.{name}": tensor for name, tensor in tensors.items()}
    if problems := misfits(model.state_dict(), weights):
        raise BadCheckpoint(
            f"the tensors in {path} make up no whole network: {problems}. Download the file again."
        )
    model.load_state_dict(weights)
    checkpoints.keep_other_models(out)
    model.save(out)
    return model.eval()


def _read(path: Path) -> dict[str, Any]:
    """Return the dict in the file, with nothing in it but tensors and plain values."""
    if not os.path.isfile(path):  # noqa: PTH113 - Path raises where a folder may not be entered
        raise BadCheckpoint(f"there is no checkpoint file {path}. Give the path of a published .pt file.")
    content = checkpoints.read(path, origin="the original system")
    if not isinstance(content.get("encoder_state_dict"), dict):
        raise BadCheckpoint(
            f"{path} is not a checkpoint of the original system: it holds keys "
            f"{sorted(map(str, content))[:6]}. "
            "Expected a dict with 'encoder_state_dict', 'losses' and 'training_time'."
        )
    return content


def _state_dict(content: dict[str, Any], path: Path) -> dict[str, Tensor]:
    tensors = dict(content["encoder_state_dict"])
    if not tensors or not all(
        isinstance(name, str)
        and isinstance(tensor, Tensor)
        and tensor.is_floating_point()
        and tensor.layout is torch.strided
        for name, tensor in tensors.items()
    ):
        raise BadCheckpoint(
            f"'encoder_state_dict' of {path} is not a set of named, dense float tensors. "
            "Expected the weights of the original's LSTM or Transformer."
        )
    checkpoints.check_size(tensors, path)
    return tensors


def _architecture(tensors: dict[str, Tensor], path: Path, aggregation: str, heads: int) -> dict[str, Any]:
    """Return the encoder's table of options, read off the tensors' names and shapes."""

    def shape(name: str) -> tuple[int, int]:
        if name not in tensors or tensors[name].ndim != 2:
            raise BadCheckpoint(
                f"{path} lacks the matrix {name!r} its other tensors go with. Download the file again."
            )
        rows, columns = tensors[name].shape
        return rows, columns

    def layers(pattern: str) -> int:
        return len({found[1] for name in tensors if (found := re.match(pattern, name))})

    if any(name.startswith("lstm.") for name in tensors):
        features = shape("lstm.weight_ih_l0")[1]
        table: dict[str, Any] = {
            "name": "lstm",
            "layers": layers(r"lstm\.weight_ih_l(\d+)$"),
            "hidden": shape("lstm.weight_hh_l0")[1],
            "bidirectional": "lstm.weight_ih_l0_reverse" in tensors,
            "aggregation": aggregation,
        }
    elif "linear_layer.weight" in tensors:
        dim, features = shape("linear_layer.weight")
        table = {
            "name": "transformer",
            "dim": dim,
            "encoder_layers": layers(r"encoder\.layers\.(\d+)\."),
            "decoder_layers": layers(r"decoder\.layers\.(\d+)\."),
            "heads": heads,
            "feedforward": shape("encoder.layers.0.linear1.weight")[0],
        }
    else:
        raise BadCheckpoint(
            f"{path} holds another architecture: its tensors are {', '.join(sorted(tensors)[:4])}, ... "
            "Expected 'lstm.*' (LSTM) or 'linear_layer', 'encoder.*', 'decoder.*' (Transformer)."
        )
    if features != COEFFICIENTS:
        raise BadCheckpoint(
            f"the network in {path} takes {features} features a frame; the original's has {COEFFICIENTS}. "
            "Only checkpoints trained with its own features can be imported."
        )
    return table


def _metadata(content: dict[str, Any], path: Path) -> dict[str, Any]:
    losses, seconds = content.get("losses"), content.get("training_time")
    if not isinstance(seconds, int | float) or not math.isfinite(seconds):
        seconds = None
    return {
        **checkpoints.source_of(path),
        "training_steps": len(losses) if isinstance(losses, list) else None,
        "training_time_s": seconds,
    }
