"""A model as one ONNX file for the runtimes of others: WeSpeaker's and sherpa-onnx.

They compute the features themselves, each in one way. So an encoder can only be handed on that was trained
with such features, or nearly; how near is measured before anything is written.

Shapes: T frames, F features per frame, D embedding.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import onnx
import onnxruntime
import torch

from voxid.embed import find_model, load
from voxid.errors import ModelError, NotWritable
from voxid.evaluation import EvaluationData, read_data
from voxid.export.agreement import MOST_DIFFERENCE, relative, speech_for_checking
from voxid.export.graphs import trace_encoder
from voxid.features import Fbank, FbankConfig
from voxid.files import atomic_write
from voxid.model.card import ENCODER_FILE, Card
from voxid.types import SAMPLE_RATE

Format = Literal["wespeaker-onnx", "sherpa-onnx"]
# what each runtime computes; sherpa-onnx is told by the file how samples are scaled and about the mean
RUNTIMES: dict[str, dict[str, Any]] = {
    "wespeaker-onnx": {"window": "hamming"},
    "sherpa-onnx": {"snip_edges": False, "f_max": SAMPLE_RATE / 2 - 400},
}
SHERPA_TAKES = {"scale": (1.0, 32768.0), "mean_norm": (True, False)}  # said in the file's metadata
LEAST_COSINE = 0.95  # of an embedding by the runtime's features with the model's own


@dataclass(frozen=True)
class Handed:
    """What `export_for` wrote: `cosine` is the least of its embeddings with the model's own, on `speech`.

    `differing` are the features' options that the runtime has otherwise: (name, the model's, the runtime's).

    >>> Handed(Path("m.onnx"), 1.0, 8, "voices", []).differing
    []
    """

    file: Path
    cosine: float
    recordings: int
    speech: str
    differing: list[tuple[str, Any, Any]]


def export_for(
    runtime: Format,
    model: str | os.PathLike[str],
    out: str | os.PathLike[str],
    *,
    data: str | os.PathLike[str] | Iterable[str | os.PathLike[str]] | None = None,
    layout: str = "auto",
) -> Handed:
    """Write the encoder of a model as the one ONNX file `out` that `runtime` loads; return how near it comes.

    WeSpeaker's file takes "feats" and gives "embs"; that for sherpa-onnx has its metadata too. `data` is the
    speech on which embeddings are compared (None: synthetic voices).

    Raise ModelError when the runtime cannot compute such features, or embeddings by its features have a
    cosine under 0.95 with the model's own: then nothing is written. Raise NotWritable or OutputError.

    >>> export_for("sherpa-onnx", "models/resnet34", "resnet34.onnx").cosine  # doctest: +SKIP
    1.0
    """
    out, folder = Path(out).expanduser(), find_model(model)
    if out.is_dir() or out.suffix != ".onnx":
        raise NotWritable(f"{runtime} is one file; -o has to end in .onnx, got {out}.")
    card = Card.read(folder)
    theirs = _their_features(runtime, card)
    differing = _differing(card, theirs)
    if data is None and card.features.get("pause_db") is not None:
        raise ModelError(
            f"{runtime} does not leave pauses out, as this model does (features.pause_db), and synthetic "
            "voices have too few to tell what that changes. Give --data: speech on which to measure it."
        )
    proto = _encoder(folder, card)
    session = onnxruntime.InferenceSession(proto.SerializeToString(), providers=["CPUExecutionProvider"])
    corpus: EvaluationData | None = None if data is None else read_data(data, layout)
    waves, speech = speech_for_checking(corpus)
    own_ND = load(folder).embed_many([(wave_S, SAMPLE_RATE) for wave_S in waves])
    fbank = Fbank(theirs)
    feats = [fbank(torch.from_numpy(wave_S)[None]).numpy() for wave_S in waves]
    found: Any = [session.run(["embs"], {"feats": feat_1TF})[0] for feat_1TF in feats]
    emb_ND = np.concatenate(found)
    norms_N = np.linalg.norm(emb_ND, axis=1) * np.linalg.norm(own_ND, axis=1)
    cosine = float((np.einsum("nd,nd->n", emb_ND, own_ND) / norms_N).min())
    if not differing and not relative(own_ND, emb_ND) <= MOST_DIFFERENCE:
        raise ModelError(
            f"the file would give other embeddings than the model (cosine {cosine:.4f}). Nothing was written."
        )
    if not cosine >= LEAST_COSINE:
        said = ", ".join(f"{name} {mine}, there {theirs}" for name, mine, theirs in differing)
        options = ((name, "none" if value is None else str(value).lower()) for name, _, value in differing)
        raise ModelError(
            f"{runtime} computes other features, and embeddings of {speech} by them have a cosine of "
            f"{cosine:.2f} with the model's own at worst; {LEAST_COSINE} is the least. "
            f"Features differ: {said}. "
            f"Train with its features: {' '.join(f'--set features.{name}={word}' for name, word in options)}."
        )
    proto.metadata_props.extend(_metadata(runtime, card, theirs, emb_ND.shape[1]))
    with atomic_write(out) as file:
        file.write(proto.SerializeToString())
    return Handed(out, cosine, len(waves), speech, differing)


def _their_features(runtime: Format, card: Card) -> FbankConfig:
    """Return the features that the runtime computes for a file of this model; raise ModelError."""
    if card.features["name"] != "fbank" or card.features["bins"] != 80:
        got = f"{card.features['name']} with {card.features.get('bins', 'other')} values"
        raise ModelError(
            f"{runtime} computes Kaldi filter banks of 80 bins, and this model takes {got}. Use it "
            "with voxid: `voxid export` without --format."
        )
    told = {}
    if runtime == "sherpa-onnx":
        told = {name: card.features[name] for name, can in SHERPA_TAKES.items() if card.features[name] in can}
    return FbankConfig.parse(RUNTIMES[runtime] | told, "features")


def _differing(card: Card, theirs: FbankConfig) -> list[tuple[str, Any, Any]]:
    mine = FbankConfig.parse({k: v for k, v in card.features.items() if k != "name"}, "features")
    return [
        (name, getattr(mine, name), getattr(theirs, name))
        for name in FbankConfig.model_fields
        if getattr(mine, name) != getattr(theirs, name)
    ]


def _encoder(folder: Path, card: Card) -> onnx.ModelProto:
    """Return the encoder's graph with its weights inside, its ends named as both runtimes do."""
    if card.graphs is not None:
        proto = onnx.load(folder / ENCODER_FILE)
    else:
        from voxid.model.network import Model

        proto = trace_encoder(Model.load(folder))
    names = {"features": "feats", "embedding": "embs"}
    for node in proto.graph.node:
        for ends in (node.input, node.output):
            ends[:] = [names.get(name, name) for name in ends]
    for value in (*proto.graph.input, *proto.graph.output, *proto.graph.value_info):
        value.name = names.get(value.name, value.name)
    for value, axes in ((proto.graph.input[0], "BT"), (proto.graph.output[0], "B")):
        for dim, axis in zip(value.type.tensor_type.shape.dim, axes, strict=False):
            dim.dim_param = axis
    return proto


def _metadata(
    runtime: Format, card: Card, theirs: FbankConfig, dim: int
) -> list[onnx.StringStringEntryProto]:
    values: dict[str, Any] = {"voxid_fingerprint": card.fingerprint, "output_dim": dim}
    if runtime == "sherpa-onnx":
        values |= {
            "framework": "3d-speaker",  # of those that it knows, the one whose mean it takes off where told
            "language": "unknown",
            "sample_rate": SAMPLE_RATE,
            "normalize_samples": int(theirs.scale == 1.0),
            "feature_normalize_type": "global-mean" if theirs.mean_norm else "",
            "url": "",
            "comment": "written by voxid",
        }
    return [onnx.StringStringEntryProto(key=key, value=str(value)) for key, value in values.items()]
