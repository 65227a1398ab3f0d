"""From a torch model to a folder that both engines load: two graphs beside the weights, or nothing.

Nothing is written unless onnxruntime gives what torch gives.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from voxid.embed import Embedder, find_model
from voxid.embed.onnx import OnnxNetwork, quantized_weight
from voxid.embed.torch import TorchNetwork
from voxid.encoders.cost import cost
from voxid.errors import BadModel, ModelError, NotWritable, VoxidError
from voxid.evaluation import EvaluationData, make_trials, read_data
from voxid.evaluation.embedding import embed_used
from voxid.evaluation.scores import score_trials
from voxid.export.agreement import Agreement, compare, demand, some_of, speech_for_checking
from voxid.export.graphs import OPSET, summary_values, trace, trace_pieces
from voxid.features import Features
from voxid.files import output_error
from voxid.model.card import (
    CONFIG_FILE,
    ENCODER_FILE,
    FRONT_FILE,
    PIECES_FILE,
    WEIGHTS_FILE,
    Card,
    Graphs,
)
from voxid.model.network import Model
from voxid.scoring.cohort import COHORT_FILE
from voxid.types import SAMPLE_RATE

__all__ = ["Agreement", "Exported", "export"]

MOST_EER_RISE = 0.02  # relative, of an int8 model
FOLDERS = ("noise", "music", "babble", "rir")  # of a recipe's augmentation
RANGE_UTTERANCES = 64  # that show an int8 model the range of its activations

StrPath = str | os.PathLike[str]


@dataclass(frozen=True)
class Exported:
    """What `export` wrote, and what it was measured by.

    >>> export("runs/base", "exported/base").agreement.worst < 1e-4  # doctest: +SKIP
    True
    """

    folder: Path
    precision: str
    fingerprint: str
    parameters: int
    multiply_adds: int | None  # of 2 s of speech; None of a graph that came without torch's network
    size_bytes: int  # of the folder's files
    agreement: Agreement | None  # of onnxruntime with torch, in 32 bits; None as above
    eer_fp32: float | None = None  # of an int8 model, on the data
    eer_int8: float | None = None
    trials: int | None = None


def export(
    model_folder: StrPath,
    out: StrPath,
    *,
    data: StrPath | Iterable[StrPath] | None = None,
    int8: bool = False,
    name: str | None = None,
    reports: Sequence[StrPath] = (),
    layout: str = "auto",
    progress: Callable[[int, int], None] | None = None,
) -> Exported:
    """Write the model as graphs for onnxruntime into `out`, whole or not at all; return what was measured.

    `model_folder` is a model folder, or the name of a shipped model (for its int8 variant); with `int8` also
    a folder that `voxid import` made of a graph.
    The folder holds config.json, calibration and cohort included, front.onnx (waves to features),
    encoder.onnx (features to embedding), pieces.zip (the same for long recordings, a piece of time after the
    other) and model.safetensors, where both engines find the weights. `data`
    (a corpus or prepared folder) is the speech that onnxruntime and torch are compared on; without it,
    synthetic voices are. `int8` quantizes the encoder instead, and needs `data`: the EER of all its pairs may
    rise by 2 % at most, relative. `name` and the error rates in `reports` (report.json of `voxid evaluate`)
    go into the metadata.

    Raise ModelError when the engines do not agree, or the EER rises too far: then nothing is written.
    Raise also a ModelError, CorpusError, NotWritable, DiskFull or OutputError.

    >>> export("runs/base", "exported/base").size_bytes  # doctest: +SKIP
    7300000
    """
    out = Path(out).expanduser()
    source = find_model(model_folder)
    card = Card.read(source)
    came_as_graph = int8 and card.graphs is not None and card.graphs.precision == "own"
    model = None if came_as_graph else Model.load(source)
    check_place(out, source)
    if int8 and data is None:
        raise ModelError(
            "an int8 model needs --data: a corpus to measure what 8 bits do to the equal error rate. "
            "Take speakers the model was not trained on."
        )
    corpus = None if data is None else read_data(data, layout)
    metadata = _metadata(model or card, name, reports)
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=f".{out.name}.", dir=out.parent) as staging:
            folder = Path(staging)
            if model is None:
                agreement = _copy(source, folder, metadata)
            else:
                model.metadata = metadata
                agreement = _write_fp32(model, folder, corpus, pieces=not int8)
            eers = None, None, None
            if int8 and corpus is not None:
                eers = _to_int8(folder, corpus, progress)
            put(folder, out)
    except OSError as error:
        raise output_error(error, out) from error
    graphs = Card.read(out).graphs
    assert graphs is not None
    return Exported(
        out,
        graphs.precision,
        graphs.fingerprint,
        metadata["parameters"],
        metadata.get("multiply_adds"),
        sum(path.stat().st_size for path in _files(out)),
        agreement,
        *eers,
    )


def check_place(out: Path, model_folder: Path) -> None:
    """Raise NotWritable when `out` is something that should not be written over."""
    if not out.exists() or (out.is_dir() and not any(out.iterdir())):
        return
    if out.is_dir() and model_folder.exists() and out.samefile(model_folder):
        return
    if (out / CONFIG_FILE).is_file() and (out / FRONT_FILE).is_file():
        return
    if out.is_dir() and not any((out / name).exists() for name in (CONFIG_FILE, WEIGHTS_FILE)):
        return  # a model card, say; nothing in it has a name that will be written
    raise NotWritable(
        f"{out} is in use: it is a file, or a model that was not exported. Choose another folder for -o."
    )


def _metadata(model: Model | Card, name: str | None, reports: Sequence[StrPath]) -> dict[str, Any]:
    """Return the model's metadata with its size, its cost and its measured error rates."""
    metadata = dict(model.metadata)
    if isinstance(model, Model):
        counted = cost(model.tables["encoder"], model.features.dim)
        metadata |= {"parameters": counted.parameters, "multiply_adds": counted.multiply_adds}
    if name is not None:
        metadata["name"] = name
    if augment := (metadata.get("recipe") or {}).get("augment"):  # where folders lie is this machine's affair
        named = {kind: [Path(folder).name for folder in augment.get(kind, ())] for kind in FOLDERS}
        metadata["recipe"] = {**metadata["recipe"], "augment": {**augment, **named}}
    results = dict(metadata.get("results") or {})
    for report in reports:
        results.update(_results(Path(report), model.fingerprint))
    return {**metadata, "results": results} if results else metadata


def _results(report: Path, fingerprint: str) -> dict[str, Any]:
    """Return the error rates of this model in a report.json: {data: {eer, low, high, trials}}.

    They are those of its cosines; where the report holds those of its LLRs too, they stand beside, as "llr".
    """
    try:
        values = json.loads(report.read_text())
        mine = [row for row in values["models"] if row.get("fingerprint") == fingerprint]
        row = next(row for row in mine if row.get("scoring") == "cosine")
        found = {**_rate(row), "trials": row["trials"]}
        for decided in (row for row in mine if row.get("scoring") == "llr"):
            found["llr"] = _rate(decided)
        return {str(values["data"]["name"]): found}
    except StopIteration:
        raise BadModel(
            f"{report} has no figures of this model (fingerprint {fingerprint[:12]}). "
            "Run: voxid evaluate MODEL --data D -o REPORT."
        ) from None
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise BadModel(f"{report} is not a report.json of `voxid evaluate` ({error!r}).") from None


def _rate(row: dict[str, Any]) -> dict[str, float | None]:
    low, high = (row.get("intervals") or {}).get("eer") or (None, None)
    return {"eer": row["eer"], "low": low, "high": high}


def _write_fp32(model: Model, folder: Path, corpus: EvaluationData | None, *, pieces: bool) -> Agreement:
    """Write the folder of the model in 32 bits; raise ModelError unless it does what torch does.

    `pieces` are the graphs for long recordings, which there are none of in 8 bits.
    """
    model.save(folder)
    try:
        weights = (folder / WEIGHTS_FILE).read_bytes()
        front, encoder = trace(model, weights)
        in_pieces = trace_pieces(model, weights, encoder) if pieces else None
    except VoxidError:
        raise
    except Exception as error:  # the exporter's own exceptions have many bases
        raise ModelError(
            f"torch cannot turn this model into a graph: {type(error).__name__}: {str(error)[:300]}. "
            "Use the model with torch."
        ) from error
    (folder / FRONT_FILE).write_bytes(front)
    (folder / ENCODER_FILE).write_bytes(encoder)
    graphs = graphs_of(model.features, front, encoder, dim=model.dim, fingerprint=model.fingerprint)
    _write_config(folder, graphs)
    if in_pieces is not None:
        (folder / PIECES_FILE).write_bytes(in_pieces)
    waves, speech = speech_for_checking(corpus)
    agreement = compare(Embedder(TorchNetwork(model)), Embedder(OnnxNetwork(folder)), waves, speech)
    demand(agreement, pauses=model.features.pause_db is not None)
    return agreement


def _copy(source: Path, folder: Path, metadata: dict[str, Any]) -> None:
    for path in _files(source):
        shutil.copy(path, folder)
    Card.read(folder).model_copy(update={"metadata": metadata}).save(folder)


def graphs_of(features: Features, front: bytes, encoder: bytes, **more: Any) -> Graphs:
    """Return what config.json says of two graphs of which the first makes `features`."""
    return Graphs(
        hop=features.hop,
        lead=features.lead,
        window=features.window,
        summary=features.summary_kind,
        summary_values=summary_values(features),
        pause_db=features.pause_db,
        front_sha256=hashlib.sha256(front).hexdigest(),
        encoder_sha256=hashlib.sha256(encoder).hexdigest(),
        opset=OPSET,
        **more,
    )


def _write_config(folder: Path, graphs: Graphs, **changes: Any) -> None:
    Card.read(folder).model_copy(update={"graphs": graphs, **changes}).save(folder)


def _to_int8(
    folder: Path, corpus: EvaluationData, progress: Callable[[int, int], None] | None
) -> tuple[float, float, int]:
    """Turn the folder into one of an int8 model; return the EER in 32 and in 8 bits, and the trials."""
    from voxid.export.quantizing import quantize

    network = OnnxNetwork(folder)
    plain = Embedder(network)
    graphs = plain.model.graphs
    assert graphs is not None
    before, trials = _eer(plain, corpus, progress)
    length = 10 * SAMPLE_RATE  # of the longest: more frames show no wider range, and take memory
    waves = some_of(corpus, RANGE_UTTERANCES)
    feats = [network.features(wave_S[None, :length], None)[0] for wave_S in waves]
    encoder = quantize(folder / ENCODER_FILE, feats)
    (folder / ENCODER_FILE).write_bytes(encoder)
    sha256 = hashlib.sha256(encoder).hexdigest()
    mark = plain.model.fingerprint_of([quantized_weight(sha256)])
    calibration = plain.model.calibration
    if calibration is not None:  # the EER hardly moves, and so do the scores: the line still holds
        cohort = calibration.cohort and calibration.cohort.model_copy(update={"model": mark})
        calibration = calibration.model_copy(update={"model": calibration.model and mark, "cohort": cohort})
    changed = graphs.model_copy(update={"precision": "int8", "encoder_sha256": sha256, "fingerprint": mark})
    (folder / WEIGHTS_FILE).unlink(missing_ok=True)
    _write_config(folder, changed, weights_sha256="", calibration=calibration)
    after, _ = _eer(Embedder(OnnxNetwork(folder)), corpus, progress)
    if not after <= (1 + MOST_EER_RISE) * before:  # NaN is too much, too
        raise ModelError(
            f"in 8 bits the EER on {corpus.name} is {after:.3%}, in 32 bits {before:.3%} "
            f"({trials:,} trials): it may rise by {MOST_EER_RISE:.0%} at most, relative. "
            "Nothing was written. "
            "Use the model in 32 bits (without --int8)."
        )
    return before, after, trials


def _eer(
    runtime: Embedder, corpus: EvaluationData, progress: Callable[[int, int], None] | None
) -> tuple[float, int]:
    """Return the equal error rate of all pairs of the corpus, and their number."""
    plan = make_trials("all", corpus, 0)
    voices = embed_used(runtime, corpus, plan.used(), speech=False, progress=progress)
    scored = score_trials(voices, plan)
    return scored.eer.rate, len(scored)


def _files(folder: Path) -> list[Path]:
    """Return the files of an exported folder that are there, config.json last."""
    names = (WEIGHTS_FILE, FRONT_FILE, ENCODER_FILE, PIECES_FILE, COHORT_FILE, CONFIG_FILE)
    return [folder / name for name in names if (folder / name).is_file()]


def put(staging: Path, out: Path) -> None:
    """Move the files of `staging` into `out`: a new folder at once, into an old one file by file.

    Should that be cut short, config.json names the digests of files that are not there: loading says so.
    """
    for path in _files(staging):
        path.chmod(0o644)
        with path.open("rb") as file:
            os.fsync(file.fileno())
    if not out.exists():
        staging.chmod(0o755)
        staging.rename(out)
        staging.mkdir()  # for whoever cleans up
        return
    for stale in {path.name for path in _files(out)} - {path.name for path in _files(staging)}:
        (out / stale).unlink()
    for path in _files(staging):
        shutil.move(path, out / path.name)
