"""A checkpoint of somebody else into a model folder: which file, which kind, its tensors under our names."""

from __future__ import annotations

import os
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from voxid.errors import BadCheckpoint, BadConfig, did_you_mean
from voxid.model.network import InferenceConfig, Model, misfits
from voxid.published import checkpoints
from voxid.published.kinds import KINDS, Kind, Tensors, known_kinds
from voxid.published.seed import import_seed
from voxid.training.recipe import override_with

SUFFIXES = (".pt", ".pth", ".ckpt", ".bin", ".model", ".safetensors", ".onnx")
FIRST = ("avg_model.pt", "embedding_model.ckpt", "pretrained.pt")  # where a folder holds several files


def import_model(
    path: str | os.PathLike[str],
    out: str | os.PathLike[str],
    *,
    kind: str | None = None,
    overrides: Sequence[str] = (),
) -> Model:
    """Return the model in a published checkpoint, written to the model folder `out`.

    `path` is a file of tensors, a folder that holds one (with WeSpeaker's config.yaml, if there is one), or
    "resemblyzer" for the weights of that installed package. The kind is known by the names of the tensors;
    where two fit, `kind` decides. `overrides` change what leaves no trace: "features.scale=32768".

    Raise BadCheckpoint when the file is missing, damaged, would run code, is of a network that is not known,
    or has tensors too few, too many, or of the wrong shape; RunExists when `out` holds a model that is not an
    earlier import; OutputError when it cannot be written.

    >>> import_model("voxceleb_resnet34/avg_model.pt", "models/resnet34", kind="wespeaker")  # doctest: +SKIP
    """
    path, out = find_file(path), Path(out).expanduser()
    content = checkpoints.read(path, origin="a known project")
    if kind == "seed" or (kind is None and "encoder_state_dict" in content):
        return _import_seed(path, out, overrides)
    tensors = checkpoints.tensors_of(content, path)
    found = recognise(tensors, path, kind)
    try:
        tables = _tables(found, tensors, path, overrides)
        model = Model(
            tables["features"],
            tables["encoder"],
            InferenceConfig.parse(tables["inference"], "inference"),
            metadata={**checkpoints.source_of(path), "kind": found.name, "network": found.network},
        )
    except BadConfig as error:
        raise BadCheckpoint(f"{path} holds no network voxid can build: {error}") from None
    except (KeyError, IndexError, ValueError, StopIteration) as error:
        raise BadCheckpoint(
            f"{path} looks like {found.network} of {found.name}, and lacks a tensor that goes with it "
            f"({error}). Download the file again."
        ) from None
    _fill(model, found, tensors, tables["encoder"], path)
    _take_off_mean(model, path)
    checkpoints.keep_other_models(out)
    model.save(out)
    return model.eval()


def _import_seed(path: Path, out: Path, overrides: Sequence[str]) -> Model:
    said: dict[str, Any] = {}
    for override in overrides:
        override_with(said, override)
    known = {"aggregation", "heads"}
    options = said.get("encoder", {})
    if set(said) - {"encoder"} or set(options) - known:
        raise BadConfig(
            "of a checkpoint of the original system, --set knows encoder.aggregation and encoder.heads."
        )
    return import_seed(path, out, **options)


def find_file(path: str | os.PathLike[str]) -> Path:
    """Return the file with the weights: `path`, or the one in this folder; raise BadCheckpoint."""
    if os.fspath(path) == "resemblyzer" and not Path(path).exists():
        if (spec := find_spec("resemblyzer")) is None or spec.origin is None:
            raise BadCheckpoint("the package resemblyzer is not installed. Run: pip install resemblyzer.")
        return Path(spec.origin).with_name("pretrained.pt")
    path = Path(path).expanduser()
    if os.path.isfile(path):  # noqa: PTH113 - Path raises where a folder may not be entered
        return path
    if not path.is_dir():
        raise BadCheckpoint(
            f"there is no checkpoint file or folder {path}. Give the path of a published one."
        )
    files = sorted(file for file in path.iterdir() if file.suffix in SUFFIXES and file.is_file())
    best = [file for name in FIRST for file in files if file.name == name] or files
    if not best or (len(best) > 1 and best is files):
        names = ", ".join(file.name for file in files) or "none"
        raise BadCheckpoint(
            f"{path} has to hold one file of weights ({', '.join(SUFFIXES)}), it holds: {names}. "
            "Name the file."
        )
    return best[0]


def recognise(tensors: Tensors, path: Path, name: str | None) -> Kind:
    """Return the kind that the tensors are of; raise BadCheckpoint where there is none, or several."""
    known = known_kinds()
    if name is not None and name not in known:
        raise BadCheckpoint(
            f"no kind {name!r}. Known: {', '.join(known)}, seed, onnx.{did_you_mean(name, known)}"
        )
    fitting = [kind for kind in KINDS if kind.fits(tensors)]
    chosen = [kind for kind in fitting if name in (None, kind.name)]
    if name is None and len(chosen) > 1:
        told = _told_by_files(path, tensors)
        chosen = [kind for kind in chosen if kind.name == told] or chosen
    if len(chosen) == 1:
        return chosen[0]
    if chosen:
        names = " or ".join(kind.name for kind in chosen)
        raise BadCheckpoint(
            f"{path} holds {chosen[0].network}, which {names} publish with the same tensors and other "
            f"features. Say whose it is: --kind {chosen[0].name}."
        )
    got = ", ".join(sorted(tensors)[:4])
    other = f" They are of {fitting[0].network} of {fitting[0].name}." if fitting else ""
    raise BadCheckpoint(
        f"{path} holds another architecture{f' than {name} publishes' if name else ''}: its tensors are "
        f"{got}, ...{other} Known: {', '.join(dict.fromkeys(f'{k.network} of {k.name}' for k in KINDS))}. "
        "Any other encoder can be imported as an ONNX file."
    )


def _told_by_files(path: Path, tensors: Tensors) -> str | None:
    """Return whose file it is, by what WeSpeaker and 3D-Speaker put into it or beside it."""
    if (path.parent / "config.yaml").is_file() or any(name.startswith("projection.") for name in tensors):
        return "wespeaker"
    if (path.parent / "configuration.json").is_file() or path.name.startswith("campplus_"):
        return "3dspeaker"
    return None


def _tables(kind: Kind, tensors: Tensors, path: Path, overrides: Sequence[str]) -> dict[str, Any]:
    tables = {
        "features": kind.features(tensors),
        "encoder": kind.encoder(tensors),
        "inference": dict(kind.inference),
    }
    if kind.name == "wespeaker":
        tables["features"] |= _wespeaker_features(path.parent / "config.yaml")
    for override in overrides:
        override_with(tables, override)
    return tables


def _wespeaker_features(config: Path) -> dict[str, Any]:
    """Return what WeSpeaker's config.yaml says of its features; nothing where there is none."""
    if not config.is_file():
        return {}
    import yaml

    try:
        said = yaml.safe_load(config.read_text(encoding="utf-8"))
        arguments = said.get("dataset_args", {}).get("fbank_args") or said.get("feature_args") or {}
        names = {"num_mel_bins": "bins", "frame_length": "window_ms", "frame_shift": "hop_ms"}
        return {ours: arguments[theirs] for theirs, ours in names.items() if theirs in arguments}
    except (yaml.YAMLError, UnicodeDecodeError, AttributeError, TypeError) as error:
        raise BadCheckpoint(
            f"{config} cannot be read ({str(error).splitlines()[0]}). Expected WeSpeaker's config.yaml with "
            "dataset_args.fbank_args; remove it to import with 25 ms windows every 10 ms."
        ) from None


def _fill(model: Model, kind: Kind, tensors: Tensors, encoder: dict[str, Any], path: Path) -> None:
    """Copy the tensors into the model; raise BadCheckpoint that lists what does not fit."""
    expected = model.encoder.state_dict()
    try:
        ours = kind.ours(tensors, encoder)
    except (KeyError, RuntimeError, IndexError) as error:
        raise BadCheckpoint(
            f"the tensors in {path} make up no whole {kind.network} of {kind.name}: {error}. "
            "Download the file again."
        ) from None
    got: Tensors = {}
    for name, tensor in ours.items():
        want = expected.get(name)
        if want is not None and [n for n in tensor.shape if n != 1] == [n for n in want.shape if n != 1]:
            tensor = tensor.reshape(want.shape).to(want.dtype)  # axes of length 1 are a matter of taste
        got[name] = tensor
    for name, tensor in expected.items():  # a counter that changes no embedding
        if name.endswith("num_batches_tracked"):
            got.setdefault(name, tensor)
    if problems := misfits(expected, got):
        raise BadCheckpoint(
            f"the tensors in {path} make up no whole {kind.network} of {kind.name}: {problems} (names are "
            "voxid's where it knows the tensor). Download the file again, or name another --kind."
        )
    model.encoder.load_state_dict(got)


def _take_off_mean(model: Model, path: Path) -> None:
    """Take off the mean embedding that WeSpeaker keeps beside its models in mean_vec.npy."""
    import numpy as np
    import torch

    file = path.parent / "mean_vec.npy"
    if not file.is_file():
        return
    try:
        mean_D = np.load(file, allow_pickle=False)
    except (ValueError, OSError) as error:
        raise BadCheckpoint(
            f"{file} is not an array of numbers ({error}). Remove it, or repair it."
        ) from None
    if mean_D.shape != (model.dim,) or not np.isfinite(mean_D).all():
        raise BadCheckpoint(f"{file} has shape {mean_D.shape}; expected {model.dim} finite numbers.")
    head: Any = model.encoder.head
    head.affine(torch.from_numpy(mean_D.astype(np.float64)), torch.eye(model.dim, dtype=torch.float64))
