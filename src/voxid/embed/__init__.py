"""From waveform to embedding, without knowing the engine. `voxid.load` is the way in.

This file imports no engine; `load` does, the one that it needs.
"""

from __future__ import annotations

import os
from importlib.util import find_spec
from pathlib import Path
from typing import Literal, get_args

from voxid.embed.embedder import Embedded, Embedder, EmbedInfo, Network
from voxid.embed.windows import WindowEmbeddings
from voxid.errors import BadConfig, BadModel, DeviceUnavailable, MissingExtra, UnknownModel, did_you_mean
from voxid.model.card import Card

__all__ = ["DEFAULT_MODEL", "EmbedInfo", "Embedded", "Embedder", "WindowEmbeddings", "load"]

DEFAULT_MODEL = "voxid-base"
HUB = "hub:"  # of names of repositories on the Hugging Face Hub
Engine = Literal["auto", "onnx", "torch"]
ENGINES: tuple[Engine, ...] = get_args(Engine)

_WHERE_FROM = (
    "Give a shipped name, or a folder that holds config.json and model.safetensors; "
    "`voxid train`, `voxid export` and `voxid import` write one."
)


def load(
    name_or_folder: str | os.PathLike[str],
    device: str = "cpu",
    *,
    mode: str | None = None,
    engine: Engine = "auto",
) -> Embedder:
    """Return a shipped model or a model folder, ready to embed.

    `device` is "cpu", "cuda", "mps" or "auto". `mode` ("sliding" or "full") replaces the model's own way of
    scoring; it changes the fingerprint. `engine` is "onnx" (exported folders; no torch needed), "torch", or
    "auto": onnx where the folder has graphs and onnxruntime has the device, else torch. Both give the same
    embeddings, and so have the same fingerprint. `./voxid-base` is a folder, also where a shipped model has
    that name. "hub:owner/name" is a repository of the Hugging Face Hub that `voxid download` brought.

    Raise UnknownModel, BadModel, BadConfig, DeviceUnavailable, and MissingExtra where torch is needed and not
    installed.

    >>> voxid.load("voxid-base").embed("alice1.wav").shape
    (192,)
    """
    if engine not in ENGINES:
        raise BadConfig(f"engine: no engine {engine!r}. Known: {', '.join(ENGINES)}.")
    folder = find_model(name_or_folder)
    onnx = engine == "onnx" or (engine == "auto" and _onnx_serves(Card.read(folder), device))
    return Embedder(_network(onnx, folder, device, mode))


def find_model(name_or_folder: str | os.PathLike[str]) -> Path:
    """Return the folder of a shipped model or the folder given; raise UnknownModel."""
    if not isinstance(name_or_folder, str | os.PathLike) or not os.fspath(name_or_folder):
        raise UnknownModel(f"a model is named by a name or a folder, got {name_or_folder!r}. {_WHERE_FROM}")
    from voxid.pretrained import shipped

    if isinstance(name_or_folder, str) and name_or_folder.startswith(HUB):
        return _from_hub(name_or_folder)
    known = shipped()
    if name_or_folder in known:
        return known[os.fspath(name_or_folder)]
    folder = Path(name_or_folder).expanduser()
    if not folder.is_dir():
        if os.fspath(name_or_folder) in known:  # a Path, as the command line makes of a name
            return known[os.fspath(name_or_folder)]
        names = ", ".join(known) if known else "none yet"
        raise UnknownModel(
            f"no model {os.fspath(name_or_folder)!r}: no model of that name comes with voxid ({names}), and "
            f"there is no such folder.{did_you_mean(os.fspath(name_or_folder), list(known))} {_WHERE_FROM}"
        )
    return folder


def _from_hub(name: str) -> Path:
    """Return the model folder that a repository of the Hugging Face Hub is; nothing is fetched."""
    folder = hub_folder(name)
    try:
        Card.read(folder)
    except BadModel:
        raise UnknownModel(
            f"{name} is in {folder}, and is not a model folder of voxid. Run: voxid import {folder} -o MODEL."
        ) from None
    return folder


def hub_folder(name: str, *, fetch: bool = False) -> Path:
    """Return where a repository of the Hub, hub:owner/name or hub:owner/name@revision, lies on this disk.

    `fetch`: bring it, if it is not there. Raise MissingExtra without huggingface_hub, UnknownModel.
    """
    repository, _, revision = name.removeprefix(HUB).partition("@")
    try:
        from huggingface_hub import snapshot_download  # pyright: ignore[reportMissingImports]

        return Path(snapshot_download(repository, revision=revision or None, local_files_only=not fetch))
    except ModuleNotFoundError:
        raise MissingExtra(f"{name} needs huggingface_hub. Run: pip install 'voxid[hub]'.") from None
    except Exception as error:  # its own errors, of several libraries below it
        kind = type(error).__name__
        why = f"is not on this disk, and loading fetches nothing. Run: voxid download {name}. ({kind})"
        if fetch:
            why = f"could not be downloaded: {kind}: {str(error)[:300]}"
        raise UnknownModel(f"{name} {why}") from None


def _onnx_serves(card: Card, device: str) -> bool:
    """Return whether the onnx engine is the one to take."""
    if card.graphs is None:
        return False
    if device == "cpu" or card.graphs.precision != "fp32" or find_spec("torch") is None:
        return True
    from voxid.embed import onnx as onnx_engine

    if device == "auto":  # onnxruntime for a processor would leave torch's GPU idle
        return onnx_engine.pick_device(device) != "cpu"
    try:
        onnx_engine.pick_device(device)
    except DeviceUnavailable:
        return False
    return True


def _network(onnx: bool, folder: Path, device: str, mode: str | None) -> Network:
    """Return the model of a folder in an engine; raise MissingExtra where the engine is not installed."""
    try:
        if onnx:
            from voxid.embed.onnx import OnnxNetwork

            return OnnxNetwork(folder, device, mode=mode)
        from voxid.embed.torch import TorchNetwork
        from voxid.model.network import Model

        return TorchNetwork(Model.load(folder, mode), device)
    except ModuleNotFoundError as error:
        extra = {"onnxruntime": "voxid", "torch": "'voxid[train]'", "safetensors": "'voxid[train]'"}
        missing = (error.name or "").partition(".")[0]
        if missing not in extra:
            raise
        raise MissingExtra(
            f"this model needs {missing}, which is not installed. Run: pip install {extra[missing]}. "
            "(`voxid export` makes a folder of it that needs no torch.)"
        ) from None
